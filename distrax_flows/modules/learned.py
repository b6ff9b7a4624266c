"""Bridge from Haiku layers to bijectors."""

from collections.abc import Callable

import distrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.checks import check_non_negative_int
from distrax_flows._core.types import ArrayLike

__all__ = ["Layer", "Learned", "compose"]

# A learned layer: called with its input inside a Haiku transform, it returns a bijector. The input
# supplies the shape, the dtype and, at initialisation, the data.
Layer = Callable[[jax.Array], distrax.Bijector]


class Learned(distrax.Bijector):
    """The bijector that a Haiku layer returns for its input, usable like any bijector.

    A layer is a function, or an `hk.Module`, from an input to a bijector. `Learned` calls it with
    the input of the current direction and delegates to its bijector. So layers compose in
    `distrax.Chain`, `distrax.Inverse` and `distrax.Transformed`, and each initialises itself on the
    data that reach it. Use it only inside a Haiku transform.

    Args:
        layer: maps an input to a bijector.
        event_ndims: number of axes of an event: 0 for scalars, 1 for vectors, 3 for images. If the
            layer's bijector has events of fewer axes, it acts on all of them in an event and their
            log-dets are summed: an `LULinearLayer` on images `[H, W, C]` is a 1x1 convolution.

    Raises:
        ValueError: `event_ndims` is not a non-negative integer; or, when called, the layer's
            bijector has events of more axes.

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

    def __init__(self, layer: Layer, event_ndims: int = 1):
        super().__init__(event_ndims_in=check_non_negative_int("event_ndims", event_ndims))
        self._layer = layer

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Apply the layer's `forward_and_log_det`."""
        self._check_forward_input_shape(x)
        return self.layer_at(x).forward_and_log_det(x)  # pyright: ignore[reportReturnType]

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Apply the layer's `inverse_and_log_det`."""
        self._check_inverse_input_shape(y)
        return self.layer_at(y).inverse_and_log_det(y)  # pyright: ignore[reportReturnType]

    def layer_at(self, x: Shaped[ArrayLike, "..."]) -> distrax.Bijector:
        """Return the layer's bijector for an input of either direction.

        Args:
            x: an input of either direction.
        """
        bijector = self._layer(jnp.asarray(x))
        surplus = self.event_ndims_in - bijector.event_ndims_in
        if surplus < 0:
            raise ValueError(
                "`event_ndims` must be at least that of the layer's bijector, "
                f"{bijector.event_ndims_in} for {bijector.name}; got "
                f"event_ndims={self.event_ndims_in}."
            )
        return distrax.Block(bijector, surplus) if surplus else bijector


def compose(*layers: Layer, event_ndims: int = 1) -> Layer:
    """Compose layers into one layer; the last one listed acts first on base samples.

    The order is that of `distrax.Chain`: `compose(ActNormLayer(), LULinearLayer())` multiplies by
    the matrix, then scales and shifts. Seen from the data, normalisation comes first.

    Args:
        *layers: the layers.
        event_ndims: number of axes of an event, as for `Learned`.

    Raises:
        ValueError: no layer is given.

    Example:
        >>> import haiku as hk, jax, jax.numpy as jnp
        >>> from distrax_flows.bijectors import Reverse, Shift
        >>> layer = compose(lambda x: Shift(jnp.arange(2.0)), lambda x: Reverse())
        >>> forward = hk.transform(lambda x: Learned(layer).forward(x))
        >>> params = forward.init(jax.random.key(0), jnp.zeros(2))
        >>> print(forward.apply(params, None, jnp.array([10.0, 20.0])))
        [20. 11.]
    """
    if not layers:
        raise ValueError("`layers` must hold at least one layer; got none.")
    return lambda x: distrax.Chain([Learned(layer, event_ndims) for layer in layers])
