"""Corner plots."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.ndimage
from jaxtyping import Float, Shaped

from distrax_flows._core.checks import check_positive_int
from distrax_flows._core.types import ArrayLike
from distrax_flows.diagnostics.plotting._figures import COLORS, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["corner"]

_MOST_DIMENSIONS = 20
_MASSES = (0.39, 0.86, 0.99)  # of one, two and three standard deviations of a plane Gaussian


def corner(
    *sets: Shaped[ArrayLike, "_ D"] | Float[np.ndarray, "_ D"],
    names: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    truth: Sequence[float] | None = None,
    size: float = 1.3,
    num: int = 40,
    tail: float = 1e-3,
) -> "Figure":
    """Return a corner plot of one or more sets of samples: all marginals of one and two dimensions.

    Contours hold 39, 86 and 99 % of the samples, as one, two and three standard deviations of a
    Gaussian in the plane do.

    Args:
        *sets: `[N, D]`, samples, such as data first and then samples of a flow; or posteriors for
            several contexts.
        names: names of the dimensions.
        labels: labels of the sets.
        truth: `[D]`, a point to mark.
        size: side of a panel, in inches.
        num: number of cells along each side of a panel.
        tail: fraction of the samples that may lie beyond each side.

    Raises:
        ValueError: there are no samples; they are not matrices of one width, or not finite; there
            are more than 20 dimensions; `names`, `labels` or `truth` have another length.

    Example:
        >>> import distrax_flows as dxf, numpy as np
        >>> data, samples = np.random.default_rng(0).normal(size=(2, 1000, 3))
        >>> figure = dxf.diagnostics.plotting.corner(data, samples, labels=["data", "flow"])
    """
    check_positive_int("num", num)
    if not 0 <= tail < 0.5:
        raise ValueError(f"`tail` must be at least 0 and below 0.5; got {tail=}.")
    arrays = _check_sets(sets)
    num_dims = arrays[0].shape[1]
    names = [f"x[{d}]" for d in range(num_dims)] if names is None else names
    _check_length("names", names, num_dims)
    _check_length("truth", truth, num_dims)
    _check_length("labels", labels, len(arrays))
    edges = [_edges([x[:, d] for x in arrays], num, tail) for d in range(num_dims)]
    colors = [COLORS[index % len(COLORS)] for index in range(len(arrays))]
    figure, axes = panels(num_dims, num_dims, size=size)
    for row, column in np.ndindex(num_dims, num_dims):
        ax: Any = axes[row, column]
        if column > row:
            ax.remove()
            continue
        for x, color in zip(arrays, colors, strict=True):
            if row == column:
                heights = np.histogram(x[:, row], edges[row], density=True)[0]
                ax.stairs(heights, edges[row], color=color, linewidth=1.2)
            else:
                _contours(ax, x[:, column], x[:, row], edges[column], edges[row], color)
        if truth is not None:
            ax.axvline(truth[column], color="0.3", linewidth=0.8)
            if row != column:
                ax.axhline(truth[row], color="0.3", linewidth=0.8)
        ax.set_xlim(edges[column][0], edges[column][-1])
        if row != column:
            ax.set_ylim(edges[row][0], edges[row][-1])
        _label(ax, row, column, names)
    if labels is not None:
        lines = [_line(color, label) for color, label in zip(colors, labels, strict=True)]
        figure.legend(handles=lines, loc="upper right", frameon=False, fontsize=8)
    return figure


def _check_sets(sets: Sequence[ArrayLike]) -> list[np.ndarray]:
    arrays = [np.asarray(x, float) for x in sets]
    shapes = [x.shape for x in arrays]
    if not arrays or any(x.ndim != 2 or 0 in x.shape for x in arrays):
        raise ValueError(f"`sets` must be non-empty matrices, [N, D]; got shapes {shapes}.")
    num_dims = arrays[0].shape[1]
    if any(x.shape[1] != num_dims for x in arrays):
        raise ValueError(f"`sets` must have the same number of columns; got shapes {shapes}.")
    if num_dims > _MOST_DIMENSIONS:
        raise ValueError(
            f"`sets` must have at most {_MOST_DIMENSIONS} columns; got {num_dims}. Choose some: "
            "`corner(x[:, [0, 3, 5]])`."
        )
    for index, x in enumerate(arrays):
        if not np.isfinite(x).all():
            raise ValueError(f"`sets` must be finite; set {index} has NaN or infinite values.")
    return arrays


def _check_length(name: str, value: Sequence | None, length: int) -> None:
    if value is not None and len(value) != length:
        raise ValueError(f"`{name}` must have {length} entries; got {name}={value!r}.")


def _label(ax: "Axes", row: int, column: int, names: Sequence[str]) -> None:
    """Label the outer panels only."""
    ax.tick_params(labelsize=6)
    ax.spines[["top", "right"]].set_visible(False)
    ax.locator_params(nbins=3)
    if row == len(names) - 1:
        ax.set_xlabel(names[column], fontsize=8)
    else:
        ax.set_xticklabels([])
    if row == column:
        ax.set_yticks([])
    elif column == 0:
        ax.set_ylabel(names[row], fontsize=8)
    else:
        ax.set_yticklabels([])


def _line(color: str, label: str):
    from matplotlib.lines import Line2D

    return Line2D([], [], color=color, label=label)


def _edges(columns: list[np.ndarray], num: int, tail: float) -> np.ndarray:
    quantiles = np.array([np.quantile(column, [tail, 1 - tail]) for column in columns])
    low, high = quantiles[:, 0].min(), quantiles[:, 1].max()
    margin = 0.05 * (high - low) or 0.5
    return np.linspace(low - margin, high + margin, num + 1)


def _contours(ax: "Axes", x: np.ndarray, y: np.ndarray, x_edges, y_edges, color: str) -> None:
    counts = np.histogram2d(x, y, [x_edges, y_edges])[0].T
    counts = scipy.ndimage.gaussian_filter(counts, 0.7)  # smooth the contours
    descending = np.sort(counts.ravel())[::-1]
    cumulative = descending.cumsum() / max(descending.sum(), 1e-30)
    levels = {
        float(descending[min(np.searchsorted(cumulative, m), cumulative.size - 1)]) for m in _MASSES
    }
    levels = sorted(level for level in levels if 0 < level < counts.max())
    if levels:
        middles = ((edges[:-1] + edges[1:]) / 2 for edges in (x_edges, y_edges))
        ax.contour(*middles, counts, levels=levels, colors=color, linewidths=1.0)
