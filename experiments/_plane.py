"""Densities in the plane, and the windows of their pictures."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import jax
from matplotlib.axes import Axes

from distrax_flows import densities
from distrax_flows.diagnostics import plotting

LogProb: TypeAlias = Callable[[jax.Array], jax.Array]

_NUM_SHOWN = 100_000


class Window(NamedTuple):
    """A window in the plane."""

    bounds: plotting.Bounds  # its bounds
    num: int  # grid points along each side
    vmax: float  # the density of the brightest colour

    def plot_density(self, ax: Axes, log_prob: LogProb) -> None:
        """Draws a density on the grid."""
        density = plotting.density_grid(log_prob, self.bounds, self.num)
        plotting.plot_density(ax, density, self.bounds, vmax=self.vmax)

    def plot_samples(self, ax: Axes, x: jax.Array) -> None:
        """Draws a histogram of samples, `[N, 2]`."""
        plotting.plot_samples(ax, x, self.bounds, vmax=self.vmax)


class Target(NamedTuple):
    """A density to fit, with samples and a window for its pictures."""

    name: str  # name of the density
    density: densities.ToyDensity  # the density
    log_prob: LogProb  # its log-density, compiled
    draw: Callable[[jax.Array], jax.Array]  # maps a key to a fresh batch of training data
    x: jax.Array  # `[N, 2]`, samples to show
    window: Window  # a window around them, where the highest density is brightest


# Cached, so that all fits to a density share compiled code.
@functools.cache
def make_target(name: str, batch_size: int, grid_size: int) -> Target:
    """The density of that name, in a window around its samples."""
    density = densities.get(name)
    log_prob = jax.jit(density.log_prob)
    x = density.sample(seed=jax.random.key(0), sample_shape=(_NUM_SHOWN,))
    return Target(
        name=name,
        density=density,
        log_prob=log_prob,
        draw=lambda key: density.sample(seed=key, sample_shape=(batch_size,)),
        x=x,
        window=make_window(log_prob, x, grid_size),
    )


def make_window(log_prob: LogProb, x: jax.Array, num: int) -> Window:
    """The window around samples `x`, `[N, 2]`, of a density."""
    bounds = plotting.sample_bounds(x)
    return Window(bounds, num, float(plotting.density_grid(log_prob, bounds, num).max()))


def planar_densities() -> list[str]:
    """Names of the densities in the plane."""
    return [name for name in densities.names() if densities.get(name).event_shape == (2,)]


def write_in_corner(ax: Axes, text: str, size: int = 7) -> None:
    """Writes text in the lower right corner of a panel."""
    ax.text(0.97, 0.04, text, color="w", fontsize=size, ha="right", transform=ax.transAxes)


class Fitted(NamedTuple):
    """Label, log-density and KL of a fitted flow, for pictures."""

    label: str
    log_prob: LogProb
    kl: float


def draw_overview(
    path: Path,
    first: str,
    rows: Sequence[tuple[str, Window, Callable[[Axes], None], Sequence[Fitted]]],
) -> None:
    """Draws a row of panels for each target.

    Args:
        path: file to write.
        first: title of the first panels.
        rows: name of the target, its window, a function that draws its first panel, and its fits.
    """
    titles = [first, *(fit.label for fit in rows[0][-1])]
    figure, axes = plotting.panels(len(rows), len(titles), size=1.6, dpi=100)
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=9)
    for row_axes, (name, window, plot_first, fits) in zip(axes, rows, strict=True):
        plot_first(row_axes[0])
        row_axes[0].set_ylabel(name, fontsize=9)
        for ax, fit in zip(row_axes[1:], fits, strict=True):
            window.plot_density(ax, fit.log_prob)
            write_in_corner(ax, f"KL {fit.kl:.4f}")
    plotting.save_png(path, figure)
