"""Checks that refuse bad data before training."""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from distrax_flows._core.arrays import as_array, as_floats, float_dtype
from distrax_flows._core.types import Shape
from distrax_flows.functional._events import Events
from distrax_flows.training._rounding import check_rounding

__all__ = [
    "Batch",
    "Table",
    "as_parts",
    "as_rows",
    "blocks",
    "bounds",
    "check_columns_vary",
    "check_context",
    "check_data",
    "dtype_of",
    "entry",
    "fill",
    "scale_weights",
    "shared_size",
]

# A memory map stays on disk, and a small table in NumPy, where reading its rows compiles nothing;
# everything else is held on JAX's device.
Table: TypeAlias = jax.Array | np.ndarray

_BLOCK = 2**16  # rows of a memory map that are read together
_SMALL_BYTES = 2**26
_MAX_SHARED_ROWS = 2**17


class Batch(NamedTuple):
    """Rows of data with their contexts and weights; also a whole data set.

    Attributes:
        x: `[..., *event_shape]`, the events.
        context: `[..., C]`, or None.
        weights: `[...]`, the weight of each event, or None if all are equal.
    """

    x: Any
    context: Any = None
    weights: Any = None


def check_data(data: Batch, names: Batch, events: Events) -> Batch:
    """Return arrays of numbers that a fit can use, or raise.

    Weights are in double precision, and still need `scale_weights`.

    Args:
        data: the arrays, of any kind.
        names: the user's names for them.
        events: events of the flow.

    Raises:
        TypeError: an array cannot be converted.
        ValueError: `x` or `context` has the wrong shape, non-finite values, or values that rounding
            would merge; the arrays differ in their number of rows; a weight is negative, or all are
            zero.
    """
    x = _check_table(names.x, data.x, events.shape, events.integers)
    context = weights = None
    if data.context is not None:
        dtype = dtype_of(x)
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

    So losses stay in nats per event. Only ratios matter. Dividing by the largest weight first keeps
    sums of weights of any size within double precision.

    Args:
        data: as `check_data` returns it.
        what: describes these weights, for error messages.
        rows: indices of the rows to use.

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
    return data._replace(weights=_held(weights.astype(dtype_of(data.x))))


def check_columns_vary(name: str, x: Table) -> None:
    """Raise if a column is constant: its density is a spike, and the likelihood is unbounded."""
    low, high = bounds(x)
    constant = [entry(index, low.shape) for index in np.flatnonzero(low == high)]
    if constant and len(x) > 1:
        raise ValueError(
            f"`{name}` must vary in every column; got constant columns {constant}, the first with "
            f"the value {low[constant[0]]}. No density fits them: drop them."
        )


def entry(index: Any, event_shape: Shape) -> Any:
    """Return the index of an entry of an event from its flat index: an integer, or a tuple."""
    place = tuple(map(int, np.unravel_index(index, event_shape)))
    return place[0] if len(place) == 1 else place


def check_context(context: Any) -> jax.Array:
    """Return contexts `[..., C]` without rows of data, as numbers that a fit can use."""
    array = as_array("context", context)
    if not array.ndim:
        raise ValueError(f"`context` must have shape [..., C]; got {array.shape}.")
    rows = array.reshape(-1, array.shape[-1])
    table = _check_table("context", rows, integers=jnp.result_type(float))
    return jnp.asarray(table).reshape(array.shape)


def shared_size(num_rows: int, least: int) -> int:
    """Return the number of rows to fill a table up to, so that those of other sizes share code.

    That is the next power of two, and at least `least`. Beyond 131,072 rows it is `num_rows`
    itself: filling would cost memory, and compiling takes little of the time of a fit.
    """
    if num_rows > _MAX_SHARED_ROWS:
        return num_rows
    return max(least, 1 << (num_rows - 1).bit_length())


def fill(table: Any, num_rows: int) -> np.ndarray:
    """Fill a table up to `num_rows` rows with copies of its last one, which are valid data."""
    table = np.asarray(table)
    surplus = num_rows - len(table)
    return np.pad(table, ((0, surplus), *[(0, 0)] * (table.ndim - 1)), mode="edge")


def blocks(table: Any) -> Iterator[np.ndarray]:
    """Yield the rows of floating-point data as a fit would see them, a block at a time."""
    for start in range(0, len(table), _BLOCK):
        yield np.asarray(as_rows(table[start : start + _BLOCK]))


def dtype_of(table: Table) -> np.dtype:
    """Return the dtype of a table's rows in a fit; integers in it have been accepted before."""
    return float_dtype("data", table.dtype, jnp.result_type(jnp.float32))


def as_rows(values: Any) -> Any:
    """Return rows of a table as a fit uses them; see `dtype_of`."""
    return as_floats("data", values, jnp.result_type(jnp.float32))


def bounds(table: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the exact minimum and maximum of each entry of a row; NaN if any value is NaN."""
    ends = []
    with np.errstate(invalid="ignore"):
        for start in range(0, len(table), _BLOCK):
            block = np.asarray(table[start : start + _BLOCK], np.float64)
            ends.append((block.min(axis=0), block.max(axis=0)))
        lows, highs = zip(*ends, strict=True)
        return np.asarray(np.min(lows, axis=0)), np.asarray(np.max(highs, axis=0))


def _check_table(
    name: str, value: Any, row_shape: Shape | None = None, integers: Any = None
) -> Table:
    """Return a table with rows of the given shape (vectors of any size if None), or raise."""
    array = as_array(name, value)
    dtype = float_dtype(name, array.dtype, integers)
    fits = array.ndim == 2 if row_shape is None else array.shape[1:] == row_shape
    if not array.ndim or not fits:
        sizes = ["N", "C"] if row_shape is None else ["N", *map(str, row_shape)]
        raise ValueError(
            f"`{name}` must have shape [{', '.join(sizes)}], a row for each example; got "
            f"{name}.shape={array.shape}."
        )
    if 0 in array.shape:
        raise ValueError(f"`{name}` must not be empty; got {name}.shape={array.shape}.")
    low, high = bounds(array)
    _check_finite(name, array, low, high, dtype)
    check_rounding(name, array, low, high, dtype)
    is_read_later = np.issubdtype(array.dtype, np.floating) or row_shape is not None
    if isinstance(array, np.memmap) and is_read_later:
        return array
    return _held(as_floats(name, array, integers))


def _held(table: Any) -> Table:
    """Return a table in NumPy if it is small, else on JAX's device."""
    return np.asarray(table) if table.nbytes <= _SMALL_BYTES else jnp.asarray(table)


def _check_finite(
    name: str, array: Any, low: np.ndarray, high: np.ndarray, dtype: np.dtype
) -> None:
    with np.errstate(over="ignore"):
        ends = np.stack([low, high]).astype(dtype)
    if np.isfinite(ends).all():
        return
    bad = np.concatenate(
        [~np.isfinite(block.reshape(len(block), -1)).all(axis=-1) for block in blocks(array)]
    )
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
    """Return weights in double precision, of any size, such as 1e36 or exp(-98)."""
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
