"""Integer dimensions of flows."""

from collections.abc import Sequence

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.types import ArrayLike
from distrax_flows.supports import Support

__all__ = ["Rounding"]


class Rounding(distrax.Bijector):
    """Rounding of integer dimensions, inverted by adding uniform noise.

        forward:  k = floor(x),    inverse:  x = k + u,  u ~ U(0, 1)

    Its log-det is zero, except that the inverse gives -inf for values that are not integers, out of
    range, or so large that 2 eps |k| >= 1/2, where the dtype has too few numbers between integers
    for noise: |k| > 2e6 in float32. `log_prob` is a sample of a lower bound, as with
    `modules.Dequantize`.

    Args:
        supports: one support per dimension of a vector, or one for all entries of an event.
        event_ndims: number of axes of an event.
    """

    def __init__(self, supports: Sequence[Support], event_ndims: int):
        super().__init__(event_ndims_in=event_ndims)

        def row(values):
            return np.array(values if event_ndims == 1 else values[0])

        self._rounds = row([support.is_integer for support in supports])
        self._low = row([support.low for support in supports])
        self._high = row([support.high for support in supports])

    def forward_and_log_det(
        self, x: Float[Array, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Round down."""
        k = self._clip(jnp.floor(x))
        return jnp.where(self._rounds, k, x), jnp.zeros(self._batch_shape(x), x.dtype)

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Add noise to integers."""
        y = jnp.asarray(y)
        y = y.astype(jnp.result_type(y, jnp.float32) if y.dtype.kind in "iub" else y.dtype)
        k = self._clip(jnp.floor(y))
        # Far enough from 0 and 1 that rounding `k + u` never reaches another integer.
        margin = 2 * jnp.finfo(y.dtype).eps * jnp.maximum(jnp.abs(k), 1)
        is_coarse = margin >= 0.5  # too few numbers between integers
        u = jax.random.uniform(hk.next_rng_key(), y.shape, y.dtype)
        x = jnp.where(self._rounds, k + jnp.clip(u, margin, 1 - margin), y)
        axes = tuple(range(y.ndim - self.event_ndims_in, y.ndim))
        is_inside = jnp.all(((k == y) & ~is_coarse) | ~self._rounds, axis=axes)
        return x, jnp.where(is_inside, 0.0, -jnp.inf).astype(y.dtype)

    def _clip(self, k: jax.Array) -> jax.Array:
        return jnp.clip(k, jnp.asarray(self._low, k.dtype), jnp.asarray(self._high, k.dtype))

    def _batch_shape(self, x: jax.Array) -> tuple[int, ...]:
        return x.shape[: x.ndim - self.event_ndims_in]
