"""Toy target densities: distrax distributions with exact samples, log-density and entropy.

| name | what it looks like | event |
|-|-|-|
| banana | a parabola of Gaussian width | (2,) |
| gaussian_blobs | eight Gaussians on a circle | (2,) |
| energy1 | two ridges that approach each other in the tails | (2,) |
| energy2, energy3, energy4 | a sine wave, split in the middle, split to the right | (2,) |
| half_circle | a ring that fades to one side | (2,) |
| u1, u2, u3, u4 | the potentials of Rezende & Mohamed 2015, normalised | (2,) |
| moons | two interleaved half circles | (2,) |
| circles, rings | two and four concentric circles | (2,) |
| 8gaussians | eight Gaussians on a wider circle | (2,) |
| pinwheel | five arms, wound up | (2,) |
| 2spirals | two spirals, each the negative of the other | (2,) |
| checkerboard | eight squares | (2,) |
| swissroll | one spiral | (2,) |
| spiral_galaxy | five short arms that sharpen outwards | (2,) |
| two_gaussians | on the line, N(-2, 1) and N(2, 1) | (1,) |

Each constructor documents its formula, source and accuracy. In these, N(m, v) is the normal
distribution with mean m and variance v, N(x; m, v) its density at x, and U(a, b) the uniform
distribution on (a, b).

>>> import jax
>>> from distrax_flows import densities
>>> moons = densities.get("moons")
>>> x = moons.sample(seed=jax.random.key(0), sample_shape=(5,))
>>> x.shape, moons.log_prob(x).shape
((5, 2), (5,))
>>> print(f"{moons.entropy():.3f}")
2.394
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax.typing import DTypeLike

from distrax_flows.densities._base import ToyDensity
from distrax_flows.densities._checkerboard import checkerboard
from distrax_flows.densities._curves import moons, swissroll
from distrax_flows.densities._energies import (
    banana,
    energy1,
    energy2,
    energy3,
    energy4,
    u2,
    u3,
    u4,
)
from distrax_flows.densities._mixtures import eight_gaussians, gaussian_blobs, two_gaussians
from distrax_flows.densities._pinwheel import pinwheel
from distrax_flows.densities._radial import half_circle, u1
from distrax_flows.densities._rings import circles, rings
from distrax_flows.densities._spirals import spiral_galaxy, two_spirals

__all__ = ["ToyDensity", "get", "names"]

_CONSTRUCTORS: dict[str, Callable[..., ToyDensity]] = {
    "banana": banana,
    "gaussian_blobs": gaussian_blobs,
    "energy1": energy1,
    "energy2": energy2,
    "energy3": energy3,
    "energy4": energy4,
    "half_circle": half_circle,
    "u1": u1,
    "u2": u2,
    "u3": u3,
    "u4": u4,
    "moons": moons,
    "circles": circles,
    "rings": rings,
    "8gaussians": eight_gaussians,
    "pinwheel": pinwheel,
    "2spirals": two_spirals,
    "checkerboard": checkerboard,
    "swissroll": swissroll,
    "spiral_galaxy": spiral_galaxy,
    "two_gaussians": two_gaussians,
}


def names() -> tuple[str, ...]:
    """Return the names that `get` accepts, in the order of the table above.

    >>> names()[:3]
    ('banana', 'gaussian_blobs', 'energy1')
    """
    return tuple(_CONSTRUCTORS)


def get(name: str, dtype: DTypeLike = jnp.float32) -> ToyDensity:
    """Return the density called `name`.

    Args:
        name: one of `names()`.
        dtype: dtype of samples and entropy, float32 or float64; `log_prob` follows its argument.

    Returns:
        A `distrax.Distribution` with event shape (2,) (`two_gaussians`: (1,)) and batch shape ().

    Raises:
        ValueError: if there is no density called `name`, or `dtype` is neither of the two.

    >>> get("checkerboard").log_prob(jnp.array([[1.0, 1.0], [1.0, 3.0]]))
    Array([-3.465736,      -inf], dtype=float32)
    """
    if name not in _CONSTRUCTORS:
        raise ValueError(f"`name` must be one of {list(_CONSTRUCTORS)}; got {name=}.")
    return _CONSTRUCTORS[name](dtype)
