"""Spirals blurred by noise other than an isotropic Gaussian."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from distrax_flows.densities._base import ToyDensity, gauss_legendre, polar

__all__ = ["SpiralGalaxy", "TwoSpirals", "spiral_galaxy", "two_spirals"]


class TwoSpirals(ToyDensity):
    """Two spirals, x = +-(-n cos n + U1 / 2, n sin n + U2 / 2) / 3 + 0.1 Z, n = 3 pi sqrt(U3).

    Both signs are equally likely, U1, U2, U3 ~ U(0, 1), and Z ~ N(0, I). Given n and the sign, the
    coordinates are independent. Each is a uniform of width w = 1/6 plus a normal of variance s^2,
    s = 0.1; its density at distance d from the middle of the uniform is
    [Phi((d + w/2) / s) - Phi((d - w/2) / s)] / w. The remaining integral over n is a composite
    Gauss-Legendre sum. Its nodes are computed once, in float64, and summed in log space; the
    relative error is below 1e-8 wherever the density exceeds e^-40. Time grows with N times the
    number of nodes. So does memory, unless `log_prob` is compiled. H by quadrature.

    Reference: FFJORD's code, toy data (`2spirals`).
    """

    def __init__(self, dtype: DTypeLike = jnp.float32):
        super().__init__("2spirals", entropy=2.64545, dtype=dtype)
        # Even in (1 + n)^2 makes the panels about even in arc length.
        n, weights = gauss_legendre(np.sqrt(np.linspace(1, (1 + 3 * math.pi) ** 2, 29)) - 1)
        # The middle of the square covered by the two uniforms.
        self._nodes = np.stack((-n * np.cos(n), n * np.sin(n)), axis=-1) / 3 + 1 / 12
        density_of_n = 2 * n / (3 * math.pi) ** 2
        self._log_weights = np.log(weights * density_of_n / 2)

    def _sample_n(self, key: Array, n: int) -> Float[Array, "n 2"]:
        key_angle, key_offset, key_sign, key_noise = jax.random.split(key, 4)
        angle = 3 * math.pi * jnp.sqrt(jax.random.uniform(key_angle, (n,), self._dtype))
        spiral = jnp.stack((-angle * jnp.cos(angle), angle * jnp.sin(angle)), axis=-1)
        offset = jax.random.uniform(key_offset, (n, 2), self._dtype, 0, 0.5)
        sign = jax.random.rademacher(key_sign, (n, 1), self._dtype)
        noise = jax.random.normal(key_noise, (n, 2), self._dtype)
        return sign * (spiral + offset) / 3 + 0.1 * noise

    def _log_prob_n(self, x: Float[Array, "N 2"]) -> Float[Array, " N"]:
        nodes = jnp.asarray(self._nodes, x.dtype)
        exponent = jnp.asarray(self._log_weights, x.dtype)[None, :]
        # These are the nodes of one spiral; those of the other are their negatives.
        both = jnp.concatenate((x, -x))
        for d in range(2):
            exponent = exponent + _log_blurred_uniform(both[:, d, None] - nodes[None, :, d])
        return jnp.logaddexp(*jnp.split(jax.nn.logsumexp(exponent, axis=-1), 2))


def _log_blurred_uniform(
    distance: Float[Array, "..."], width: float = 1 / 6, scale: float = 0.1
) -> Float[Array, "..."]:
    """Return log([Phi((d + w/2) / s) - Phi((d - w/2) / s)] / w), accurate far out in the tail."""
    far = 12.0
    edge = width / 2 / scale
    z = jnp.abs(distance) / scale - edge  # from the nearer edge of the uniform
    # Up to `far` neither erfc underflows in float32. The upper tails differ by a factor, so their
    # difference loses no digits.
    near_z = jnp.minimum(z, far)
    nearer, further = (jax.lax.erfc((near_z + by) / math.sqrt(2)) for by in (0.0, 2 * edge))
    near = jnp.log(0.5 * (nearer - further))
    # Beyond it, the tail of the further edge is e^-20 of the nearer one's, and three terms of the
    # nearer tail's asymptotic series leave an error of 2e-7.
    far_z = jnp.maximum(z, far)
    series = jnp.log1p((-1 + (3 - 15 / far_z**2) / far_z**2) / far_z**2)
    tail = -0.5 * far_z**2 - jnp.log(far_z) - 0.5 * math.log(2 * math.pi) + series
    return jnp.where(z < far, near, tail) - math.log(width)


class SpiralGalaxy(ToyDensity):
    """Five arms: r ~ U(0.1, 1.1), angle ~ N(2 pi k / 5 + pi (r - 0.1) / 2, s(r)^2), k uniform.

    s(r) = 0.1 (1.5 - 1.4 (r - 0.1)) rad: the arms sharpen outwards, from 0.15 to 0.01. With the
    angular distance from the middle of each arm wrapped to [-pi, pi],

    p(x) = (1/5) sum_k N(wrapped distance; 0, s(r)^2) / r on 0.1 <= r <= 1.1, 0 elsewhere.

    The other windings of a wrapped normal weigh less than e^-200 and are left out. H by quadrature.

    Reference: claCase's `make_spiral_galaxy(n_spirals=5, length=1, angle=pi / 2, noise=0.1)`,
    reading its even grid of radii as a uniform distribution.
    """

    def __init__(self, dtype: DTypeLike = jnp.float32):
        super().__init__("spiral_galaxy", entropy=-0.34021, dtype=dtype)

    def _sample_n(self, key: Array, n: int) -> Float[Array, "n 2"]:
        key_radius, key_arm, key_noise = jax.random.split(key, 3)
        # Just inside the annulus: rounding of (x1, x2) must not take a sample out of it.
        margin = 4 * float(jnp.finfo(self._dtype).eps)
        t = jax.random.uniform(key_radius, (n,), self._dtype, margin, 1 - margin)
        radius = 0.1 + t
        arm = jax.random.randint(key_arm, (n,), 0, 5).astype(self._dtype)
        noise = _galaxy_scale(t) * jax.random.normal(key_noise, (n,), self._dtype)
        angle = 2 * math.pi / 5 * arm + 0.5 * math.pi * t + noise
        return jnp.stack((radius * jnp.cos(angle), radius * jnp.sin(angle)), axis=-1)

    def _log_prob_n(self, x: Float[Array, "N 2"]) -> Float[Array, " N"]:
        radius, angle = polar(x)
        inside = (radius >= 0.1) & (radius <= 1.1)
        radius = jnp.clip(radius, 0.1, 1.1)
        t = radius - 0.1
        arms = 2 * math.pi / 5 * jnp.arange(5, dtype=x.dtype)
        distance = (angle - 0.5 * math.pi * t)[:, None] - arms[None, :]
        distance = jnp.mod(distance + math.pi, 2 * math.pi) - math.pi
        scale = _galaxy_scale(t)
        exponent = jax.nn.logsumexp(-0.5 * (distance / scale[:, None]) ** 2, axis=-1)
        log_density = exponent - jnp.log(5 * math.sqrt(2 * math.pi) * scale * radius)
        return jnp.where(inside, log_density, -jnp.inf)


def _galaxy_scale(t: Float[Array, " N"]) -> Float[Array, " N"]:
    """Return the standard deviation of the angle at radius 0.1 + t."""
    return 0.1 * (1.5 - 1.4 * t)


def two_spirals(dtype: DTypeLike = jnp.float32) -> TwoSpirals:
    """Return a `TwoSpirals`."""
    return TwoSpirals(dtype)


def spiral_galaxy(dtype: DTypeLike = jnp.float32) -> SpiralGalaxy:
    """Return a `SpiralGalaxy`."""
    return SpiralGalaxy(dtype)
