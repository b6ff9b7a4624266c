"""Densities with one sampled coordinate, and normals for the other whose means depend on it."""

import math
from collections.abc import Callable

import distrax
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from distrax_flows.densities._base import ToyDensity

__all__ = ["Conditional"]


class Conditional(ToyDensity):
    """One coordinate g from a marginal, the other, y, from a mixture of K normals given g.

    p(g, y) = p(g) sum_k exp(-((y - m_k(g)) / s_k)^2 / 2) / (sqrt(2 pi) sum_k s_k).

    So the k-th normal, N(m_k(g), s_k^2), has the weight s_k / sum_j s_j. For equal s_k the weights
    are equal; in general, p(y | g) is exp(-U), normalised, with
    U = -log sum_k exp(-((y - m_k) / s_k)^2 / 2).

    Args:
        name: see `ToyDensity`.
        given: 0 or 1, the coordinate of the event that is g.
        marginal: the class and arguments of a scalar distrax distribution, such as
            `(distrax.Normal, 0.0, 1.0)`; the distribution is built in the required dtype.
        means: a module-level function from [N] values of g to [N, K] means.
        scales: the K standard deviations.
        entropy: see `ToyDensity`.
        dtype: see `ToyDensity`.
    """

    def __init__(
        self,
        name: str,
        *,
        given: int,
        marginal: tuple[type[distrax.Distribution], float, float],
        means: Callable[[Float[Array, " N"]], Float[Array, "N K"]],
        scales: tuple[float, ...],
        entropy: float,
        dtype: DTypeLike = jnp.float32,
    ):
        super().__init__(name, entropy=entropy, dtype=dtype)
        self._given = given
        self._marginal = marginal
        self._means = means
        self._scales = scales

    def _marginal_in(self, dtype: DTypeLike) -> distrax.Distribution:
        kind, *arguments = self._marginal
        return kind(*(jnp.asarray(argument, dtype) for argument in arguments))

    def _sample_n(self, key: Array, n: int) -> Float[Array, "n 2"]:
        key_given, key_component, key_noise = jax.random.split(key, 3)
        given = self._marginal_in(self._dtype).sample(seed=key_given, sample_shape=(n,))
        scales = jnp.asarray(self._scales, self._dtype)
        component = jax.random.categorical(key_component, jnp.log(scales), shape=(n,))
        mean = jnp.take_along_axis(self._means(given), component[:, None], axis=-1)[:, 0]
        other = mean + scales[component] * jax.random.normal(key_noise, (n,), self._dtype)
        return jnp.stack((given, other) if self._given == 0 else (other, given), axis=-1)

    def _log_prob_n(self, x: Float[Array, "N 2"]) -> Float[Array, " N"]:
        given, other = x[:, self._given], x[:, 1 - self._given]
        scales = jnp.asarray(self._scales, x.dtype)
        z = (other[:, None] - self._means(given)) / scales[None, :]
        log_mixture = jax.nn.logsumexp(-0.5 * z**2, axis=-1)
        normalizer = math.log(math.sqrt(2 * math.pi) * sum(self._scales))
        log_marginal = jnp.asarray(self._marginal_in(x.dtype).log_prob(given))
        return log_marginal + log_mixture - normalizer
