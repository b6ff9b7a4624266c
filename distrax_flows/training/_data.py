"""Rows of data, refused at once where a fit could only fail later."""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from distrax_flows._checks import check_float_array

__all__ = ["Batch", "Table", "as_parts", "blocks", "check_columns_vary", "check_data"]

# A memory map stays on disk; everything else is held where JAX computes.
Table: TypeAlias = jax.Array | np.memmap

_BLOCK = 2**16  # rows of a memory map that are looked at together


class Batch(NamedTuple):
    """Rows of data, and what belongs to each; also a whole data set.

    Attributes:
        x: `[..., D]`, the examples.
        context: `[..., C]`, or None.
        weights: `[...]`, how much each example counts, or None if all count the same.
    """

    x: Any
    context: Any = None
    weights: Any = None


def check_data(name: str, x: Any, context: Any = None, weights: Any = None) -> Batch:
    """Returns the data as floating arrays, or raises.

    Weights are scaled to a mean of one, so that a loss stays in nats per example.

    Raises:
        TypeError: an array is not floating.
        ValueError: `x` or `context` is not a matrix, or holds values that are not finite; the
            arrays differ in their number of rows; a weight is negative, or all are zero.
    """
    x = _check_table(name, x)
    if context is not None:
        context = _check_table("context", context)
        if len(context) != len(x):
            raise ValueError(
                f"`context` must have a row for each of the {len(x)} rows of `{name}`; got "
                f"context.shape={context.shape}."
            )
    if weights is not None:
        weights = check_float_array("weights", weights)
        if weights.shape != (len(x),):
            raise ValueError(
                f"`weights` must have shape ({len(x)},), a weight for each row of `{name}`; got "
                f"weights.shape={weights.shape}."
            )
        bad = np.flatnonzero(~(np.isfinite(weights) & (np.asarray(weights) >= 0)))
        if bad.size or not weights.sum() > 0:
            raise ValueError(
                "`weights` must be finite, at least 0, and not all 0; got "
                + (f"{weights[bad[0]]} in row {bad[0]}." if bad.size else "zeros only.")
            )
        weights = weights / weights.mean()
    return Batch(x, context, weights)


def as_parts(name: str, data: Any) -> tuple[Any, ...]:
    """The arrays of data that may be `x`, `(x, context)` or `(x, context, weights)`."""
    parts = data if isinstance(data, tuple) else (data,)
    if not 1 <= len(parts) <= 3:
        raise ValueError(
            f"`{name}` must be `x`, `(x, context)` or `(x, context, weights)`; got a tuple of "
            f"{len(parts)}."
        )
    return parts


def check_columns_vary(name: str, x: Table) -> None:
    """Raises if a column is constant: its density is a spike, and the likelihood has no bound."""
    low, high = _bounds(x)
    constant = np.flatnonzero(low == high)
    if constant.size and len(x) > 1:
        raise ValueError(
            f"`{name}` must vary in every column; got constant columns {constant.tolist()}, the "
            f"first with the value {low[constant[0]]}. No density fits them: drop them."
        )


def blocks(table: Table) -> Iterator[np.ndarray]:
    """The rows, a few at a time, as the numbers that a fit would see."""
    dtype = jax.dtypes.canonicalize_dtype(table.dtype)
    with np.errstate(over="ignore"):
        for start in range(0, len(table), _BLOCK):
            yield np.asarray(table[start : start + _BLOCK], dtype)


def _check_table(name: str, value: Any) -> Table:
    table = value if isinstance(value, np.memmap) else check_float_array(name, value)
    if not jnp.issubdtype(table.dtype, jnp.floating):
        raise TypeError(
            f"`{name}` must be a floating-point array; got a memory map of dtype {table.dtype}. "
            "Write it as float32."
        )
    if table.ndim != 2:
        raise ValueError(
            f"`{name}` must have shape [N, D], a row per example; got {name}.shape={table.shape}."
        )
    if 0 in table.shape:
        raise ValueError(f"`{name}` must not be empty; got {name}.shape={table.shape}.")
    low, high = _bounds(table)
    if not (np.isfinite(low) & np.isfinite(high)).all():
        bad = np.concatenate([~np.isfinite(block).all(axis=-1) for block in blocks(table)])
        bad = np.flatnonzero(bad)
        raise ValueError(
            f"`{name}` must be finite; {bad.size} of {len(table)} rows are not, the first being "
            f"row {bad[0]}: {np.asarray(table[bad[0]])}. Remove or impute them."
        )
    return table


def _bounds(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest value of each column; NaN if there is one."""
    with np.errstate(invalid="ignore"):
        ends = [(block.min(axis=0), block.max(axis=0)) for block in blocks(table)]
        lows, highs = zip(*ends, strict=True)
        return np.min(lows, axis=0), np.max(highs, axis=0)
