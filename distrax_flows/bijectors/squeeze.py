"""Space to depth: the pixels of a block become channels."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.checks import check_choice, check_positive_int
from distrax_flows._core.types import ArrayLike
from distrax_flows.bijectors._base import Bijector

__all__ = ["Squeeze"]


class Squeeze(Bijector):
    """Space to depth: each block of `factor` by `factor` pixels becomes one pixel.

        [..., H, W, C] -> [..., H / factor, W / factor, factor^2 C],    log|det| = 0

    Constant Jacobian; both directions are a copy. The channels of a block stay together: channel
    `(i factor + j) C + c` of the result is channel c of the pixel in row i and column j of the
    block. With `order="checkerboard"`, the pixels of a block whose row and column add up to an even
    number come first, then the others. So a coupling that splits the channels in half transforms
    the black squares of a checkerboard given the white ones, and computes nothing for these.

    Args:
        factor: rows and columns of a block; even for a checkerboard.
        order: order of the pixels of a block, "rows" or "checkerboard".

    Raises:
        ValueError: `factor` is not a positive integer, or is odd for a checkerboard; or, when
            called, the height or width is not a multiple of `factor`, or the number of channels is
            not a multiple of `factor^2`.

    Reference:
        Dinh et al., "Density estimation using Real NVP", 2017, sections 3.4 and 3.6.

    Example:
        >>> import jax.numpy as jnp
        >>> image = jnp.array([[1.0, 2.0], [3.0, 4.0]])[..., None]
        >>> print(Squeeze().forward(image), Squeeze(order="checkerboard").forward(image))
        [[[1. 2. 3. 4.]]] [[[1. 4. 2. 3.]]]
    """

    def __init__(self, factor: int = 2, order: Literal["rows", "checkerboard"] = "rows"):
        super().__init__(event_ndims_in=3, is_constant_jacobian=True)
        self._factor = check_positive_int("factor", factor)
        check_choice("order", order, ("rows", "checkerboard"))
        self._order = order
        if order == "checkerboard" and factor % 2:
            raise ValueError(
                "`factor` must be even for a checkerboard, so that half of the pixels of a block "
                f"are white; got {factor=}."
            )

    @property
    def factor(self) -> int:
        """Rows and columns of a block."""
        return self._factor

    @property
    def order(self) -> str:
        """Order of the pixels of a block."""
        return self._order

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "... H W C"]
    ) -> tuple[Float[Array, "... h w c"], Float[Array, "..."]]:
        """Move the pixels of each block into channels."""
        x = self._as_events(x)
        *batch_shape, height, width, channels = x.shape
        f = self._factor
        if height % f or width % f:
            raise ValueError(
                f"The height and width of an image must be multiples of `factor`, {f}; got an "
                f"image of shape {x.shape[-3:]}. Pad it, or choose another factor."
            )
        blocks = x.reshape(*batch_shape, height // f, f, width // f, f, channels)
        blocks = jnp.swapaxes(blocks, -4, -3)
        blocks = blocks.reshape(*blocks.shape[:-3], f * f, channels)
        y = _permuted(blocks, self._pixels)
        y = y.reshape(*y.shape[:-2], f * f * channels)
        return y, jnp.zeros(batch_shape, y.dtype)

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "... h w c"]
    ) -> tuple[Float[Array, "... H W C"], Float[Array, "..."]]:
        """Move channels back into the pixels of each block."""
        y = self._as_events(y)
        *batch_shape, height, width, channels = y.shape
        f = self._factor
        if channels % (f * f):
            raise ValueError(
                f"The number of channels must be a multiple of `factor` squared, {f * f}; got an "
                f"image of shape {y.shape[-3:]}."
            )
        blocks = y.reshape(*y.shape[:-1], f * f, channels // (f * f))
        blocks = _permuted(blocks, np.argsort(self._pixels))
        blocks = blocks.reshape(*batch_shape, height, width, f, f, channels // (f * f))
        x = jnp.swapaxes(blocks, -4, -3)
        x = x.reshape(*batch_shape, f * height, f * width, channels // (f * f))
        return x, jnp.zeros(batch_shape, x.dtype)

    @property
    def _pixels(self) -> np.ndarray:
        """Return the pixels of a block, numbered row by row, in their order."""
        if self._order == "rows":
            return np.arange(self._factor**2)
        black = np.indices((self._factor, self._factor)).sum(axis=0).ravel() % 2
        return np.argsort(black, kind="stable")


def _permuted(blocks: jax.Array, order: np.ndarray) -> jax.Array:
    """Reorder the axis before the last; by slices, which are faster than a gather."""
    if np.array_equal(order, np.arange(len(order))):
        return blocks
    return jnp.concatenate([blocks[..., k : k + 1, :] for k in order], axis=-2)
