"""What was written by which versions, and how two descriptions differ."""

import importlib.metadata
import inspect
import platform
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["differences", "shapes_of", "source_of", "versions", "warn_of_versions"]

_PACKAGES = ("distrax_flows", "jax", "jaxlib", "dm-haiku", "distrax", "optax", "numpy")


def shapes_of(tree: Any) -> dict[str, str]:
    """Type and shape of each array of a pytree, by its path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): (
            f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}"
        )
        for path, leaf in leaves
    }


def source_of(function: Callable) -> str:
    """The text of a function, as far as it is known."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return repr(function)


def versions() -> dict[str, str]:
    """Versions of what computes."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in _PACKAGES
    }


def warn_of_versions(what: str, saved: Mapping[str, str]) -> None:
    """Warns if something was written by other versions than these: bits may differ."""
    found = differences(saved, versions())
    if found:
        warnings.warn(
            f"{what} was written by other versions; numbers may differ in their last digits, or "
            f"more: {'; '.join(found)}.",
            RuntimeWarning,
            stacklevel=3,
        )


def differences(saved: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """What differs between two descriptions, entry by entry, in words."""
    return [
        f"`{name}` is {saved.get(name, 'missing')} there and {own.get(name, 'missing')} here"
        for name in sorted(saved.keys() | own.keys())
        if saved.get(name) != own.get(name)
    ]
