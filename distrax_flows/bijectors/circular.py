"""Rotation of a circle."""

import functools

import distrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows._checks import check_float_array, check_range

__all__ = ["CircularShift"]


class CircularShift(distrax.Bijector):
    """Turns a circle: shifts an interval whose ends are one point, and wraps around.

        y = a + (x + shift - a) mod (b - a),   log|dy/dx| = 0

    with [a, b) = [range_min, range_max). The result is in [a, b) also after rounding, and the
    gradients are those of a shift: the jump has none. Values outside [a, b) count as their place
    on the circle.

    Elementwise: `shift` and the input broadcast against each other. Both directions cost the same.

    Args:
        shift: `[...]`, in the units of the interval; multiples of b - a change nothing.
        range_min: the lower end a, which belongs to the interval.
        range_max: the upper end b, which does not.

    Raises:
        TypeError: `shift` is not a floating array.
        ValueError: `range_min` is not less than `range_max`, or one of them is not finite.

    Reference:
        Rezende et al., "Normalizing Flows on Tori and Spheres", 2020, section 2.1.

    Example:
        >>> import jax.numpy as jnp
        >>> clock = CircularShift(jnp.array(5.0), range_min=0.0, range_max=12.0)
        >>> print(clock.forward(jnp.array([1.0, 10.0])), clock.inverse(jnp.array([6.0, 3.0])))
        [6. 3.] [ 1. 10.]
    """

    def __init__(self, shift: Float[Array, "..."] | float, range_min: float, range_max: float):
        # The slope is 1, but no constant Jacobian is claimed: the mean does not move by `shift`.
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
        self, x: Float[Array, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Computes `x + shift` on the circle and a log-det of zero."""
        return self._turn(x, self._shift)

    def inverse_and_log_det(
        self, y: Float[Array, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Computes `y - shift` on the circle and a log-det of zero."""
        return self._turn(y, -self._shift)

    def _turn(self, x, shift):
        shape = jnp.broadcast_shapes(jnp.shape(x), shift.shape)
        x = jnp.broadcast_to(x, shape) + jnp.broadcast_to(shift, shape)
        y = _wrap(self._range_min, self._range_max, x)
        return y, jnp.zeros_like(y)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _wrap(low: float, high: float, x: jax.Array) -> jax.Array:
    """The place of x on the circle [low, high)."""
    y = low + jnp.mod(x - low, high - low)
    # A remainder just below b - a rounds to b, which is a.
    return jnp.where(y >= high, low, y)


@_wrap.defjvp
def _wrap_jvp(low, high, primals, tangents):
    return _wrap(low, high, *primals), tangents[0]
