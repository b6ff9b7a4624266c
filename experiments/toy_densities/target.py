"""What is fitted: a density, its draws, and the window through which it is seen."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from distrax_flows import densities
from distrax_flows.diagnostics import plotting

_NUM_SHOWN = 100_000


class Target(NamedTuple):
    """A density to fit, and how it and its fits are shown.

    Attributes:
        name: of the density.
        density: the density.
        log_prob: its log-density, compiled.
        draw: from a key to a fresh batch of training data.
        x: `[N, 2]`, draws to show.
        bounds: the window.
        num: grid points along each side of the window.
        vmax: the highest density on the grid: the brightest colour of every panel.
    """

    name: str
    density: densities.ToyDensity
    log_prob: Callable[[jax.Array], jax.Array]
    draw: Callable[[jax.Array], jax.Array]
    x: jax.Array
    bounds: plotting.Bounds
    num: int
    vmax: float

    def on_grid(self, log_prob: Callable[[jax.Array], jax.Array]) -> np.ndarray:
        """Another density in the window of this one: `[num, num]`."""
        return plotting.density_grid(log_prob, self.bounds, self.num)


def make_target(name: str, batch_size: int, grid_size: int) -> Target:
    """The density of that name, in a window around its draws."""
    density = densities.get(name)
    log_prob = jax.jit(density.log_prob)
    x = density.sample(seed=jax.random.key(0), sample_shape=(_NUM_SHOWN,))
    bounds = plotting.sample_bounds(x)
    return Target(
        name=name,
        density=density,
        log_prob=log_prob,
        draw=lambda key: density.sample(seed=key, sample_shape=(batch_size,)),
        x=x,
        bounds=bounds,
        num=grid_size,
        vmax=float(plotting.density_grid(log_prob, bounds, grid_size).max()),
    )
