"""Shift and scale of vector events."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.checks import check_float_array
from distrax_flows._core.numerics import align, sum_last
from distrax_flows._core.types import ArrayLike
from distrax_flows.bijectors._base import Bijector

__all__ = ["Scale", "Shift"]


class Shift(Bijector):
    """Addition of a vector: `y = x + shift`, `log|det| = 0`.

    Constant Jacobian. `shift` and the event broadcast against each other.

    Args:
        shift: `[..., D]`, the vector added to an event, in the units of the event.

    Raises:
        TypeError: `shift` is not a floating array.
        ValueError: `shift` has no axes.

    Example:
        >>> import jax.numpy as jnp
        >>> bijector = Shift(jnp.array([1.0, 2.0]))
        >>> print(bijector.forward(jnp.zeros(2)), bijector.inverse(jnp.zeros(2)))
        [1. 2.] [-1. -2.]
    """

    def __init__(self, shift: Float[ArrayLike, "... D"]):
        super().__init__(event_ndims_in=1, is_constant_jacobian=True)
        self._shift = check_float_array("shift", shift, min_ndim=1)

    @property
    def shift(self) -> Float[Array, "... D"]:
        """The vector added to an event."""
        return self._shift

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Compute `y = x + shift` and a log-det of zero."""
        x = self._as_events(x)
        x, shift = align(x, self._shift)
        y = x + shift
        return y, jnp.zeros(y.shape[:-1], y.dtype)

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Compute `x = y - shift` and a log-det of zero."""
        y = self._as_events(y)
        y, shift = align(y, self._shift)
        x = y - shift
        return x, jnp.zeros(x.shape[:-1], x.dtype)


class Scale(Bijector):
    """Scaling of each dimension: `y_d = x_d exp(log_scale_d)`, `log|det| = sum_d log_scale_d`.

    Constant Jacobian. `log_scale` and the event broadcast against each other. It is not
    bounded here; a network that predicts scales bounds them first (see
    `distrax_flows.families.affine`).

    Args:
        log_scale: `[..., D]`, natural logarithms of the scales.

    Raises:
        TypeError: `log_scale` is not a floating array.
        ValueError: `log_scale` has no axes.

    Reference:
        The last layer of NICE: Dinh et al., "NICE: Non-linear Independent Components Estimation",
        2014, section 3.3.

    Example:
        >>> import jax.numpy as jnp
        >>> y, log_det = Scale(jnp.log(jnp.array([2.0, 3.0]))).forward_and_log_det(jnp.ones(2))
        >>> print(y.round(4), f"{log_det:.4f}")
        [2. 3.] 1.7918
    """

    def __init__(self, log_scale: Float[ArrayLike, "... D"]):
        super().__init__(event_ndims_in=1, is_constant_jacobian=True)
        self._log_scale = check_float_array("log_scale", log_scale, min_ndim=1)

    @property
    def log_scale(self) -> Float[Array, "... D"]:
        """Natural logarithms of the scales."""
        return self._log_scale

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Compute `y = x exp(log_scale)` and the sum of the log-scales."""
        x = self._as_events(x)
        x, log_scale = align(x, self._log_scale)
        y = x * jnp.exp(log_scale)
        return y, sum_last(log_scale, y)

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Compute `x = y exp(-log_scale)` and the negated sum of the log-scales."""
        y = self._as_events(y)
        y, log_scale = align(y, self._log_scale)
        x = y * jnp.exp(-log_scale)
        return x, sum_last(-log_scale, x)
