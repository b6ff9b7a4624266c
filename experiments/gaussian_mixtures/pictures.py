"""Pictures of a fit: the data, their images in the base space, and samples of the flow."""

from collections.abc import Sequence
from pathlib import Path

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes

from distrax_flows.diagnostics import plotting

_NORMAL_BOUNDS = ((-4.0, 4.0), (-4.0, 4.0))
_FILL, _LINE = "#f1a340", "#5e3c99"


def draw(
    path: Path, mixture: distrax.Distribution, shown: Sequence[np.ndarray], titles: Sequence[str]
) -> None:
    """Draws data, latent values and samples, each `[N, D]`, with a title each."""
    figure, (axes,) = plotting.panels(1, 3, size=2.8)
    draw_panels = _draw_line if shown[0].shape[-1] == 1 else _draw_plane
    draw_panels(axes, mixture, shown)
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, fontsize=9)
    plotting.save_png(path, figure)


def _draw_line(
    axes: Sequence[Axes], mixture: distrax.Distribution, shown: Sequence[np.ndarray]
) -> None:
    """Histograms, with the exact densities that they should match."""
    low, high = np.quantile(shown[0], [1e-4, 1 - 1e-4])
    x = np.linspace(low - 0.7, high + 0.7, 400)
    z = np.linspace(*_NORMAL_BOUNDS[0], 400)
    exact = np.exp(mixture.log_prob(jnp.asarray(x[:, None])))
    normal = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    grids, curves = (x, z, x), (exact, normal, exact)
    for ax, values, grid, curve in zip(axes, shown, grids, curves, strict=True):
        counts, edges = np.histogram(values, bins=80, range=(grid[0], grid[-1]))
        ax.stairs(counts / (len(values) * np.diff(edges)), edges, fill=True, color=_FILL)
        ax.plot(grid, curve, color=_LINE, linewidth=1)
        ax.set(xlim=(grid[0], grid[-1]), ylim=(0, 1.5 * curve.max()), yticks=[])
        ax.tick_params(labelsize=7)


def _draw_plane(
    axes: Sequence[Axes], mixture: distrax.Distribution, shown: Sequence[np.ndarray]
) -> None:
    """Histograms in the plane: data and samples share a window and a colour scale."""
    bounds = plotting.sample_bounds(shown[0])
    vmax = plotting.density_grid(jax.jit(mixture.log_prob), bounds).max()
    plotting.plot_samples(axes[0], shown[0], bounds, vmax=vmax)
    plotting.plot_samples(axes[1], shown[1], _NORMAL_BOUNDS, vmax=1 / (2 * np.pi), num=80)
    plotting.plot_samples(axes[2], shown[2], bounds, vmax=vmax)
    turn = np.linspace(0, 2 * np.pi, 200)
    for radius in (1, 2, 3):
        axes[1].plot(radius * np.cos(turn), radius * np.sin(turn), color="w", linewidth=0.6)
