"""Explanations of non-finite values: the rows, the layer, and its input."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from distrax_flows.functional._trace import LayerTrace

__all__ = ["explain_gradient", "explain_layers", "explain_rows"]


def explain_rows(rows: str, what: str, values: Any, x: Any) -> str:
    """Name the rows with a non-finite value, such as their log-density; empty if none."""
    x, event_shape = np.asarray(x), np.shape(x)[np.ndim(values) :]
    values, x = np.asarray(values).reshape(-1), x.reshape(-1, *event_shape)
    bad = np.flatnonzero(~np.isfinite(values))
    if not bad.size:
        return ""
    first = x[bad[0]]
    shown = first if first.ndim < 2 else f"with entries from {_range(first)}"
    return (
        f"{bad.size} of {len(x)} {rows} have a {what} that is not finite, the first being number "
        f"{bad[0]}, {shown}, with {values[bad[0]]}."
    )


def explain_layers(layers: Sequence[LayerTrace]) -> str:
    """Name the first layer with a non-finite output."""
    if not np.isfinite(layers[0].x).all():
        return "What enters the flow is not finite itself."
    for layer in layers:
        axes = tuple(range(layer.log_det.ndim, layer.y.ndim))
        finite = np.isfinite(layer.y).all(axis=axes) & np.isfinite(layer.log_det)
        if not finite.all():
            return (
                f"The first layer whose output is not finite is `{layer.name}`, in "
                f"{np.sum(~finite)} of {len(finite)} rows; its input had values from "
                f"{_range(layer.x)}."
            )
    widest = max(layers, key=lambda layer: float(np.abs(layer.x).max()))
    return (
        "The output of every layer is finite; the widest input is that of "
        f"`{widest.name}`, with values from {_range(widest.x)}."
    )


def explain_gradient(grads: Any) -> str:
    """Name the parameters with a non-finite gradient; empty if none."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(grads)
    bad = [
        (jax.tree_util.keystr(path, simple=True, separator=":"), np.argwhere(~np.isfinite(leaf)))
        for path, leaf in leaves
        if not np.isfinite(leaf).all()
    ]
    if not bad:
        return ""
    name, where = bad[0]
    index = where[0].tolist()
    return (
        f"The gradient of {len(bad)} of {len(leaves)} arrays of parameters is not finite, the "
        f"first being `{name}`, at index {index}."
    )


def _range(x: Any) -> str:
    return f"{float(np.min(x)):.4g} to {float(np.max(x)):.4g}"
