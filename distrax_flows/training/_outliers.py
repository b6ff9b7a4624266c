"""Warnings about outliers that set the scale of standardised data."""

from typing import Any

import numpy as np

from distrax_flows._core.warn import warn
from distrax_flows.functional.flow import Params
from distrax_flows.training._data import Batch, blocks, bounds

__all__ = ["warn_of_outliers"]

_ROWS = 2**14
# The ratio is .74 for a Gaussian, .9 for an exponential, and some tens for the heaviest tails that
# a flow can fit.
_RATIO = 100.0


def warn_of_outliers(params: Params, data: Batch, names: Batch) -> None:
    """Warn if a flow divides a column by a standard deviation that a few rows have made huge.

    All other rows then lie on a spike, which no training resolves.

    Args:
        params: initial parameters of the flow.
        data: the training data.
        names: the user's names for the parts of the data.
    """
    for module, entries in params.items():
        if "standardize" not in module or "fixed_mean" not in entries:
            continue
        of_context = "standardize_context" in module
        table, name = (data.context, names.context) if of_context else (data.x, names.x)
        deviation = np.exp(np.asarray(entries["fixed_log_deviation"], np.float64))
        # Dimensions on circles are not standardised; then the remaining columns are not known here.
        if table is not None and deviation.shape == table.shape[1:]:
            _warn(name, table, deviation)


def _warn(name: str, table: Any, deviation: np.ndarray) -> None:
    size = len(table)
    rows = np.random.default_rng(0).integers(size, size=_ROWS) if size > _ROWS else slice(None)
    sample = np.concatenate([np.asarray(table[rows], np.float64), bounds(table)])
    low, median, high = np.quantile(sample, [0.25, 0.5, 0.75], axis=0)
    # The flow's own standard deviation is that of the values behind a support: lognormal data are
    # wide, their logarithms are not. That of the sample distinguishes this from a change of units.
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        ratio = np.minimum(sample.std(axis=0), deviation) / (high - low)
    for column in np.flatnonzero((ratio > _RATIO) & (high > low)):
        distance = np.concatenate(
            [np.abs(block[:, column] - median[column]) for block in blocks(table)]
        )
        row = int(np.argmax(distance))
        warn(
            f"Column {column} of `{name}` has a standard deviation of {ratio[column]:.1e} times "
            f"its interquartile range; the farthest row is {row}, with the value "
            f"{float(table[row, column]):.6g}. Standardised by it, all other rows lie on a spike. "
            'Remove such rows, or build the flow with `standardize="robust"`.'
        )
