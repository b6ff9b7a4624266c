"""Reshaping of events."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.checks import check_positive_int
from distrax_flows._core.types import ArrayLike, Shape
from distrax_flows.bijectors._base import Bijector

__all__ = ["Reshape"]


class Reshape(Bijector):
    """Reshaping of events, in row-major order: `log|det| = 0`.

    Flattens images for a flow of vectors, or turns scalars into vectors of size one. Constant
    Jacobian; both directions are free.

    Args:
        shape_in: event shape that `forward` takes; `()` for scalars.
        shape_out: event shape that `forward` returns, with as many entries.

    Raises:
        ValueError: a size is not a positive integer, or the shapes hold different numbers of
            entries; or, when called, the input has another event shape.

    Example:
        >>> import jax.numpy as jnp
        >>> bijector = Reshape((2, 2), (4,))
        >>> print(bijector.forward(jnp.array([[1.0, 2.0], [3.0, 4.0]])))
        [1. 2. 3. 4.]
    """

    def __init__(self, shape_in: Sequence[int], shape_out: Sequence[int]):
        shapes = [
            tuple(check_positive_int(f"{name}[{i}]", size) for i, size in enumerate(shape))
            for name, shape in (("shape_in", shape_in), ("shape_out", shape_out))
        ]
        self._shape_in, self._shape_out = shapes
        if math.prod(self._shape_in) != math.prod(self._shape_out):
            raise ValueError(
                "`shape_in` and `shape_out` must hold as many entries; got "
                f"shape_in={self._shape_in}, shape_out={self._shape_out}."
            )
        super().__init__(
            event_ndims_in=len(self._shape_in),
            event_ndims_out=len(self._shape_out),
            is_constant_jacobian=True,
        )

    @property
    def shape_in(self) -> Shape:
        """Event shape that `forward` takes."""
        return self._shape_in

    @property
    def shape_out(self) -> Shape:
        """Event shape that `forward` returns."""
        return self._shape_out

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Reshape from `[..., *shape_in]` to `[..., *shape_out]`."""
        return _reshaped(self._as_floats(x), self._shape_in, self._shape_out)

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Reshape from `[..., *shape_out]` to `[..., *shape_in]`."""
        return _reshaped(self._as_floats(y), self._shape_out, self._shape_in)


def _reshaped(x: jax.Array, old: Shape, new: Shape) -> tuple[jax.Array, jax.Array]:
    batch_ndims = x.ndim - len(old)
    if batch_ndims < 0 or x.shape[batch_ndims:] != old:
        raise ValueError(f"The event must have shape {old}, the bijector's; got {x.shape}.")
    batch_shape = x.shape[:batch_ndims]
    return x.reshape(batch_shape + new), jnp.zeros(batch_shape, x.dtype)
