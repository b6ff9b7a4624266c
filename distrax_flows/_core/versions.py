"""Versions recorded in files, and differences between two descriptions."""

import importlib.metadata
import inspect
import platform
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from distrax_flows._core.warn import warn

__all__ = ["differences", "shapes_of", "source_of", "versions", "warn_of_versions"]

_PACKAGES = ("distrax_flows", "jax", "jaxlib", "dm-haiku", "distrax", "optax", "numpy")


def shapes_of(tree: Any) -> dict[str, str]:
    """Return type and shape of each array of a pytree, by path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): (
            f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}"
        )
        for path, leaf in leaves
    }


def source_of(function: Callable) -> str:
    """Return the source of a function, as far as it is known."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return repr(function)


def versions() -> dict[str, str]:
    """Return the versions of the libraries that affect results."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in _PACKAGES
    }


def warn_of_versions(what: str, saved: Mapping[str, str]) -> None:
    """Warn if something was written by versions other than these: bits may differ."""
    found = differences(saved, versions())
    if found:
        warn(
            f"{what} was written by other versions; numbers may differ in their last digits, or "
            f"more: {'; '.join(found)}.",
            RuntimeWarning,
        )


def differences(saved: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """Describe the differences between two descriptions, entry by entry."""
    return [
        f"`{name}` is {saved.get(name, 'missing')} there and {own.get(name, 'missing')} here"
        for name in sorted(saved.keys() | own.keys())
        if saved.get(name) != own.get(name)
    ]
