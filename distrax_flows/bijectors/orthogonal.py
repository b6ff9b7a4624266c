"""Orthogonal maps of vector events."""

import jax.numpy as jnp
import jax.scipy as jsp
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.checks import check_event_size, check_float_array
from distrax_flows._core.numerics import align, matvec, unit_vector
from distrax_flows._core.types import ArrayLike
from distrax_flows.bijectors._base import Bijector

__all__ = ["Householder", "Orthogonal", "check_square"]


class Orthogonal(Bijector):
    """Multiplication by an orthogonal matrix: `y = Q x`, `Q^T Q = I`, `log|det| = 0`.

    Constant Jacobian. The inverse multiplies by the transpose; both directions cost D^2 per event.

    `Q` is not checked, as its values may be traced: if it is not orthogonal, the inverse and the
    log-det are wrong. `jnp.linalg.qr(a)[0]` is orthogonal for any `a`. To learn an orthogonal
    matrix, use `Householder`.

    Args:
        matrix: `[..., D, D]`, the orthogonal matrix Q; its batch axes broadcast against those of
            the event.

    Raises:
        TypeError: `matrix` is not a floating array.
        ValueError: `matrix` is not square; or, when called, the event's size is not D.

    Example:
        >>> import jax.numpy as jnp
        >>> bijector = Orthogonal(jnp.array([[0.6, -0.8], [0.8, 0.6]]))
        >>> y = bijector.forward(jnp.array([5.0, 10.0]))
        >>> print(y.round(4), bijector.inverse(y).round(4))
        [-5. 10.] [ 5. 10.]
    """

    def __init__(self, matrix: Float[ArrayLike, "... D D"]):
        super().__init__(event_ndims_in=1, is_constant_jacobian=True)
        self._matrix = check_square("matrix", matrix)

    @property
    def matrix(self) -> Float[Array, "... D D"]:
        """The orthogonal matrix Q."""
        return self._matrix

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Compute `y = Q x` and a log-det of zero."""
        x = self._as_events(x)
        return self._multiply(x, self._matrix)

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Compute `x = Q^T y` and a log-det of zero."""
        y = self._as_events(y)
        return self._multiply(y, jnp.matrix_transpose(self._matrix))

    def _multiply(self, x, matrix):
        check_event_size(x, matrix.shape[-1])
        y = matvec(matrix, x)
        return y, jnp.zeros(y.shape[:-1], y.dtype)


class Householder(Bijector):
    """Multiplication by a product of K reflections, `log|det| = 0`.

        y = H_1 H_2 ... H_K x,    H_k = I - 2 v_k v_k^T / |v_k|^2

    All reflections act at once. With U the matrix of unit rows v_k / |v_k|,

        y = x - U^T S^-1 U x,    S = striu(U U^T) + I / 2,

    striu being the strictly upper triangle. Constant Jacobian. The inverse is the transpose. Each
    direction costs 2 K D per event, after K^2 D once for S^-1 U, by back substitution.

    Any real vectors give an orthogonal matrix; K = D of them can give every orthogonal matrix with
    determinant (-1)^D. Only their directions matter; the gradient is orthogonal to v_k and falls
    off as 1 / |v_k|. A vector of zero, or one too short for its gradient to be finite (below 1e-19
    in float32), reflects nothing and gets no gradient, so don't start there.

    Args:
        vectors: `[..., K, D]`, the normals of the mirrors, of any length; batch axes broadcast
            against those of the event.

    Raises:
        TypeError: `vectors` is not a floating array.
        ValueError: `vectors` has fewer than two axes; or, when called, the event's size is not D.

    Reference:
        Joffrain et al., "Accumulating Householder transformations, revisited", 2006: the UT
        transform. Within a flow: Tomczak & Welling, "Improving Variational Auto-Encoders using
        Householder Flow", 2016.

    Example:
        >>> import jax.numpy as jnp
        >>> print(Householder(jnp.array([[1.0, -1.0]])).forward(jnp.array([3.0, 5.0])).round(4))
        [5. 3.]
    """

    def __init__(self, vectors: Float[ArrayLike, "... K D"]):
        super().__init__(event_ndims_in=1, is_constant_jacobian=True)
        self._vectors = check_float_array("vectors", vectors, min_ndim=2)

    @property
    def vectors(self) -> Float[Array, "... K D"]:
        """The normals of the mirrors, of any length."""
        return self._vectors

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Apply the reflections, last vector first; the log-det is zero."""
        x = self._as_events(x)
        units, solved = self._factors()
        return self._reflect(x, units, solved)

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Apply the reflections, first vector first; the log-det is zero."""
        y = self._as_events(y)
        units, solved = self._factors()
        return self._reflect(y, solved, units)

    def _factors(self):
        """Return `U` and `S^-1 U`, both `[..., K, D]`; rows of the latter have length <= 2."""
        units = unit_vector(self._vectors)
        products = jnp.einsum("...id,...jd->...ij", units, units, precision="highest")
        # 2 S has a unit diagonal; the solver ignores it and all below.
        solved = jsp.linalg.solve_triangular(2 * products, units, unit_diagonal=True)
        return units, 2 * solved

    def _reflect(self, x, left, right):
        check_event_size(x, left.shape[-1])
        y = matvec(jnp.matrix_transpose(left), matvec(right, x))
        x, y = align(x, y)
        y = x - y
        return y, jnp.zeros(y.shape[:-1], y.dtype)


def check_square(name: str, value: Float[ArrayLike, "... D D"]) -> Float[Array, "... D D"]:
    """Return `value` as a floating array of square matrices; raise unless they are square."""
    matrix = check_float_array(name, value, min_ndim=2)
    if matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(f"`{name}` must be square, [..., D, D]; got {name}.shape={matrix.shape}.")
    return matrix
