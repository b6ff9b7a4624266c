"""Densities and samples in the plane."""

from collections.abc import Callable
from typing import TYPE_CHECKING, SupportsFloat, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from distrax_flows._core.checks import check_positive, check_positive_int
from distrax_flows._core.types import ArrayLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Bounds", "density_grid", "plot_density", "plot_samples", "sample_bounds"]

# The part of the plane that is plotted, `((x_min, x_max), (y_min, y_max))`.
Bounds: TypeAlias = tuple[tuple[float, float], tuple[float, float]]

_CMAP = "magma"


def sample_bounds(
    x: Shaped[ArrayLike, "N 2"] | Float[np.ndarray, "N 2"], margin: float = 0.15, tail: float = 1e-3
) -> Bounds:
    """Return a square window around the bulk of samples.

    Uses quantiles, not extremes: one far sample of a heavy tail does not change the window.

    Args:
        x: `[N, 2]`, the samples.
        margin: free space on each side, as a fraction of the side of the square.
        tail: fraction of the samples that may lie beyond each side, before the margin.

    Returns:
        `((x_min, x_max), (y_min, y_max))`.

    Raises:
        ValueError: `x` has another shape, or fewer than two different points.

    Example:
        >>> import numpy as np
        >>> x = np.array([[0.0, 5.0], [1.0, 5.0], [4.0, 5.0]])
        >>> sample_bounds(x, margin=0.25, tail=0.0)
        ((-1.0, 5.0), (2.0, 8.0))
    """
    if x.ndim != 2 or x.shape[1] != 2:
        raise ValueError(f"`x` must have shape [N, 2]; got x.shape={x.shape}.")
    low, high = np.quantile(np.asarray(x), [tail, 1 - tail], axis=0)
    side = check_positive("the extent of x", float(np.max(high - low)))
    center, reach = (low + high) / 2, side * (0.5 + margin)
    (x_min, y_min), (x_max, y_max) = (center - reach).tolist(), (center + reach).tolist()
    return (x_min, x_max), (y_min, y_max)


def density_grid(
    log_prob: Callable[[jax.Array], jax.Array],
    bounds: Bounds,
    num: int = 200,
    batch_size: int = 10_000,
) -> Float[np.ndarray, "num num"]:
    """Return the density at the centres of `num` x `num` equal cells of a window.

    Args:
        log_prob: maps points `[batch_size, 2]` to log-densities `[batch_size]`. It is called as is:
            methods of `Flow` are already compiled; other functions may gain from `jax.jit`.
        bounds: the window, `((x_min, x_max), (y_min, y_max))`.
        num: number of cells along each side.
        batch_size: number of points per call, the same for all, so that it compiles once.

    Returns:
        `[num, num]`, densities, row by row from the lowest y; undefined ones are NaN.

    Raises:
        ValueError: `num` or `batch_size` is not a positive integer.

    Example:
        >>> from distrax_flows import densities
        >>> moons = densities.get("moons")
        >>> density = density_grid(moons.log_prob, ((-4, 4), (-4, 4)), num=100)
        >>> print(f"{density.sum() * (8 / 100) ** 2:.3f}")
        1.000
    """
    num = check_positive_int("num", num)
    batch_size = check_positive_int("batch_size", batch_size)
    fractions = (np.arange(num) + 0.5) / num
    xs, ys = (low + fractions * (high - low) for low, high in bounds)
    points = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    # The last batch is padded with points that are removed at the end.
    padded = np.resize(points, (-(-len(points) // batch_size) * batch_size, 2))
    batches = jnp.asarray(padded, jnp.float32).reshape(-1, batch_size, 2)
    log_density = np.concatenate([np.asarray(log_prob(batch)) for batch in batches])
    return np.exp(log_density[: len(points)]).reshape(num, num)


def plot_density(
    ax: "Axes",
    density: Float[np.ndarray, "H W"],
    bounds: Bounds,
    *,
    vmax: SupportsFloat | None = None,
    cmap: str = _CMAP,
) -> None:
    """Plot a density on a grid as an image.

    Args:
        ax: matplotlib axes.
        density: `[H, W]`, from `density_grid`.
        bounds: the window of the grid.
        vmax: density of the brightest colour; the maximum if None. Plots to be compared should
            share it.
        cmap: name of a matplotlib colormap.

    Example:
        >>> from distrax_flows.diagnostics.plotting import panels
        >>> figure, axes = panels(1, 1)
        >>> plot_density(axes[0, 0], np.eye(3), ((0, 1), (0, 1)), vmax=2.0)
    """
    ax.imshow(
        density,
        extent=(*bounds[0], *bounds[1]),
        origin="lower",
        vmin=0.0,
        vmax=None if vmax is None else float(vmax),
        cmap=cmap,
        interpolation="bilinear",
    )
    _frame(ax, bounds)


def plot_samples(
    ax: "Axes",
    x: Shaped[ArrayLike, "N 2"] | Float[np.ndarray, "N 2"],
    bounds: Bounds,
    *,
    vmax: SupportsFloat | None = None,
    num: int = 100,
    cmap: str = _CMAP,
) -> None:
    """Plot samples as a histogram, in the units and colours of `plot_density`.

    Args:
        ax: matplotlib axes.
        x: `[N, 2]`, the samples. Points beyond the window count towards the total mass of one.
        bounds: the window.
        vmax: density of the brightest colour; that of the highest cell if None.
        num: number of cells along each side.
        cmap: name of a matplotlib colormap.

    Example:
        >>> from distrax_flows.diagnostics.plotting import panels
        >>> figure, axes = panels(1, 1)
        >>> plot_samples(axes[0, 0], np.zeros((10, 2)), ((-1, 1), (-1, 1)))
    """
    x = np.asarray(x)
    counts, x_edges, y_edges = np.histogram2d(x[:, 0], x[:, 1], bins=num, range=bounds)
    cell = (x_edges[1] - x_edges[0]) * (y_edges[1] - y_edges[0])
    image = counts.T / (len(x) * cell)
    extent = (*bounds[0], *bounds[1])
    top = None if vmax is None else float(vmax)
    ax.imshow(image, extent=extent, origin="lower", vmin=0.0, vmax=top, cmap=cmap)
    _frame(ax, bounds)


def _frame(ax: "Axes", bounds: Bounds) -> None:
    ax.set(xlim=bounds[0], ylim=bounds[1], aspect="equal", xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(False)
