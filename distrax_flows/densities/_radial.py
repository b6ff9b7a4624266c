"""Densities in polar coordinates: a Gaussian ridge around a circle, sampled by rejection."""

import abc
import math

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from distrax_flows._core.numerics import vary_like
from distrax_flows.densities._base import ToyDensity, polar

__all__ = ["U1", "HalfCircle", "Ridge", "half_circle", "u1"]


class Ridge(ToyDensity):
    """Ridge around a circle, p(x) = exp(-((r - R) / s)^2 / 2) w(x) / Z, r = |x|. Abstract.

    A subclass adds w. Samples are exact. The radius must have the density
    r exp(-((r - R) / s)^2 / 2), r > 0. It is proposed from (R + |r - R|) exp(-((r - R) / s)^2 / 2),
    a mixture of a normal of mass sqrt(2 pi) R s and a two-sided Rayleigh of mass 2 s^2, and
    accepted with probability max(r, 0) / (R + |r - R|). Rejected samples are proposed again until
    all are accepted, in a `while_loop` over the whole batch. So samples have no reverse-mode
    gradient.

    Args:
        name: see `ToyDensity`.
        radius: R.
        scale: s.
        log_normalizer: log Z.
        entropy: see `ToyDensity`.
        dtype: see `ToyDensity`.
    """

    def __init__(
        self,
        name: str,
        *,
        radius: float,
        scale: float,
        log_normalizer: float,
        entropy: float,
        dtype: DTypeLike = jnp.float32,
    ):
        super().__init__(name, entropy=entropy, dtype=dtype)
        self._radius = radius
        self._scale = scale
        self._log_normalizer = log_normalizer

    @abc.abstractmethod
    def _propose_direction(
        self, key: Array, radius: Float[Array, " n"]
    ) -> tuple[Float[Array, "n 2"], Bool[Array, " n"]]:
        """Return points at the given radii and whether w(x) accepts them."""

    def _propose(self, key: Array, n: int) -> tuple[Float[Array, "n 2"], Bool[Array, " n"]]:
        key_kind, key_sign, key_size, key_accept, key_direction = jax.random.split(key, 5)
        normal_odds = math.sqrt(2 * math.pi) * self._radius / (2 * self._scale)
        is_normal = jax.random.bernoulli(key_kind, normal_odds / (1 + normal_odds), (n,))
        key_normal, key_rayleigh = jax.random.split(key_size)
        # Both kinds are symmetric about R, hence one sign. sqrt(2 E), E exponential, is Rayleigh.
        size = jnp.where(
            is_normal,
            jnp.abs(jax.random.normal(key_normal, (n,), self._dtype)),
            jnp.sqrt(2 * jax.random.exponential(key_rayleigh, (n,), self._dtype)),
        )
        offset = self._scale * size * jax.random.rademacher(key_sign, (n,), self._dtype)
        radius = self._radius + offset
        uniform = jax.random.uniform(key_accept, (n,), self._dtype)
        accepted = uniform * (self._radius + jnp.abs(offset)) < radius
        x, direction_accepted = self._propose_direction(key_direction, radius)
        return x, accepted & direction_accepted

    def _sample_n(self, key: Array, n: int) -> Float[Array, "n 2"]:
        def missing(state):
            return ~jnp.all(state[2])

        def again(state):
            key, x, done = state
            key, key_proposal = jax.random.split(key)
            proposal, accepted = self._propose(key_proposal, n)
            x = jnp.where((accepted & ~done)[:, None], proposal, x)
            return key, x, done | accepted

        nothing = vary_like((jnp.zeros((n, 2), self._dtype), jnp.zeros((n,), bool)), key)
        return jax.lax.while_loop(missing, again, (key, *nothing))[1]

    def _log_ridge(self, radius: Float[Array, " N"]) -> Float[Array, " N"]:
        return -0.5 * ((radius - self._radius) / self._scale) ** 2 - self._log_normalizer


