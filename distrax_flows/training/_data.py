"""Rows of data, refused at once where a fit could only fail later."""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from distrax_flows._arrays import as_array, as_floats, float_dtype
from distrax_flows.training._rounding import check_rounding

__all__ = [
    "Batch",
    "Table",
    "as_parts",
    "blocks",
    "bounds",
    "check_columns_vary",
    "check_context",
    "check_data",
    "scale_weights",
]

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


def check_data(data: Batch, names: Batch) -> Batch:
    """Return arrays of numbers that a fit can use, or raise.

    Weights are in double precision, and need `scale_weights`.

    Args:
        data: the arrays, of any kind.
        names: what a user calls each of them.

    Raises:
        TypeError: an array is of a kind that cannot be converted.
        ValueError: `x` or `context` is not a matrix, or holds values that are not finite, or that
            rounding would merge; the arrays differ in their number of rows; a weight is negative,
            or all are zero.
    """
    x = _check_table(names.x, data.x)
    context = weights = None
    if data.context is not None:
        dtype = float_dtype(names.x, x.dtype)
        context = _check_table(names.context, data.context, integers=dtype)
        if len(context) != len(x):
            raise ValueError(
                f"`{names.context}` must have a row for each of the {len(x)} rows of `{names.x}`; "
                f"got {names.context}.shape={context.shape}."
            )
    if data.weights is not None:
        weights = _check_weights(names, data.weights, len(x))
    return Batch(x, context, weights)


def as_parts(name: str, data: Any) -> tuple[Batch, Batch]:
    """Return `x`, `(x, context)` or `(x, context, weights)` as a batch, and the names of its parts.

    Raises:
        ValueError: `data` is a tuple of another length.
    """
    parts = data if isinstance(data, tuple) else (data,)
    if not 1 <= len(parts) <= 3:
        raise ValueError(
            f"`{name}` must be `x`, `(x, context)` or `(x, context, weights)`; got a tuple of "
            f"{len(parts)}."
        )
    return Batch(*parts), Batch(name, f"{name}[1]", f"{name}[2]")


def scale_weights(data: Batch, what: str, rows: Any = slice(None)) -> Batch:
    """Return `data` with weights that have a mean of one over `rows`, and are zero elsewhere.

    So a loss stays in nats per example. Only ratios matter, and sums of weights of any size fit
    into double precision once they are divided by the largest.

    Args:
        data: as `check_data` returns it.
        what: which weights these are, in words.
        rows: indices of the rows that count.

    Raises:
        ValueError: all weights of `rows` are zero.
    """
    if data.weights is None:
        return data
    rows = rows if isinstance(rows, slice) else np.asarray(rows)
    part = data.weights[rows]
    if not part.any():
        raise ValueError(f"`weights` must not all be 0 {what}; got zeros only.")
    part = part / part.max()
    weights = np.zeros_like(data.weights)
    weights[rows] = part / part.mean()
    return data._replace(weights=jnp.asarray(weights, float_dtype("data", data.x.dtype)))


def check_columns_vary(name: str, x: Table) -> None:
    """Raise if a column is constant: its density is a spike, and the likelihood has no bound."""
    low, high = bounds(x)
    constant = np.flatnonzero(low == high)
    if constant.size and len(x) > 1:
        raise ValueError(
            f"`{name}` must vary in every column; got constant columns {constant.tolist()}, the "
            f"first with the value {low[constant[0]]}. No density fits them: drop them."
        )


def check_context(context: Any) -> jax.Array:
    """Return contexts `[..., C]`, which go with no rows of data, as numbers that a fit can use."""
    array = as_array("context", context)
    if not array.ndim:
        raise ValueError(f"`context` must have shape [..., C]; got {array.shape}.")
    table = _check_table("context", array.reshape(-1, array.shape[-1]), jnp.result_type(float))
    return jnp.asarray(table).reshape(array.shape)


def blocks(table: Any) -> Iterator[np.ndarray]:
    """Yield the rows of floating-point data, a few at a time, as a fit would see them."""
    for start in range(0, len(table), _BLOCK):
        yield np.asarray(as_floats("data", table[start : start + _BLOCK]))


def bounds(table: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the greatest value of each column, exactly; NaN if there is one."""
    ends = []
    with np.errstate(invalid="ignore"):
        for start in range(0, len(table), _BLOCK):
            block = np.asarray(table[start : start + _BLOCK], np.float64)
            ends.append((block.min(axis=0), block.max(axis=0)))
        lows, highs = zip(*ends, strict=True)
        return np.min(lows, axis=0), np.max(highs, axis=0)


def _check_table(name: str, value: Any, integers: Any = None) -> Table:
    array = as_array(name, value)
    dtype = float_dtype(name, array.dtype, integers)
    if array.ndim != 2:
        raise ValueError(
            f"`{name}` must have shape [N, D], a row per example; got {name}.shape={array.shape}."
        )
    if 0 in array.shape:
        raise ValueError(f"`{name}` must not be empty; got {name}.shape={array.shape}.")
    low, high = bounds(array)
    _check_finite(name, array, low, high, dtype)
    check_rounding(name, array, low, high, dtype)
    if isinstance(array, np.memmap) and np.issubdtype(array.dtype, np.floating):
        return array
    return jnp.asarray(as_floats(name, array, integers))


def _check_finite(
    name: str, array: Any, low: np.ndarray, high: np.ndarray, dtype: np.dtype
) -> None:
    with np.errstate(over="ignore"):
        ends = np.stack([low, high]).astype(dtype)
    if np.isfinite(ends).all():
        return
    bad = np.concatenate([~np.isfinite(block).all(axis=-1) for block in blocks(array)])
    bad = np.flatnonzero(bad)
    row = np.asarray(array[bad[0]])
    where, remedy = "", "Remove or impute them"
    if np.isfinite(low).all() and np.isfinite(high).all():
        where, remedy = f" in {dtype}", "Scale them down"
    raise ValueError(
        f"`{name}` must be finite{where}; {bad.size} of {len(array)} rows are not, the first being "
        f"row {bad[0]}: {row}. {remedy}."
    )


def _check_weights(names: Batch, value: Any, num_rows: int) -> np.ndarray:
    """Return weights in double precision: their sizes, such as 1e36 or exp(-98), don't matter."""
    name = names.weights
    array = as_array(name, value)
    float_dtype(name, array.dtype, integers=np.float64)
    weights = np.asarray(array, np.float64)
    if weights.shape != (num_rows,):
        raise ValueError(
            f"`{name}` must have shape ({num_rows},), a weight for each row of `{names.x}`; got "
            f"{name}.shape={weights.shape}."
        )
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if bad.size or not weights.any():
        raise ValueError(
            f"`{name}` must be finite, at least 0, and not all 0; got "
            + (f"{weights[bad[0]]} in row {bad[0]}." if bad.size else "zeros only.")
        )
    return weights
