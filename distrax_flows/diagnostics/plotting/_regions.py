"""Regions of the plane that hold most of a set of samples."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy.ndimage
from jaxtyping import Float

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["bin_edges", "density_cells", "mark", "mass_levels"]

_MASSES = (0.39, 0.86, 0.99)  # of one, two and three standard deviations of a plane Gaussian


def bin_edges(columns: Sequence[np.ndarray], num: int, tail: float) -> np.ndarray:
    """Return `num + 1` edges of bins that cover the bulk of all columns."""
    quantiles = np.array([np.quantile(column, [tail, 1 - tail]) for column in columns])
    low, high = quantiles[:, 0].min(), quantiles[:, 1].max()
    margin = 0.05 * (high - low) or 0.5
    return np.linspace(low - margin, high + margin, num + 1)


def density_cells(
    x: Float[np.ndarray, "N 2"], x_edges: np.ndarray, y_edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the centres of cells along x and along y, and smoothed counts, `[y, x]`."""
    counts = np.histogram2d(x[:, 0], x[:, 1], [x_edges, y_edges])[0].T
    x_middles, y_middles = ((edges[:-1] + edges[1:]) / 2 for edges in (x_edges, y_edges))
    return x_middles, y_middles, scipy.ndimage.gaussian_filter(counts, 0.7)


def mass_levels(density: np.ndarray) -> list[float]:
    """Return the levels, in rising order, above which 99, 86 and 39 % of the mass lie."""
    descending = np.sort(density.ravel())[::-1]
    cumulative = descending.cumsum() / max(descending.sum(), 1e-30)
    levels = {
        float(descending[min(np.searchsorted(cumulative, m), cumulative.size - 1)]) for m in _MASSES
    }
    return sorted(level for level in levels if 0 < level < density.max())


def mark(ax: "Axes", x: float, y: float | None, color: str = "0.3") -> None:
    """Mark a point by lines; only the value of x if `y` is None."""
    ax.axvline(x, color=color, linewidth=0.8)
    if y is not None:
        ax.axhline(y, color=color, linewidth=0.8)
