"""Check that rounding to the precision of a fit keeps the values of a column distinct."""

from typing import Any

import numpy as np

__all__ = ["check_rounding"]

# A fit resolves columns that keep most of a thousand values distinct: their spacing in float32 is
# below about a thousandth of their spread. With more rows, any column would have ties.
_ROWS = 1_000
_LOST = 0.25


def check_rounding(
    name: str, table: Any, low: np.ndarray, high: np.ndarray, dtype: np.dtype
) -> None:
    """Raise if rounding to `dtype` merges many of the values of a column of `table`.

    Julian dates and GPS seconds are such columns: there, float32 has a number every quarter of a
    day, or every 128 seconds. The flow would fit a few spikes, with a high likelihood.

    Args:
        name: name of the table.
        table: `[N, ...]`, finite; not yet rounded.
        low: `[...]`, the smallest value of each column, that is, of each entry of a row.
        high: `[...]`, the largest value of each column.
        dtype: dtype of the fit.
    """
    size = len(table)
    rows = np.random.default_rng(0).integers(size, size=_ROWS) if size > _ROWS else slice(None)
    sample = np.concatenate([np.asarray(table[rows], np.float64), [low, high]])
    sample = sample.reshape(len(sample), -1)
    before, after = _distinct(sample), _distinct(_rounded(sample, dtype))
    merged = np.flatnonzero(after < (1 - _LOST) * before)
    if not merged.size:
        return
    column = merged[0]
    where = "".join(f", {i}" for i in np.unravel_index(column, np.shape(low)))
    offset = float(np.median(sample[:, column]))
    moved = _distinct(_rounded(sample[:, [column]] - offset, dtype))
    remedy = f"Subtract an offset in double precision first, `{name}[:{where}] - {offset!r}`"
    if moved < (1 - _LOST) * before[column]:
        remedy = "Bring it to a scale of about 1 first, or take its logarithm"
    raise ValueError(
        f"`{name}` must keep its values apart in {dtype}; got columns {merged.tolist()} that do "
        f"not: in a sample of rows, column {column} has {before[column]} distinct values, and "
        f"{after[column]} after rounding. {remedy}; or enable double precision, "
        '`jax.config.update("jax_enable_x64", True)`.'
    )


def _rounded(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Round to `dtype` as XLA does, which flushes subnormal numbers to zero."""
    rounded = values.astype(dtype)
    return np.where(np.abs(rounded) < np.finfo(dtype).tiny, 0, rounded)


def _distinct(values: np.ndarray) -> np.ndarray:
    return np.array([len(np.unique(column)) for column in values.T])
