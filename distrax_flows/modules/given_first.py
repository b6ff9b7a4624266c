"""Two parts of an event, the second given the first."""

from collections.abc import Callable

import distrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows.modules.learned import Layer, Learned

__all__ = ["GivenFirst"]


class GivenFirst(distrax.Bijector):
    """Transforms the first dimensions by themselves, and the rest given the result.

        y_a = f(x_a),   y_b = g(x_b; y_a),   log|det| = log|det f| + log|det g|

    Lower block-triangular Jacobian. Unlike a coupling it gives each part whole layers, whose kinds
    may differ; both directions cost what the layers cost. Use it inside a Haiku transform only.

    Args:
        size: number of dimensions of the first part; may be 0.
        first: layer f of the first part.
        rest: from `y_a`, `[..., size]`, to the layer g of the rest; from None where `size` is 0.
    """

    def __init__(self, size: int, first: Layer, rest: Callable[[jax.Array | None], Layer]):
        super().__init__(event_ndims_in=1)
        self._size = size
        self._first = first
        self._rest = rest

    def forward_and_log_det(
        self, x: Float[Array, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Transforms the first part, then the rest."""
        self._check_forward_input_shape(x)
        if self._size == 0:
            return Learned(self._rest(None)).forward_and_log_det(x)
        x_a, x_b = jnp.split(x, [self._size], axis=-1)
        y_a, log_det_a = Learned(self._first).forward_and_log_det(x_a)
        y_b, log_det_b = Learned(self._rest(y_a)).forward_and_log_det(x_b)
        return jnp.concatenate([y_a, y_b], axis=-1), log_det_a + log_det_b

    def inverse_and_log_det(
        self, y: Float[Array, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Undoes both; the first part of `y` is known."""
        self._check_inverse_input_shape(y)
        if self._size == 0:
            return Learned(self._rest(None)).inverse_and_log_det(y)
        y_a, y_b = jnp.split(y, [self._size], axis=-1)
        x_a, log_det_a = Learned(self._first).inverse_and_log_det(y_a)
        x_b, log_det_b = Learned(self._rest(y_a)).inverse_and_log_det(y_b)
        return jnp.concatenate([x_a, x_b], axis=-1), log_det_a + log_det_b
