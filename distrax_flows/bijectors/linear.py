"""Invertible linear maps of vector events."""

from collections.abc import Sequence

import jax.numpy as jnp
import jax.scipy as jsp
import numpy as np
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.checks import check_event_size
from distrax_flows._core.numerics import align, matvec, sum_last
from distrax_flows._core.types import ArrayLike
from distrax_flows.bijectors._base import Bijector
from distrax_flows.bijectors.orthogonal import check_square
from distrax_flows.bijectors.permutation import Permutation

__all__ = ["LULinear"]


class LULinear(Bijector):
    """Multiplication by a matrix given by its LU factors.

        y = W x,    W = P L (U + diag(sign exp(log_scale))),    log|det| = sum_d log_scale_d

    `lu` packs the three factors into one matrix, as LAPACK does. Its strictly lower part is that of
    L, whose diagonal is 1; its strictly upper part is U; its diagonal is `log_scale`. P and `sign`
    are static. All-zero `lu` is the identity, up to P and `sign`. Constant Jacobian. `forward`
    multiplies by two triangular matrices and `inverse` solves two triangular systems: D^2 per event
    either way. On the last axis of an image, as `distrax.Block(bijector, 2)`, it is Glow's
    invertible 1x1 convolution.

    W is invertible for any `lu`, but its condition number, and so the accuracy of the inverse,
    depends on `lu`. The diagonal may be bounded (`distrax_flows.families.affine` shows how). A
    penalty on the square of `lu` pulls W towards P diag(sign), which is perfectly conditioned.

    Args:
        lu: `[..., D, D]`, the packed factors; batch axes broadcast against those of the event.
        sign: `[D]`, the signs of the diagonal, each 1 or -1; all 1 if None.
        permutation: `[D]` integers, each of `0..D-1` once, with P z = `z[permutation]`; the
            identity if None.

    Raises:
        TypeError: `lu` is not a floating array.
        ValueError: `lu` is not square, `sign` does not hold D signs, or `permutation` is not a
            permutation of `0..D-1`; or, when called, the event's size is not D.

    Reference:
        Kingma & Dhariwal, "Glow: Generative Flow with Invertible 1x1 Convolutions", 2018,
        eqs. 10-11.

    Example:
        >>> import jax.numpy as jnp, numpy as np, scipy.linalg
        >>> matrix = np.array([[1.0, 2.0], [4.0, -2.0]], np.float32)
        >>> permutation, lower, upper = scipy.linalg.lu(matrix, p_indices=True)
        >>> diagonal = np.diag(upper)
        >>> lu = np.tril(lower, -1) + np.triu(upper, 1) + np.diag(np.log(abs(diagonal)))
        >>> bijector = LULinear(lu, np.sign(diagonal), permutation)
        >>> y, log_det = bijector.forward_and_log_det(jnp.ones(2))
        >>> print(y.round(4), f"{log_det:.4f} = log 10")
        [3. 2.] 2.3026 = log 10
    """

    def __init__(
        self,
        lu: Float[ArrayLike, "... D D"],
        sign: Sequence[int] | np.ndarray | None = None,
        permutation: Sequence[int] | np.ndarray | None = None,
    ):
        super().__init__(event_ndims_in=1, is_constant_jacobian=True)
        self._lu = check_square("lu", lu)
        size = self._lu.shape[-1]
        signs = np.ones(size) if sign is None else np.asarray(sign)
        if signs.shape != (size,) or not np.all(np.abs(signs) == 1):
            raise ValueError(
                f"`sign` must hold {size} signs, each 1 or -1, one for every row of `lu`; got "
                f"sign={signs.tolist()}."
            )
        self._sign = tuple(int(s) for s in signs)
        self._permutation = Permutation(range(size) if permutation is None else permutation)
        if len(self.permutation) != size:
            raise ValueError(
                f"`permutation` must hold {size} indices, one for every row of `lu`; got "
                f"permutation={list(self.permutation)}."
            )

    @property
    def lu(self) -> Float[Array, "... D D"]:
        """The packed factors."""
        return self._lu

    @property
    def sign(self) -> tuple[int, ...]:
        """The signs of the diagonal."""
        return self._sign

    @property
    def permutation(self) -> tuple[int, ...]:
        """The rows of L U that become the rows of W."""
        return self._permutation.permutation

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Multiply by W."""
        x = self._as_events(x)
        check_event_size(x, len(self._sign))
        z = matvec(self._upper(), x)
        z = z + matvec(jnp.tril(self._lu, -1), z)
        y, _ = self._permutation.forward_and_log_det(z)
        return y, sum_last(self._log_scale(), y)

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Solve for x in `W x = y`."""
        y = self._as_events(y)
        check_event_size(y, len(self._sign))
        z, _ = self._permutation.inverse_and_log_det(y)
        z = _solve(self._lu, z, lower=True, unit_diagonal=True)
        x = _solve(self._upper(), z, lower=False, unit_diagonal=False)
        return x, sum_last(-self._log_scale(), x)

    def _log_scale(self):
        return jnp.diagonal(self._lu, axis1=-2, axis2=-1)

    def _upper(self):
        sign = jnp.array(self._sign, self._lu.dtype)

        def diagonal_matrix(log_scale):
            return jnp.diag(sign * jnp.exp(log_scale))

        diagonal = jnp.vectorize(diagonal_matrix, signature="(d)->(d,d)")(self._log_scale())
        return jnp.triu(self._lu, 1) + diagonal


def _solve(matrix, y, *, lower, unit_diagonal):
    """Solve a triangular system; batch axes broadcast.

    A matrix without batch axes becomes one system with many right-hand sides: `vectorize` does not
    repeat it.
    """

    def solve(matrix, columns):
        return jsp.linalg.solve_triangular(
            matrix, columns, lower=lower, unit_diagonal=unit_diagonal
        )

    matrix, columns = align(matrix, y[..., None])
    return jnp.vectorize(solve, signature="(d,d),(d,k)->(d,k)")(matrix, columns)[..., 0]
