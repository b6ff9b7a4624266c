"""Rotation of a circle."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.checks import check_float_array, check_range, check_resolution
from distrax_flows._core.numerics import replace_value
from distrax_flows._core.types import ArrayLike
from distrax_flows.bijectors._base import Bijector

__all__ = ["CircularShift"]


class CircularShift(Bijector):
    """Rotation of a circle: shift of an interval whose ends are one point, with wrap-around.

        y = a + (x + shift - a) mod (b - a),   log|dy/dx| = 0

    with [a, b) = [range_min, range_max). The result is in [a, b) even after rounding. A shift of
    zero leaves [a, b) unchanged, bit for bit. Gradients are those of a shift; the jump contributes
    none. Values outside [a, b) are first wrapped onto the circle.

    Elementwise: `shift` and the input broadcast against each other. Both directions cost the same.

    Args:
        shift: `[...]`, in the units of the interval; multiples of b - a change nothing.
        range_min: the lower end a, which belongs to the interval.
        range_max: the upper end b, which does not.

    Raises:
        TypeError: `shift` is not a floating array.
        ValueError: `range_min` is not less than `range_max`, or one of them is not finite; or, when
            called, the dtype of the input is too coarse for the interval.

    Reference:
        Rezende et al., "Normalizing Flows on Tori and Spheres", 2020, section 2.1.

    Example:
        >>> import jax.numpy as jnp
        >>> clock = CircularShift(jnp.array(5.0), range_min=0.0, range_max=12.0)
        >>> print(clock.forward(jnp.array([1.0, 10.0])), clock.inverse(jnp.array([6.0, 3.0])))
        [6. 3.] [ 1. 10.]
    """

    def __init__(self, shift: Float[ArrayLike, "..."] | float, range_min: float, range_max: float):
        # The slope is 1, but no constant Jacobian is declared: the mean does not move by `shift`.
        super().__init__(event_ndims_in=0, is_constant_log_det=True)
        check_range("range_min", range_min, "range_max", range_max)
        self._shift = check_float_array("shift", shift)
        self._range_min = float(range_min)
        self._range_max = float(range_max)

    @property
    def shift(self) -> Float[Array, "..."]:
        """The shift, in the units of the interval."""
        return self._shift

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Compute `x + shift` on the circle and a log-det of zero."""
        return self._turn(x, self._shift)

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Compute `y - shift` on the circle and a log-det of zero."""
        return self._turn(y, -self._shift)

    def _turn(self, x, shift):
        low, high = self._range_min, self._range_max
        x = self._as_events(x)
        check_resolution("[range_min, range_max]", low, high, x.dtype)
        shape = jnp.broadcast_shapes(x.shape, shift.shape)
        x = jnp.broadcast_to(x, shape) + jnp.broadcast_to(shift, shape)
        # Values inside the interval stay unchanged, bit for bit.
        y = jnp.where((x >= low) & (x < high), x, low + jnp.mod(x - low, high - low))
        # A remainder just below b - a rounds to b, which is a.
        return replace_value(x, jnp.where(y >= high, low, y)), jnp.zeros_like(y)