class HalfCircle(Ridge):
    """A ring that fades to one side, in polar coordinates (r, t), |t| <= pi.

    p(x) = exp(-t^2 / 2) exp(-((r - 1) / 0.2)^2 / 2) / Z.

    Z = sqrt(2 pi) erf(pi / sqrt 2) (s^2 e^{-a^2 / 2} + R s sqrt(2 pi) Phi(a)), R = 1, s = 0.2,
    a = R / s; H = log Z + E[t^2] / 2 + E[((r - 1) / s)^2] / 2, both expectations in closed form.
    The density is continuous across the negative first axis; its gradient is not.
    """

    def __init__(self, dtype: DTypeLike = jnp.float32):
        radius, scale = 1.0, 0.2
        root_2pi = math.sqrt(2 * math.pi)
        a = radius / scale
        tail = math.exp(-(a**2) / 2)
        mass = root_2pi * 0.5 * (1 + math.erf(a / math.sqrt(2)))
        radial = scale * (radius * mass + scale * tail)
        # With v = (r - R) / s > -a: int v^2 e^{-v^2/2} = mass - a tail, int v^3 = (a^2 + 2) tail.
        square = scale * (radius * (mass - a * tail) + scale * (a**2 + 2) * tail) / radial
        angular = root_2pi * math.erf(math.pi / math.sqrt(2))
        angle_square = 1 - 2 * math.pi * math.exp(-(math.pi**2) / 2) / angular
        log_normalizer = math.log(radial * angular)
        super().__init__(
            "half_circle",
            radius=radius,
            scale=scale,
            log_normalizer=log_normalizer,
            entropy=log_normalizer + (angle_square + square) / 2,
            dtype=dtype,
        )

    def _propose_direction(self, key, radius):
        angle = jax.random.truncated_normal(key, -math.pi, math.pi, radius.shape, radius.dtype)
        x = jnp.stack((radius * jnp.cos(angle), radius * jnp.sin(angle)), axis=-1)
        return x, jnp.ones(radius.shape, bool)

    def _log_prob_n(self, x: Float[Array, "N 2"]) -> Float[Array, " N"]:
        radius, angle = polar(x)
        return self._log_ridge(radius) - 0.5 * angle**2


class U1(Ridge):
    """Two lobes on a ring, p(z) = exp(-U) / Z, log Z = 1.8775 and H by quadrature.

    U = ((|z| - 2) / 0.4)^2 / 2
        - log(exp(-((z1 - 2) / 0.6)^2 / 2) + exp(-((z1 + 2) / 0.6)^2 / 2)).

    Reference: Rezende & Mohamed 2015, table 1.
    """

    def __init__(self, dtype: DTypeLike = jnp.float32):
        super().__init__(
            "u1",
            radius=2.0,
            scale=0.4,
            log_normalizer=1.8775016261,
            entropy=2.66001,
            dtype=dtype,
        )

    def _log_lobes(self, z1: Float[Array, " N"]) -> Float[Array, " N"]:
        return jnp.logaddexp(-0.5 * ((z1 - 2) / 0.6) ** 2, -0.5 * ((z1 + 2) / 0.6) ** 2)

    def _propose_direction(self, key, radius):
        key_angle, key_accept = jax.random.split(key)
        angle = jax.random.uniform(key_angle, radius.shape, radius.dtype, 0, 2 * math.pi)
        x = jnp.stack((radius * jnp.cos(angle), radius * jnp.sin(angle)), axis=-1)
        # The sum of the lobes is at most 1 + e^{-(4 / 0.6)^2 / 2}, the bound for rejection.
        log_bound = math.log1p(math.exp(-0.5 * (4 / 0.6) ** 2))
        exponential = jax.random.exponential(key_accept, radius.shape, radius.dtype)
        return x, -exponential < self._log_lobes(x[:, 0]) - log_bound

    def _log_prob_n(self, x: Float[Array, "N 2"]) -> Float[Array, " N"]:
        return self._log_ridge(polar(x)[0]) + self._log_lobes(x[:, 0])


def half_circle(dtype: DTypeLike = jnp.float32) -> HalfCircle:
    """Return a `HalfCircle`."""
    return HalfCircle(dtype)


def u1(dtype: DTypeLike = jnp.float32) -> U1:
    """Return a `U1`."""
    return U1(dtype)
