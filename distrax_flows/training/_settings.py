"""What two fits must have in common for one to go on with the checkpoints of the other."""

import importlib.metadata
import platform
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["compare_settings", "settings_of", "shapes_of", "versions"]

_PACKAGES = ("distrax_flows", "jax", "jaxlib", "dm-haiku", "distrax", "optax", "numpy")


def settings_of(params: Any, fixed: Mapping[str, Any], free: Mapping[str, Any]) -> dict[str, Any]:
    """All of it, as JSON.

    Args:
        params: parameters and all else whose shapes must agree.
        fixed: settings that must agree, or the fit would become another one.
        free: settings that may differ.
    """
    return {
        "fixed": dict(fixed),
        "free": dict(free),
        "shapes": shapes_of(params),
        "versions": versions(),
    }


def compare_settings(saved: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """Why a fit with settings `own` cannot go on from one with settings `saved`; empty if it can.

    Other versions of libraries give a warning: then bits may differ.
    """
    for kind, remedy in (
        ("shapes", "Build the flow, and the optimizer, as they were"),
        ("fixed", "Give the arguments of the first call"),
    ):
        differences = _differences(saved.get(kind, {}), own[kind])
        if differences:
            more = f"; and {len(differences) - 3} more" if len(differences) > 3 else ""
            return (
                f"{'; '.join(differences[:3])}{more}. {remedy}, or choose another `checkpoint_dir`."
            )
    differences = _differences(saved.get("versions", {}), own["versions"])
    if differences:
        warnings.warn(
            "The checkpoint was written by other versions, so that what follows may differ in its "
            f"last digits: {'; '.join(differences)}.",
            RuntimeWarning,
            stacklevel=6,
        )
    return ""


def shapes_of(tree: Any) -> dict[str, str]:
    """Type and shape of each array of a pytree, by its path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): (
            f"{jnp.result_type(leaf)}{list(np.shape(leaf))}"
        )
        for path, leaf in leaves
    }


def versions() -> dict[str, str]:
    """Versions of what computes."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in _PACKAGES
    }


def _differences(saved: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    return [
        f"`{name}` is {saved.get(name, 'missing')} there and {own.get(name, 'missing')} here"
        for name in sorted(saved.keys() | own.keys())
        if saved.get(name) != own.get(name)
    ]
