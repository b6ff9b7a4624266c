"""The bridge from Haiku layers to bijectors."""

from collections.abc import Callable

import distrax
import jax
from jaxtyping import Array, Float

__all__ = ["Layer", "Learned"]

# A learned layer: called with its input inside a Haiku transform, it returns a bijector. The input
# tells the shape, the dtype and, at initialisation, the data.
Layer = Callable[[jax.Array], distrax.Bijector]


class Learned(distrax.Bijector):
    """The bijector that a Haiku layer returns for its input, wherever a bijector is expected.

    A layer is a function, or an `hk.Module`, from an input to a bijector. `Learned` calls it with
    the input of the direction that runs and delegates; so layers compose in `distrax.Chain`,
    `distrax.Inverse` and `distrax.Transformed`, and each initialises itself on the data that
    reach it. Use it inside a Haiku transform only.

    Args:
        layer: from an input `[..., D]` to a bijector of vector events.

    Example:
        >>> import distrax, haiku as hk, jax, jax.numpy as jnp
        >>> from distrax_flows.bijectors import Shift
        >>> def layer(x):
        ...     return Shift(hk.get_parameter("shift", x.shape[-1:], init=jnp.ones))
        >>> forward = hk.transform(lambda x: Learned(layer).forward(x))
        >>> params = forward.init(jax.random.key(0), jnp.zeros(2))
        >>> print(forward.apply(params, None, jnp.zeros(2)))
        [1. 1.]
    """

    def __init__(self, layer: Layer):
        super().__init__(event_ndims_in=1)
        self._layer = layer

    def forward_and_log_det(
        self, x: Float[Array, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """The layer's `forward_and_log_det`."""
        self._check_forward_input_shape(x)
        return self._layer(x).forward_and_log_det(x)  # pyright: ignore[reportReturnType]

    def inverse_and_log_det(
        self, y: Float[Array, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """The layer's `inverse_and_log_det`."""
        self._check_inverse_input_shape(y)
        return self._layer(y).inverse_and_log_det(y)  # pyright: ignore[reportReturnType]
