"""Picture of a data set: log-likelihoods, and data beside samples of the best flow."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.special
import scipy.stats
from matplotlib.axes import Axes

from distrax_flows.diagnostics import plotting
from experiments._digits import draw_digits
from experiments._summary import mean_and_stderr
from experiments._table import Finished
from experiments.tabular.datasets import Splits
from experiments.tabular.fits import GAUSSIAN

_NUM_POINTS = 400
_COLORS = ("0.35", "#e66101", "#5e3c99")  # of data, the flow, and the Gaussian
_SHAPE = (4, 14)  # of images of digits, down and across


def draw_set(path: Path, splits: Splits, fits: Sequence[Finished]) -> None:
    """Log-likelihoods of all fits on the left; data and samples on the right.

    The splits are those of the first seed. The results of fits are samplers, as of `as_sampler`;
    those of the first seed come first.
    """
    names = list(dict.fromkeys(fit.row["flow"] for fit in fits))
    first = {fit.row["flow"]: fit for fit in reversed(fits)}
    best = max(names[1:], key=lambda name: np.mean(_values(fits, name, "validation")))
    x = splits.train[:_NUM_POINTS]
    shown = {
        "rows that train": np.asarray(x, float),
        f"draws of {best}": first[best].result(len(x)),
        "draws of the Gaussian": first[GAUSSIAN].result(len(x)),
    }
    figure, axes = plotting.panels(3, 5, size=2.0)
    grid = axes[0, 0].get_gridspec()
    for ax in axes[:, :2].flat:
        ax.remove()
    _draw_scores(figure.add_subplot(grid[:, :2]), fits, names, splits.name)
    if splits.name == "digits":
        for ax in axes[:, 2:].flat:
            ax.remove()
        for i, (title, rows) in enumerate(shown.items()):
            # With the brightness before the logit.
            pixels = scipy.special.expit(rows[: math.prod(_SHAPE)]).reshape(*_SHAPE, 8, 8)
            draw_digits(figure.add_subplot(grid[i, 2:]), pixels, title, 0.05, 0.95)
    else:
        pairs = _least_gaussian(shown["rows that train"], 3)
        for columns, pair in itertools.zip_longest(axes[:, 2:].T, pairs):
            if pair is None:  # there are fewer columns
                for ax in columns:
                    ax.remove()
            else:
                _draw_pairs(columns, shown, pair)
    plotting.save_png(path, figure)


def _values(fits: Sequence[Finished], flow: str, column: str) -> list[float]:
    return [float(fit.row[column]) for fit in fits if fit.row["flow"] == flow]


def _draw_scores(ax: Axes, fits: Sequence[Finished], names: Sequence[str], title: str) -> None:
    """Test log-likelihoods: means over seeds with standard errors, and a line for each seed."""
    table = np.array([_values(fits, name, "test") for name in names])
    ax.plot(table, color="0.8", linewidth=0.8, marker=".", markersize=4)
    for i, values in enumerate(table):
        mean, stderr = mean_and_stderr(values)
        if np.isnan(stderr):
            # A single fit has only the one over rows.
            stderr = _values(fits, names[i], "test_stderr")[0]
        color = _COLORS[2] if names[i] == GAUSSIAN else _COLORS[1]
        ax.errorbar(i, mean, stderr, color=color, marker="o", capsize=4)
    ax.axhline(table[0].mean(), color=_COLORS[2], linewidth=0.7, linestyle=":")
    ax.set_xticks(range(len(names)), [name.replace("_", "\n") for name in names], fontsize=6)
    ax.set_xlim(-0.5, len(names) - 0.5)
    ax.tick_params(axis="y", labelsize=7)
    ax.set_title(f"{title}: test log-likelihood, nats", fontsize=9)
    if table.shape[1] > 1:
        ax.set_xlabel("mean and standard error over seeds; grey: a seed each", fontsize=7)


def _draw_pairs(axes: np.ndarray, shown: dict[str, np.ndarray], pair: Sequence[int]) -> None:
    """Two columns of data and samples, in the window of the data."""
    data = next(iter(shown.values()))[:, pair]
    low, high = np.quantile(data, [0.005, 0.995], axis=0)
    margin = 0.25 * (high - low)
    for ax, color, (title, rows) in zip(axes, _COLORS, shown.items(), strict=True):
        ax.plot(*rows[:, pair].T, ".", color=color, markersize=2)
        ax.set_xlim(low[0] - margin[0], high[0] + margin[0])
        ax.set_ylim(low[1] - margin[1], high[1] + margin[1])
        ax.set(xticks=[], yticks=[])
        ax.set_title(title, fontsize=8)
        ax.set_xlabel(f"column {pair[0]}", fontsize=7)
        ax.set_ylabel(f"column {pair[1]}", fontsize=7)


def _least_gaussian(x: np.ndarray, num: int) -> list[list[int]]:
    """Disjoint pairs of columns whose dependence is least like that of Gaussians.

    Each column is first made normal by its ranks. If two are jointly Gaussian, then the squares of
    one are uncorrelated with the values of the other, and the correlation of their squares is the
    square of their correlation.
    """
    ranks = scipy.stats.rankdata(x, axis=0)
    z = _standardized(scipy.stats.norm.ppf((ranks - 0.5) / len(x)))
    squares = _standardized(z**2)
    bent = np.abs(squares.T @ z)
    joint = np.abs(squares.T @ squares - (z.T @ z) ** 2 / len(x))
    strange = np.triu(bent + bent.T + joint, k=1)
    pairs = []
    for _ in range(min(num, x.shape[1] // 2)):
        pair = list(map(int, divmod(int(strange.argmax()), len(strange))))
        pairs.append(pair)
        strange[pair] = strange[:, pair] = 0
    return pairs


def _standardized(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(axis=0)) / x.std(axis=0)
