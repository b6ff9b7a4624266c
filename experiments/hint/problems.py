"""Inverse problems with mixtures of Gaussians as priors, and their exact posteriors."""

import dataclasses
import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Posterior(NamedTuple):
    """A mixture of Gaussians with a common covariance, for each observation of a batch.

    Component m has the mean `shift + offsets[m]`.
    """

    log_weights: jax.Array  # `[..., M]`, normalised
    shift: jax.Array  # `[..., D]`
    offsets: jax.Array  # `[M, D]`
    factor: jax.Array  # `[D, D]`, the covariance's lower Cholesky factor

    def log_prob(self, x: Float[Array, "... D"]) -> Float[Array, "..."]:
        """The log-density; batch axes of `x` and of the observations broadcast."""
        whiten = jnp.linalg.inv(self.factor)
        z = ((x - self.shift) @ whiten.T)[..., None, :] - self.offsets @ whiten.T
        exponent = self.log_weights - 0.5 * jnp.square(z).sum(axis=-1)
        log_scale = jnp.log(jnp.diagonal(self.factor)).sum()
        normalizer = log_scale + 0.5 * x.shape[-1] * math.log(2 * math.pi)
        return jax.nn.logsumexp(exponent, axis=-1) - normalizer

    def sample(self, key: jax.Array, num: int) -> Float[Array, "num ... D"]:
        """`num` samples of the posterior of each observation."""
        key_component, key_noise = jax.random.split(key)
        shape = (num, *self.log_weights.shape[:-1])
        # Components by inverting their CDF: one Gumbel for each would take far longer.
        cumulative = jnp.cumsum(jnp.exp(self.log_weights), axis=-1)
        uniform = jax.random.uniform(key_component, shape) * cumulative[..., -1]
        component = _searchsorted(cumulative, jnp.moveaxis(uniform, 0, -1))
        component = jnp.moveaxis(component, -1, 0)
        noise = jax.random.normal(key_noise, (*shape, len(self.factor)))
        return self.shift + self.offsets[component] + noise @ self.factor.T

    def moments(self) -> tuple[Float[Array, "... D"], Float[Array, "... D D"]]:
        """Mean and covariance."""
        weights = jnp.exp(self.log_weights)
        offset = weights @ self.offsets
        square = jnp.einsum("...m,md,me->...de", weights, self.offsets, self.offsets)
        between = square - offset[..., :, None] * offset[..., None, :]
        return self.shift + offset, self.factor @ self.factor.T + between

    def first(self, num: int) -> "Posterior":
        """The marginal of the first `num` dimensions."""
        # A leading block of a Cholesky factor is the factor of the leading block.
        return Posterior(
            self.log_weights, self.shift[..., :num], self.offsets[:, :num], self.factor[:num, :num]
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """Unknowns x from a mixture of Gaussians, observed as y.

    x ~ mean over m of N(c_m, scale^2 I),   y = A x + N(0, noise^2 I)
    """

    name: str  # in tables and file names
    centers: Float[np.ndarray, "M D"]  # `[M, D]`, the c_m
    scale: float  # standard deviation of each Gaussian in each dimension
    matrix: Float[np.ndarray, "C D"]  # `[C, D]`, A
    noise: float  # standard deviation of the noise of each observed number

    @property
    def event_size(self) -> int:
        """Number of unknowns, D."""
        return self.matrix.shape[1]

    @property
    def context_size(self) -> int:
        """Number of observed numbers, C."""
        return self.matrix.shape[0]

    def draw(self, key: jax.Array, num: int) -> tuple[Float[Array, "num D"], Float[Array, "num C"]]:
        """Pairs of unknowns and observations."""
        key_center, key_x, key_y = jax.random.split(key, 3)
        center = jax.random.randint(key_center, (num,), 0, len(self.centers))
        x = jnp.asarray(self.centers, jnp.float32)[center]
        x += self.scale * jax.random.normal(key_x, x.shape)
        y = x @ jnp.asarray(self.matrix, jnp.float32).T
        return x, y + self.noise * jax.random.normal(key_y, y.shape)

    def posterior(self, y: Float[Array, "... C"]) -> Posterior:
        """The exact posterior of each observation.

        With S = (I / scale^2 + A^T A / noise^2)^-1 and G = S A^T / noise^2, component m has the
        mean c_m + G (y - A c_m), the covariance S, and a weight proportional to
        N(y; A c_m, scale^2 A A^T + noise^2 I).
        """
        seen = self.centers @ self.matrix.T
        spread = self.scale**2 * self.matrix @ self.matrix.T
        whiten = np.linalg.inv(
            np.linalg.cholesky(spread + self.noise**2 * np.eye(self.context_size))
        )
        away = (y @ _float(whiten.T))[..., None, :] - _float(seen @ whiten.T)
        precision = np.eye(self.event_size) / self.scale**2
        covariance = np.linalg.inv(precision + self.matrix.T @ self.matrix / self.noise**2)
        gain = covariance @ self.matrix.T / self.noise**2
        return Posterior(
            log_weights=jax.nn.log_softmax(-0.5 * jnp.square(away).sum(axis=-1), axis=-1),
            shift=y @ _float(gain.T),
            offsets=_float(self.centers - seen @ gain.T),
            factor=_float(np.linalg.cholesky(covariance)),
        )


@functools.cache
def gaussian() -> Problem:
    """Eight normal unknowns seen through four random combinations of them, noise 0.2."""
    matrix = np.random.default_rng(0).normal(size=(4, 8)) / math.sqrt(8)
    return Problem("gaussian", np.zeros((1, 8)), 1.0, matrix, 0.2)


@functools.cache
def chord() -> Problem:
    """Two points of the moons, x = (a, b), of which the midpoint is seen, noise 0.2.

    Each moon is a chain of 16 Gaussians so close that they merge.
    """
    points = moons(16)
    first, second = np.indices((len(points), len(points))).reshape(2, -1)
    ends = np.concatenate([points[first], points[second]], axis=-1)
    return Problem("chord", ends, 0.25, np.concatenate([np.eye(2), np.eye(2)], axis=-1) / 2, 0.2)


def moons(num: int) -> Float[np.ndarray, "M 2"]:
    """Points along two interleaved half circles, `num` on each."""
    angle = np.pi * (np.arange(num) + 0.5) / num
    circle = 2 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return np.concatenate([circle - [1.0, 0.5], [1.0, 0.5] - circle])


PROBLEMS = {"gaussian": gaussian, "chord": chord}

_searchsorted = jnp.vectorize(jnp.searchsorted, signature="(m),(n)->(n)")


def _float(array: np.ndarray) -> jax.Array:
    return jnp.asarray(array, jnp.float32)
