"""Densities known up to their normaliser, whose logarithm is known here."""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_normal = jax.scipy.stats.norm.logpdf

NUM_GAUSSIANS = 40
_SCALE = math.log1p(math.e)  # of each Gaussian: softplus(1)

# Eight schools, Rubin 1981: effects of coaching, and their standard errors.
_EFFECTS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0], np.float32)
_STDERRS = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0], np.float32)


class Target(NamedTuple):
    """A density, its normaliser and its modes."""

    log_density: Callable[[jax.Array], jax.Array]  # from `[..., D]` to `[...]`
    size: int  # D
    log_z: float
    published_error: float | None  # of FAB with a replay buffer, for log Z of 2,000 samples
    shown: tuple[int, int]  # dimensions of the picture
    modes: np.ndarray | None = None  # `[M, d]`, centres in the first d of the dimensions `steps`
    radius: float = math.inf  # a sample this close to a centre has reached the mode
    every: int = 1  # centres are given in every so many dimensions

    def count_modes(self, x: np.ndarray) -> int | None:
        """The number of modes that samples `[S, D]` reach."""
        if self.modes is None:
            return None
        points = x[:, :: self.every][:, : self.modes.shape[1]]
        distances = np.linalg.norm(points[:, None] - self.modes, axis=-1)
        reached = distances.min(axis=1) < self.radius
        return len(np.unique(distances.argmin(axis=1)[reached]))


def funnel() -> Target:
    """Neal's funnel: v ~ N(0, 3^2), and nine x ~ N(0, e^v)."""

    def log_density(x: jax.Array) -> jax.Array:
        v, rest = x[..., 0], x[..., 1:]
        scale = jnp.exp(0.5 * v)[..., None]
        return _normal(v, 0.0, 3.0) + jnp.sum(_normal(rest, 0.0, scale), axis=-1)

    return Target(log_density, 10, 0.0, 0.0022, (1, 0))


def many_well() -> Target:
    """Sixteen double wells, exp(-a^4 + 6 a^2 + a / 2 - b^2 / 2): 2^16 modes."""

    def log_density(x: jax.Array) -> jax.Array:
        a, b = x[..., ::2], x[..., 1::2]
        return jnp.sum(-(a**4) + 6 * a**2 + 0.5 * a - 0.5 * b**2, axis=-1)

    wells = np.array(list(itertools.product([-1.7, 1.7], repeat=4)))
    return Target(log_density, 32, 164.6957, 0.0316, (0, 2), wells, radius=1.7, every=2)


def gaussians() -> Target:
    """Forty Gaussians in the plane, of scale softplus(1), with means uniform on [-40, 40]^2."""
    means = np.random.default_rng(0).uniform(-40, 40, (NUM_GAUSSIANS, 2)).astype(np.float32)
    constant = math.log(NUM_GAUSSIANS) + math.log(2 * math.pi * _SCALE**2)

    def log_density(x: jax.Array) -> jax.Array:
        distances = jnp.sum(((x[..., None, :] - means) / _SCALE) ** 2, axis=-1)
        return jax.nn.logsumexp(-0.5 * distances, axis=-1) - constant

    return Target(log_density, 2, 0.0, 0.0027, (0, 1), means, radius=3 * _SCALE)


def eight_schools() -> Target:
    """Eight schools, not centred: over mu, log tau and eight standardised effects.

    mu ~ N(0, 5^2), tau ~ half-Cauchy(5), eta ~ N(0, 1), y ~ N(mu + tau eta, stderr^2); log Z by
    quadrature.
    """

    def log_density(x: jax.Array) -> jax.Array:
        mu, log_tau, eta = x[..., 0], x[..., 1], x[..., 2:]
        tau = jnp.exp(log_tau)
        log_prior = _normal(mu, 0.0, 5.0) + jnp.sum(_normal(eta), axis=-1)
        log_prior += math.log(2 / (math.pi * 5)) - jnp.log1p((tau / 5) ** 2) + log_tau
        effects = mu[..., None] + tau[..., None] * eta
        return log_prior + jnp.sum(_normal(_EFFECTS, effects, _STDERRS), axis=-1)

    return Target(log_density, 10, -31.311, None, (0, 1))


TARGETS: dict[str, Callable[[], Target]] = {
    function.__name__: function for function in (funnel, many_well, gaussians, eight_schools)
}
