"""Permutation of the axes of an event."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.types import ArrayLike, Shape
from distrax_flows.bijectors._base import Bijector

__all__ = ["Transpose"]


class Transpose(Bijector):
    """Permutation of the axes of an event: `y = x.transpose(axes)`, `log|det| = 0`.

    Turns images `[H, W, C]` into `[C, H, W]`, or moves the axis that another bijector acts on to
    the end. Constant Jacobian; both directions are a copy.

    Args:
        axes: the axes of an event, `0..n-1`, in their new order.

    Raises:
        ValueError: `axes` is not a permutation of `0..n-1`.

    Example:
        >>> import jax.numpy as jnp
        >>> bijector = Transpose((1, 0))
        >>> print(bijector.forward(jnp.array([[1.0, 2.0], [3.0, 4.0]])))
        [[1. 3.]
         [2. 4.]]
    """

    def __init__(self, axes: Sequence[int]):
        self._axes = tuple(int(axis) for axis in axes)
        if not axes or sorted(self._axes) != list(range(len(self._axes))):
            raise ValueError(
                f"`axes` must hold each axis of an event once, from 0; got axes={self._axes}."
            )
        super().__init__(event_ndims_in=len(self._axes), is_constant_jacobian=True)

    @property
    def axes(self) -> Shape:
        """The axes of an event in their new order."""
        return self._axes

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Permute the axes."""
        return _transposed(self._as_events(x), self._axes)

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Permute the axes back."""
        inverse = sorted(range(len(self._axes)), key=self._axes.__getitem__)
        return _transposed(self._as_events(y), inverse)


def _transposed(x: jax.Array, axes: Sequence[int]) -> tuple[jax.Array, jax.Array]:
    batch_ndims = x.ndim - len(axes)
    order = (*range(batch_ndims), *(batch_ndims + axis for axis in axes))
    return jnp.transpose(x, order), jnp.zeros(x.shape[:batch_ndims], x.dtype)
