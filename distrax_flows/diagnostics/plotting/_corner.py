"""Corner plots."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Shaped

from distrax_flows._core.checks import check_length, check_positive_int
from distrax_flows._core.types import ArrayLike
from distrax_flows.diagnostics.plotting._figures import COLORS, panels
from distrax_flows.diagnostics.plotting._regions import bin_edges, density_cells, mark, mass_levels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["corner"]

_MOST_DIMENSIONS = 20


def corner(
    *sets: Shaped[ArrayLike, "_ D"] | Float[np.ndarray, "_ D"],
    names: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    truth: Sequence[float] | Shaped[ArrayLike, "*sets D"] | None = None,
    size: float = 1.3,
    num: int = 40,
    tail: float = 1e-3,
) -> "Figure":
    """Return a corner plot of one or more sets of samples: all marginals of one and two dimensions.

    Contours hold 39, 86 and 99 % of the samples, as one, two and three standard deviations of a
    Gaussian in the plane do.

    Args:
        *sets: `[N, D]`, samples, such as data first and then samples of a flow; or posteriors for
            several contexts, `*jnp.unstack(samples, axis=1)` of samples `[N, K, D]`.
        names: names of the dimensions.
        labels: labels of the sets.
        truth: `[D]`, a point to mark; or one for each set, `[K, D]`, in its colour.
        size: side of a panel, in inches.
        num: number of cells along each side of a panel.
        tail: fraction of the samples that may lie beyond each side.

    Raises:
        ValueError: there are no samples; they are not matrices of one width, or not finite; there
            are more than 20 dimensions; `names`, `labels` or `truth` do not match.

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
    check_length("names", names, num_dims)
    check_length("labels", labels, len(arrays))
    edges = [bin_edges([x[:, d] for x in arrays], num, tail) for d in range(num_dims)]
    colors = [COLORS[index % len(COLORS)] for index in range(len(arrays))]
    points = _check_truth(truth, len(arrays), num_dims)
    point_colors = colors if len(points) == len(arrays) > 1 else ["0.3"]
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
                *middles, density = density_cells(x[:, [column, row]], edges[column], edges[row])
                if levels := mass_levels(density):
                    ax.contour(*middles, density, levels=levels, colors=color, linewidths=1.0)
        for point, color in zip(points, point_colors, strict=False):
            mark(ax, point[column], None if row == column else point[row], color)
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


def _check_truth(truth: Any, num_sets: int, num_dims: int) -> np.ndarray:
    """Return points to mark, `[K, D]`: none, one, or one for each set."""
    if truth is None:
        return np.empty((0, num_dims))
    points = np.asarray(truth, float)
    if points.shape not in ((num_dims,), (num_sets, num_dims)):
        raise ValueError(
            f"`truth` must have shape {(num_dims,)}, or {(num_sets, num_dims)} for a point of each "
            f"set; got {points.shape}."
        )
    return np.atleast_2d(points)


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
