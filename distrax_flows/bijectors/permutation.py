"""Fixed permutations of the dimensions of a vector event."""

from collections.abc import Sequence

import distrax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.types import ArrayLike
from distrax_flows.bijectors._base import Bijector

__all__ = ["Permutation", "Reverse"]


class Permutation(Bijector):
    """Permutation of the dimensions: `y_d = x_{permutation[d]}`, `log|det| = 0`.

    Constant Jacobian. The permutation is static: it is not differentiated, and a new one triggers
    compilation.

    Args:
        permutation: `[D]` integers, each of `0..D-1` once.

    Raises:
        ValueError: `permutation` is not a permutation; or, when called, its length is not the
            event's size.

    Example:
        >>> import jax.numpy as jnp
        >>> print(Permutation([2, 0, 1]).forward(jnp.array([10.0, 20.0, 30.0])))
        [30. 10. 20.]
    """

    def __init__(self, permutation: Sequence[int] | np.ndarray):
        super().__init__(event_ndims_in=1, is_constant_jacobian=True)
        indices = np.asarray(permutation)
        if indices.ndim != 1 or not np.array_equal(np.sort(indices), np.arange(indices.size)):
            raise ValueError(
                "`permutation` must hold each of 0..D-1 exactly once; "
                f"got permutation={indices.tolist()}."
            )
        # Tuples of ints, unlike arrays, are static under jit.
        self._permutation = tuple(indices.tolist())
        self._inverse_permutation = tuple(np.argsort(indices).tolist())

    @property
    def permutation(self) -> tuple[int, ...]:
        """`permutation[d]` is the dimension of `x` that becomes dimension `d` of `y`."""
        return self._permutation

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Reorder; the log-det is zero."""
        x = self._as_events(x)
        return _reorder(x, self._permutation)

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Undo the reordering; the log-det is zero."""
        y = self._as_events(y)
        return _reorder(y, self._inverse_permutation)

    def same_as(self, other: distrax.Bijector) -> bool:
        """Return whether `other` is the same permutation."""
        return type(other) is Permutation and other.permutation == self.permutation


class Reverse(Bijector):
    """Reversal of the order of dimensions: `y_d = x_{D-1-d}`, `log|det| = 0`.

    Constant Jacobian; its own inverse.

    Example:
        >>> import jax.numpy as jnp
        >>> print(Reverse().forward(jnp.array([10.0, 20.0, 30.0])))
        [30. 20. 10.]
    """

    def __init__(self):
        super().__init__(event_ndims_in=1, is_constant_jacobian=True)

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Reverse; the log-det is zero."""
        x = self._as_events(x)
        return x[..., ::-1], jnp.zeros(x.shape[:-1], x.dtype)

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Reverse; the log-det is zero."""
        return self.forward_and_log_det(y)

    def same_as(self, other: distrax.Bijector) -> bool:
        """Return whether `other` is also a `Reverse`."""
        return type(other) is Reverse


def _reorder(x, indices):
    if x.shape[-1] != len(indices):
        raise ValueError(
            f"`permutation` must have the event's size; got {len(indices)} indices and an event "
            f"of size {x.shape[-1]}."
        )
    return jnp.take(x, np.array(indices), axis=-1), jnp.zeros(x.shape[:-1], x.dtype)
