"""Sylvester flow."""

import distrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.checks import check_float_array
from distrax_flows._core.numerics import align, matvec, sum_last, value_and_slope, vary_like
from distrax_flows._core.types import Activation, ArrayLike
from distrax_flows.bijectors._base import Bijector
from distrax_flows.bijectors.planar import check_unit, make_feasible, solve_unit

__all__ = ["Sylvester"]


class Sylvester(Bijector):
    """Sylvester flow: M planar flows at once, triangular in the coordinates of an orthogonal map.

    With Q orthogonal, R1 and R2 upper triangular, and z the first M coordinates of `Q^T x`:

        y = Q T(Q^T x),    T(z) = z + R1 h(R2 z + b),  the other coordinates unchanged
        log|det| = sum_i log(1 + m_i h'(R2 z + b)_i),    m_i = r1_ii r2_ii

    Invertible because every m_i is above -1: r1_ii is first multiplied by `m(a) / a` with
    a = r1_ii r2_ii and m as in `Planar`. R1 = 0 gives the identity. With M = 1 this is a planar
    flow whose u is parallel to w. The paper's variants differ in the orthogonal map: any
    (orthogonal), a product of reflections (Householder), or permutations that alternate between
    layers (triangular).

    `forward` takes two matrix-vector products. `inverse` solves from the last coordinate up, with
    one scalar root each: M steps. Both are differentiable; the roots implicitly.

    Args:
        r1: `[..., M, M]`; entries below the diagonal are ignored.
        r2: `[..., M, M]`; entries below the diagonal are ignored.
        b: `[..., M]`, offsets.
        orthogonal: Q, a bijector of vectors of size D such as `Householder` or `Permutation`; the
            identity if None. Any bijector with a constant Jacobian works, orthogonal or not.
        unit: h, elementwise, with slopes between 0 and 1 everywhere; see `Planar`.

    Raises:
        TypeError: a parameter is not a floating array, `orthogonal` is not a bijector, or `unit` is
            not a function.
        ValueError: the shapes of `r1`, `r2` and `b` don't agree, or `orthogonal` is not a bijector
            of vectors with a constant Jacobian; or, when called, M is above D.

    Reference:
        van den Berg et al., "Sylvester Normalizing Flows for Variational Inference", 2018,
        section 3. The inverse is not in the paper.

    Example:
        >>> import jax.numpy as jnp
        >>> from distrax_flows.bijectors import Reverse
        >>> r = jnp.array([[1.0, 2.0], [0.0, 1.0]])
        >>> bijector = Sylvester(r1=r, r2=r, b=jnp.zeros(2), orthogonal=Reverse())
        >>> y = bijector.forward(jnp.array([1.0, 2.0, 3.0]))
        >>> print(y.round(2), bijector.inverse(y).round(2))
        [1.   2.96 5.93] [1. 2. 3.]
    """

    def __init__(
        self,
        r1: Float[ArrayLike, "... M M"],
        r2: Float[ArrayLike, "... M M"],
        b: Float[ArrayLike, "... M"],
        orthogonal: distrax.Bijector | None = None,
        unit: Activation = jnp.tanh,
    ):
        super().__init__(event_ndims_in=1)
        self._r1 = check_float_array("r1", r1, min_ndim=2)
        self._r2 = check_float_array("r2", r2, min_ndim=2)
        self._b = check_float_array("b", b, min_ndim=1)
        square = 2 * self._b.shape[-1:]
        if self._r1.shape[-2:] != square or self._r2.shape[-2:] != square:
            raise ValueError(
                "`r1` and `r2` must be matrices [..., M, M] and `b` a vector [..., M]; got "
                f"r1.shape={self._r1.shape}, r2.shape={self._r2.shape}, b.shape={self._b.shape}."
            )
        if orthogonal is not None:
            _check_linear(orthogonal)
        self._orthogonal = orthogonal
        self._unit = check_unit(unit)

    @property
    def num_units(self) -> int:
        """The number of coordinates that are transformed, M."""
        return self._b.shape[-1]

    @property
    def orthogonal(self) -> distrax.Bijector | None:
        """The orthogonal map; None for the identity."""
        return self._orthogonal

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Compute `y = Q T(Q^T x)`."""
        x = self._as_events(x)
        return self._conjugate(x, self._transform)

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Solve for the coordinates one by one; the log-det is that of `forward`, negated."""
        y = self._as_events(y)
        return self._conjugate(y, self._solve)

    def _conjugate(self, x, transform):
        """Apply Q^T, then `transform` to the first M coordinates, then Q; its log-dets cancel."""
        size = self.num_units
        if size > x.shape[-1]:
            raise ValueError(
                f"`b` must have at most the event's size; got {size} units and an event of size "
                f"{x.shape[-1]}."
            )
        if self._orthogonal is not None:
            x = jnp.asarray(self._orthogonal.inverse(x))
        z, log_det = transform(x[..., :size])
        rest = jnp.broadcast_to(x[..., size:], (*z.shape[:-1], x.shape[-1] - size))
        y = jnp.concatenate([z, rest], axis=-1)
        if self._orthogonal is not None:
            y = jnp.asarray(self._orthogonal.forward(y))
        return y, log_det

    def _transform(self, z):
        z, b, (upper1, diagonal1), (upper2, diagonal2), m = self._aligned(z)
        h, slope = value_and_slope(self._unit, matvec(upper2, z) + diagonal2 * z + b)
        y = z + matvec(upper1, h) + diagonal1 * h
        return y, sum_last(jnp.log1p(slope * m), y)

    def _solve(self, y):
        y, b, (upper1, diagonal1), (upper2, diagonal2), m = self._aligned(y)
        shape = jnp.broadcast_shapes(y.shape, b.shape, m.shape)
        y, b, m = (jnp.broadcast_to(array, shape) for array in (y, b, m))

        def solve_last(known, i):
            z, h = known  # zero at and before i, where the strictly upper rows are zero too
            left = y[..., i] - jnp.sum(upper1[..., i, :] * h, axis=-1)
            offset = b[..., i] + jnp.sum(upper2[..., i, :] * z, axis=-1)
            a = solve_unit(m[..., i], diagonal2[..., i] * left + offset, self._unit)
            h_i = self._unit(a)
            z_i = left - diagonal1[..., i] * h_i
            return (z.at[..., i].set(z_i), h.at[..., i].set(h_i)), None

        zeros = vary_like(jnp.zeros_like(y), y, b, m)
        (z, _), _ = jax.lax.scan(solve_last, (zeros, zeros), jnp.arange(shape[-1]), reverse=True)
        return z, -self._transform(z)[1]

    def _aligned(self, z):
        """Return z and b; strict upper part and diagonal of R1, made feasible, and of R2; and m.

        Matrices have one axis more than vectors; all vectors have the same rank.
        """
        r1, r2, z, b = align(self._r1, self._r2, z[..., None], self._b[..., None])
        diagonal1, diagonal2 = (jnp.diagonal(r, axis1=-2, axis2=-1) for r in (r1, r2))
        m, log_share = make_feasible(diagonal1 * diagonal2)
        first = jnp.triu(r1, 1), jnp.exp(log_share) * diagonal1
        return z[..., 0], b[..., 0], first, (jnp.triu(r2, 1), diagonal2), m


def _check_linear(orthogonal):
    if not isinstance(orthogonal, distrax.Bijector):
        raise TypeError(
            "`orthogonal` must be a distrax bijector, such as `Householder`, or None; "
            f"got {orthogonal=}."
        )
    ranks = orthogonal.event_ndims_in, orthogonal.event_ndims_out
    if ranks != (1, 1) or not orthogonal.is_constant_jacobian:
        raise ValueError(
            "`orthogonal` must be a bijector of vectors with a constant Jacobian, such as "
            f"`Householder`; got {orthogonal.name} with event_ndims_in={ranks[0]} and "
            f"is_constant_jacobian={orthogonal.is_constant_jacobian}."
        )
