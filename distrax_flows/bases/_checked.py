"""Base distributions: the default, the checks, and a batch of independent samples."""

import math

import distrax
import jax
import jax.numpy as jnp

from distrax_flows._core.types import Shape

__all__ = ["WithAngles", "make_base"]


def make_base(
    base: distrax.DistributionLike | None,
    event_shape: Shape,
    batch_shape: Shape,
    dtype: jnp.dtype,
) -> distrax.Distribution:
    """Make the base of a flow: standard normal if None, else `base`, checked.

    A base without batch shape is repeated over `batch_shape`, the context's. Otherwise distrax
    would share one noise sample among all rows of the context. Samples have the resolution of
    `dtype`, the flow's.
    """
    if base is None:
        # Independent normals: MultivariateNormalDiag caches derived leaves, which become stale.
        zeros = jnp.zeros(batch_shape + event_shape, dtype)
        return distrax.Independent(distrax.Normal(zeros, jnp.ones_like(zeros)), len(event_shape))
    distribution = _at_least(distrax.as_distribution(base), dtype)
    if distribution.event_shape != event_shape:
        missing = len(event_shape) - len(distribution.event_shape)
        remedy = (
            f"wrap it in `distrax.Independent(base, reinterpreted_batch_ndims={missing})`"
            if missing > 0 and distribution.batch_shape + distribution.event_shape == event_shape
            else f"give a distribution over events of shape {event_shape}"
        )
        raise ValueError(
            f"`base` must have event shape {event_shape}, the flow's; got {distribution.name} "
            f"with event_shape={distribution.event_shape} and "
            f"batch_shape={distribution.batch_shape}. Perhaps {remedy}."
        )
    if distribution.batch_shape == batch_shape:
        return distribution
    if distribution.batch_shape != ():
        raise ValueError(
            f"`base` must have batch shape () or the context's, {batch_shape}; got "
            f"batch_shape={distribution.batch_shape}."
        )
    return _Repeated(distribution, batch_shape)


def _at_least(distribution: distrax.Distribution, dtype: jnp.dtype) -> distrax.Distribution:
    """Return the distribution with parameters of at least the precision of `dtype`.

    A TFP distribution has no leaves and is returned unchanged.
    """

    def widened(leaf):
        own = jnp.result_type(leaf)
        return jnp.promote_types(own, dtype) if jnp.issubdtype(own, jnp.floating) else own

    return jax.tree.map(lambda leaf: jnp.asarray(leaf, widened(leaf)), distribution)


class _Repeated(distrax.Distribution):
    """Independent copies of a distribution without batch shape."""

    def __init__(self, distribution: distrax.Distribution, batch_shape: Shape):
        super().__init__()
        self._distribution = distribution
        self._batch_shape = batch_shape

    @property
    def event_shape(self) -> Shape:
        return self._distribution.event_shape

    @property
    def batch_shape(self) -> Shape:
        return self._batch_shape

    def log_prob(self, value: jax.Array) -> jax.Array:
        shape = jnp.broadcast_shapes(value.shape, self._batch_shape + self.event_shape)
        return jnp.asarray(self._distribution.log_prob(jnp.broadcast_to(value, shape)))

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        return self._distribution.sample(seed=key, sample_shape=(n, *self._batch_shape))

    def _sample_n_and_log_prob(self, key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
        shape = (n, *self._batch_shape)
        draws, log_prob = self._distribution.sample_and_log_prob(seed=key, sample_shape=shape)
        return draws, jnp.asarray(log_prob)


class WithAngles(distrax.Distribution):
    """Distribution of vectors, with uniform angles appended to each.

    The density of an angle is `1 / (2 pi)` for any value. Layers on circles return values in
    `[-pi, pi)` up to rounding, and a rounded sample must not lose its density.
    """

    def __init__(
        self,
        distribution: distrax.Distribution | None,
        num_angles: int,
        batch_shape: Shape,
        dtype: jnp.dtype,
    ):
        super().__init__()
        self._distribution = distribution
        self._num_angles = num_angles
        self._batch_shape = batch_shape
        self._angle_dtype = jnp.dtype(dtype)

    @property
    def event_shape(self) -> Shape:
        return (self._num_others + self._num_angles,)

    @property
    def batch_shape(self) -> Shape:
        return self._batch_shape

    @property
    def _num_others(self) -> int:
        return 0 if self._distribution is None else self._distribution.event_shape[0]

    def log_prob(self, value: jax.Array) -> jax.Array:
        shape = jnp.broadcast_shapes(value.shape[:-1], self._batch_shape)
        log_prob = jnp.full(shape, -self._num_angles * math.log(2 * math.pi), value.dtype)
        if self._distribution is None:
            return log_prob
        return log_prob + self._distribution.log_prob(value[..., : self._num_others])

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        key, angle_key = jax.random.split(key)
        shape = (n, *self._batch_shape, self._num_angles)
        angles = jax.random.uniform(angle_key, shape, self._angle_dtype, -math.pi, math.pi)
        if self._distribution is None:
            return angles
        others = self._distribution.sample(seed=key, sample_shape=n)
        return jnp.concatenate([others, angles.astype(others.dtype)], axis=-1)
