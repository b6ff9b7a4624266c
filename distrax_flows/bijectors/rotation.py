"""Rotation of a plane."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.checks import check_float_array, check_non_negative_int
from distrax_flows._core.types import ArrayLike
from distrax_flows.bijectors._base import Bijector

__all__ = ["Rotation"]


class Rotation(Bijector):
    """Rotation in the plane of two dimensions; the others stay unchanged.

    With `(i, j) = plane`:

        y_i = cos(angle) x_i - sin(angle) x_j
        y_j = sin(angle) x_i + cos(angle) x_j

    Constant Jacobian, `log|det| = 0`; identity at `angle = 0`. Both directions cost the same.

    Args:
        angle: `[...]`, in radians, counter-clockwise from axis `i` to axis `j`; one angle per
            event, broadcast against the batch.
        plane: the two different dimensions that are rotated.

    Raises:
        TypeError: `angle` is not a floating array.
        ValueError: `plane` is not a pair of different dimensions; or, when called, the event is
            too small for `plane`.

    Reference:
        A Givens rotation: Golub & Van Loan, "Matrix Computations", section 5.1.8.

    Example:
        >>> import jax.numpy as jnp
        >>> print(Rotation(jnp.pi / 2).forward(jnp.array([1.0, 0.0])).round(4) + 0.0)
        [0. 1.]
    """

    def __init__(self, angle: Float[ArrayLike, "..."] | float, plane: tuple[int, int] = (0, 1)):
        super().__init__(event_ndims_in=1, is_constant_jacobian=True)
        if len(plane) != 2 or plane[0] == plane[1]:
            raise ValueError(
                f"`plane` must be a pair of different dimensions, such as (0, 1); got {plane=}."
            )
        self._angle = check_float_array("angle", angle)
        self._plane = (
            check_non_negative_int("plane[0]", plane[0]),
            check_non_negative_int("plane[1]", plane[1]),
        )

    @property
    def angle(self) -> Float[Array, "..."]:
        """The angle in radians."""
        return self._angle

    @property
    def plane(self) -> tuple[int, int]:
        """The two dimensions that are rotated."""
        return self._plane

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Rotate by `angle`; the log-det is zero."""
        x = self._as_events(x)
        return self._rotate(x, jnp.sin(self._angle))

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Rotate by `-angle`; the log-det is zero."""
        y = self._as_events(y)
        return self._rotate(y, -jnp.sin(self._angle))

    def _rotate(self, x, sin):
        i, j = self._plane
        if max(i, j) >= x.shape[-1]:
            raise ValueError(
                f"`plane` must name dimensions of the event; got plane={self._plane} and an event "
                f"of size {x.shape[-1]}."
            )
        batch_shape = jnp.broadcast_shapes(x.shape[:-1], self._angle.shape)
        x = jnp.broadcast_to(x, batch_shape + x.shape[-1:])
        cos, sin = (jnp.broadcast_to(a, batch_shape) for a in (jnp.cos(self._angle), sin))
        x_i, x_j = x[..., i], x[..., j]
        y = x.at[..., i].set(cos * x_i - sin * x_j).at[..., j].set(sin * x_i + cos * x_j)
        return y, jnp.zeros(batch_shape, y.dtype)
