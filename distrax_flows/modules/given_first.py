"""Layers for two parts of an event, the second given the first."""

from collections.abc import Callable

import distrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.checks import check_positive_int
from distrax_flows._core.types import ArrayLike
from distrax_flows.modules.learned import Layer, Learned

__all__ = ["GivenFirst"]


class GivenFirst(distrax.Bijector):
    """Layer for the first dimensions, and a layer for the rest that depends on their result.

        y_a = f(x_a),   y_b = g(x_b; y_a),   log|det| = log|det f| + log|det g|

    Lower block-triangular Jacobian. Unlike a coupling, it gives each part its own layer, possibly
    of another kind. Both directions cost what the layers cost. Use it only inside a Haiku
    transform.

    Args:
        size: number of dimensions of the first part; may be 0.
        first: layer f of the first part.
        rest: maps `y_a`, `[..., size]`, to the layer g of the rest; called with None if `size` is
            0.
        event_ndims: number of axes of an event, as for `Learned`; the last one is split.
    """

    def __init__(
        self,
        size: int,
        first: Layer,
        rest: Callable[[jax.Array | None], Layer],
        event_ndims: int = 1,
    ):
        super().__init__(event_ndims_in=check_positive_int("event_ndims", event_ndims))
        self._size = size
        self._first = first
        self._rest = rest

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Transform the first part, then the rest."""
        self._check_forward_input_shape(x)
        if self._size == 0:
            return self._learned(self._rest(None)).forward_and_log_det(x)
        x_a, x_b = jnp.split(x, [self._size], axis=-1)
        y_a, log_det_a = self._learned(self._first).forward_and_log_det(x_a)
        y_b, log_det_b = self._learned(self._rest(y_a)).forward_and_log_det(x_b)
        return jnp.concatenate([y_a, y_b], axis=-1), log_det_a + log_det_b

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Invert both layers; the first part of `y` is known."""
        self._check_inverse_input_shape(y)
        if self._size == 0:
            return self._learned(self._rest(None)).inverse_and_log_det(y)
        y_a, y_b = jnp.split(y, [self._size], axis=-1)
        x_a, log_det_a = self._learned(self._first).inverse_and_log_det(y_a)
        x_b, log_det_b = self._learned(self._rest(y_a)).inverse_and_log_det(y_b)
        return jnp.concatenate([x_a, x_b], axis=-1), log_det_a + log_det_b

    def _learned(self, layer: Layer) -> Learned:
        return Learned(layer, self.event_ndims_in)
