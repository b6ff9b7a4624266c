"""Plots of a conditional flow, one panel for each context."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Shaped

from distrax_flows._core.checks import check_length, check_positive_int
from distrax_flows._core.types import ArrayLike
from distrax_flows.diagnostics.plotting._figures import COLORS
from distrax_flows.diagnostics.plotting._regions import bin_edges, density_cells, mark, mass_levels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_slices"]

_SHADES = (0.2, 0.5, 0.9)  # opacity of the regions of 99, 86 and 39 %
_TAIL = 1e-3  # fraction of the samples of a context that may lie beyond each side


def plot_slices(
    axes: Sequence["Axes"] | np.ndarray,
    samples: Shaped[ArrayLike, "N K D"] | Float[np.ndarray, "N K D"],
    *,
    dims: tuple[int, int] = (0, 1),
    names: Sequence[str] | None = None,
    titles: Sequence[str] | None = None,
    truth: Shaped[ArrayLike, "K D"] | Float[np.ndarray, "K D"] | None = None,
    num: int = 40,
) -> None:
    """Plot two dimensions of samples for several contexts, side by side in the same window.

    Shades hold 39, 86 and 99 % of the samples of a context, so that narrow and wide distributions
    are equally visible. The other dimensions are marginalised. For a few contexts in one panel, and
    all dimensions, use `corner(*jnp.unstack(samples, axis=1))`, which has the same colours.

    Args:
        axes: K axes of matplotlib, one for each context.
        samples: `[N, K, D]`, as `flow.sample(params, key, (N,), contexts)` returns them for K
            contexts.
        dims: the dimensions along x and along y.
        names: names of the D dimensions.
        titles: K titles, such as the values of the contexts.
        truth: `[K, D]`, a point to mark in each panel.
        num: number of cells along each side of the region around the samples of a context.

    Raises:
        ValueError: `samples` are not `[N, K, D]`, or not finite; `dims` are not two of the D
            dimensions; or there are not K axes, D names, K titles or K points.

    Example:
        >>> import distrax_flows as dxf, jax.numpy as jnp
        >>> flow = dxf.transform(lambda context: dxf.flows.maf(3, context=context))
        >>> contexts = jnp.array([[-1.0], [0.0], [1.0]])
        >>> params = flow.init_without_data(0, context=contexts)
        >>> samples = flow.sample(params, 1, (1000,), contexts)
        >>> figure, axes = dxf.diagnostics.plotting.panels(1, 3)
        >>> dxf.diagnostics.plotting.plot_slices(axes[0], samples, titles=["-1", "0", "1"])
    """
    check_positive_int("num", num)
    values = _check_samples(samples)
    _, num_contexts, num_dims = values.shape
    panels: list[Any] = list(np.ravel(np.asarray(axes, dtype=object)))
    check_length("axes", panels, num_contexts)
    names = [f"x[{d}]" for d in range(num_dims)] if names is None else names
    check_length("names", names, num_dims)
    check_length("titles", titles, num_contexts)
    if truth is not None and np.shape(truth) != (num_contexts, num_dims):
        raise ValueError(
            f"`truth` must have shape {(num_contexts, num_dims)}, a point for each context; got "
            f"{np.shape(truth)}."
        )
    if len(dims) != 2 or dims[0] == dims[1] or not all(0 <= dim < num_dims for dim in dims):
        raise ValueError(
            f"`dims` must be two different dimensions from 0 to {num_dims - 1}; got {dims=}."
        )
    pairs = values[..., list(dims)]
    window = [bin_edges(list(pairs[..., axis].T), 1, _TAIL) for axis in (0, 1)]
    for index, ax in enumerate(panels):
        _fill_regions(ax, pairs[:, index], num, COLORS[index % len(COLORS)])
        if truth is not None:
            mark(ax, *np.asarray(truth)[index, list(dims)])
        ax.set(xlim=window[0], ylim=window[1], box_aspect=1)
        if titles is not None:
            ax.set_title(titles[index], fontsize=8)
        _label(ax, names[dims[0]], None if index else names[dims[1]])


def _check_samples(samples: ArrayLike) -> np.ndarray:
    values = np.asarray(samples, float)
    if values.ndim != 3 or 0 in values.shape or values.shape[-1] < 2:
        raise ValueError(
            "`samples` must be [N, K, D], N samples for each of K contexts, with D of at least 2; "
            f"got shape {values.shape}. For one context, use `corner`."
        )
    bad = np.flatnonzero(~np.isfinite(values).all(axis=(0, 2)))
    if bad.size:
        raise ValueError(
            f"`samples` must be finite; those of context {bad[0]} have NaN or infinite values."
        )
    return values


def _fill_regions(ax: Any, x: np.ndarray, num: int, color: str) -> None:
    """Fill the regions of one context on cells of its own, fine enough if it is narrow."""
    from matplotlib.colors import to_rgba

    edges = [bin_edges([column], num, _TAIL) for column in x.T]
    *middles, density = density_cells(x, *edges)
    levels = mass_levels(density)
    if levels:
        shades = [to_rgba(color, shade) for shade in _SHADES[-len(levels) :]]
        ax.contourf(*middles, density, levels=[*levels, density.max()], colors=shades)


def _label(ax: Any, x_name: str, y_name: str | None) -> None:
    ax.tick_params(labelsize=6)
    ax.locator_params(nbins=3)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_xlabel(x_name, fontsize=8)
    if y_name is None:
        ax.set_yticklabels([])
    else:
        ax.set_ylabel(y_name, fontsize=8)
