"""The banana, the energies and the potentials: `Conditional` densities, each given by its means."""

import math
from collections.abc import Callable

import distrax
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array

from distrax_flows.densities._conditional import Conditional

__all__ = ["banana", "energy1", "energy2", "energy3", "energy4", "u2", "u3", "u4"]

_HALF_LOG_2PI_E = 0.5 * math.log(2 * math.pi * math.e)


def _w1(a: Array) -> Array:
    return jnp.sin(0.5 * math.pi * a)


def _w2(a: Array) -> Array:
    return 3 * jnp.exp(-0.5 * ((a - 1) / 0.6) ** 2)


def _w3(a: Array) -> Array:
    return 3 * jax.nn.sigmoid((a - 1) / 0.3)


# The means are module-level functions, not one lambda per instance: they are static parts of the
# pytree, and a new one would trigger compilation.
def _banana_means(x2: Array) -> Array:
    return (x2**2 / 3 - 2)[:, None]


def _energy1_means(x2: Array) -> Array:
    m = 2 - x2**2 / 32
    return jnp.stack((m, -m), axis=-1)


def _w1_means(x1: Array) -> Array:
    return _w1(x1)[:, None]


def _w1_minus_w2_means(x1: Array) -> Array:
    return jnp.stack((_w1(x1), _w1(x1) - _w2(x1)), axis=-1)


def _w1_plus_w3_means(x1: Array) -> Array:
    return jnp.stack((_w1(x1), _w1(x1) + _w3(x1)), axis=-1)


def _w1_minus_w3_means(x1: Array) -> Array:
    return jnp.stack((_w1(x1), _w1(x1) - _w3(x1)), axis=-1)


def banana(dtype: DTypeLike = jnp.float32) -> Conditional:
    """Return the banana: x2 ~ N(0, 3), x1 ~ N(x2^2 / 3 - 2, 3 / 4).

    H = log(3 pi e), exact.
    """
    return Conditional(
        "banana",
        given=1,
        marginal=(distrax.Normal, 0.0, math.sqrt(3)),
        means=_banana_means,
        scales=(math.sqrt(3) / 2,),
        entropy=math.log(3 * math.pi * math.e),
        dtype=dtype,
    )


def energy1(dtype: DTypeLike = jnp.float32) -> Conditional:
    """Return the density of x2 ~ N(0, 2^2) and x1 ~ half N(m, 0.3^2), half N(-m, 0.3^2).

    m = 2 - x2^2 / 32. H by quadrature.
    """
    return Conditional(
        "energy1",
        given=1,
        marginal=(distrax.Normal, 0.0, 2.0),
        means=_energy1_means,
        scales=(0.3, 0.3),
        entropy=3.01995,
        dtype=dtype,
    )


def energy2(dtype: DTypeLike = jnp.float32) -> Conditional:
    """Return the density of x1 ~ U(-3 pi / 2, 3 pi / 2), x2 ~ N(w1(x1), 0.5^2); H is exact.

    w1(a) = sin(pi a / 2).
    """
    return _wave("energy2", _w1_means, (0.5,), math.log(1.5 * math.pi) + _HALF_LOG_2PI_E, dtype)


def energy3(dtype: DTypeLike = jnp.float32) -> Conditional:
    """Return the density of x1, w1 as `energy2`, x2 ~ half N(w1, 0.5^2), half N(w1 - w2, 0.5^2).

    w2(a) = 3 exp(-((a - 1) / 0.6)^2 / 2). H by quadrature.
    """
    return _wave("energy3", _w1_minus_w2_means, (0.5, 0.5), 3.09904, dtype)


def energy4(dtype: DTypeLike = jnp.float32) -> Conditional:
    """Return the density of x1, w1 as `energy2`, x2 ~ half N(w1, 0.5^2), half N(w1 + w3, 0.5^2).

    w3(a) = 3 sigmoid((a - 1) / 0.3). H by quadrature.
    """
    return _wave("energy4", _w1_plus_w3_means, (0.5, 0.5), 3.25517, dtype)


def u2(dtype: DTypeLike = jnp.float32) -> Conditional:
    """Return the density exp(-U) / Z on |z1| <= 4, U = ((z2 - w1(z1)) / 0.4)^2 / 2.

    log Z = 2.0821, H exact.

    Reference: Rezende & Mohamed 2015, table 1. Improper without the bound on z1.
    """
    entropy = math.log(8 * 0.4) + _HALF_LOG_2PI_E
    return _wave("u2", _w1_means, (0.4,), entropy, dtype, bound=4.0)


def u3(dtype: DTypeLike = jnp.float32) -> Conditional:
    """Return the density exp(-U) / Z on |z1| <= 4; log Z = 2.6417, H by quadrature.

    U = -log(exp(-((z2 - w1) / 0.35)^2 / 2) + exp(-((z2 - w1 + w2) / 0.35)^2 / 2)), w2 as `energy3`.

    Reference: Rezende & Mohamed 2015, table 1. Improper without the bound on z1.
    """
    return _wave("u3", _w1_minus_w2_means, (0.35, 0.35), 2.62671, dtype, bound=4.0)


def u4(dtype: DTypeLike = jnp.float32) -> Conditional:
    """Return the density exp(-U) / Z on |z1| <= 4; log Z = 2.7107, H by quadrature.

    U = -log(exp(-((z2 - w1) / 0.4)^2 / 2) + exp(-((z2 - w1 + w3) / 0.35)^2 / 2)), w3 as `energy4`.

    Reference: Rezende & Mohamed 2015, table 1. Improper without the bound on z1.
    """
    return _wave("u4", _w1_minus_w3_means, (0.4, 0.35), 2.81007, dtype, bound=4.0)


def _wave(
    name: str,
    means: Callable[[Array], Array],
    scales: tuple[float, ...],
    entropy: float,
    dtype: DTypeLike,
    bound: float = 1.5 * math.pi,
) -> Conditional:
    """Return a density whose first coordinate is uniform on (-bound, bound)."""
    return Conditional(
        name,
        given=0,
        marginal=(distrax.Uniform, -bound, bound),
        means=means,
        scales=scales,
        entropy=entropy,
        dtype=dtype,
    )
