"""Increasing polynomial whose slope is a sum of squares."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.checks import (
    check_positive,
    check_positive_int,
    check_range,
    check_resolution,
)
from distrax_flows._core.numerics import soft_clip
from distrax_flows._core.types import ArrayLike
from distrax_flows.bijectors._base import Bijector
from distrax_flows.bijectors._scalar import (
    check_params,
    forward_with_tails,
    inverse_with_tails,
    spread,
)

__all__ = ["SumOfSquares"]

# Equal factors would give equal polynomials equal gradients at every step, so the second
# polynomial learns at half the pace.
_FACTORS = (1.0, 0.5)


class SumOfSquares(Bijector):
    """Increasing polynomial of degree 2L + 1 on an interval, continued by lines.

    With [a, b] = [range_min, range_max], t = (2 x - a - b) / (b - a), L the degree, T_j the
    Chebyshev polynomials and eps = min_slope,

        y = (a + b) / 2 + (b - a) (params_0 + 1/2 int_0^t q(v) dv)
        q(t) = eps + p_1(t)^2 + p_2(t)^2,   p_k(t) = sqrt((1 - eps) / 2) + sum_j a_kj T_j(t)

    j = 0..L. The coefficients a_kj are the other parameters, those of p_1 first. They are bounded
    by `c tanh(. / c)`, c = max_coefficient, and halved in p_2. Two squares are enough: any
    non-negative polynomial is the sum of two. The paper writes the p_k in powers of x, on the whole
    line, unbounded. Powers make training slow, and such polynomials overflow far out.

    Guarantees. All-zero parameters give the identity. The map is increasing and continuously
    differentiable on the real line, and infinitely often except at a and b. Its slope, q, stays
    above eps and below 2 (1 + c (L + 1))^2 for any parameters. In float32 with the defaults and
    L = 3, `inverse(forward(x))` is off by less than 1e-4 (b - a) for any coefficients.

    Elementwise: `params[..., 0]` and the input broadcast against each other. `forward` takes
    O(L^2) operations: a quadrature that is exact for polynomials and has only positive terms.
    `inverse` finds a root, at the cost of ten to twenty evaluations, and is exact on the lines.

    Args:
        params: `[..., 2L + 3]`, float32 or wider.
        degree: the degree L of the squared polynomials.
        range_min: the lower end a.
        range_max: the upper end b.
        max_coefficient: the bound c.
        min_slope: the least slope eps, between 0 and 1.

    Raises:
        TypeError: `params` is not floating, or narrower than float32.
        ValueError: the size of `params` does not fit `degree`, or an option is out of its range;
            or, when called, the dtype of the input is too coarse for [a, b], or `params` does not
            broadcast.

    Reference:
        Jaini et al., "Sum-of-Squares Polynomial Flow", 2019, eqs. 9-10.

    Example:
        >>> import jax.numpy as jnp
        >>> params = jnp.zeros(2 * 3 + 3).at[3].set(1.0)
        >>> bijector = SumOfSquares(params, degree=3, range_min=-5.0, range_max=5.0)
        >>> y = bijector.forward(jnp.array([-7.0, 0.0, 7.0]))
        >>> print(y.round(4), bijector.inverse(y).round(4))
        [-11.4746   0.      11.4746] [-7.  0.  7.]
    """

    def __init__(
        self,
        params: Float[ArrayLike, "... P"],
        degree: int,
        range_min: float,
        range_max: float,
        max_coefficient: float = 3.0,
        min_slope: float = 0.05,
    ):
        super().__init__(event_ndims_in=0)
        params = check_params(params)
        degree = check_positive_int("degree", degree)
        if params.shape[-1] != 2 * degree + 3:
            raise ValueError(
                f"`params` must have a last axis of size 2 * degree + 3, which is {2 * degree + 3} "
                f"for {degree=}; got params.shape={params.shape}."
            )
        check_range("range_min", range_min, "range_max", range_max)
        check_positive("max_coefficient", max_coefficient)
        if not 0 < min_slope < 1:
            raise ValueError(f"`min_slope` must be between 0 and 1; got {min_slope=}.")
        self._params = params
        self._degree = degree
        self._range_min = float(range_min)
        self._range_max = float(range_max)
        self._max_coefficient = float(max_coefficient)
        self._min_slope = float(min_slope)

    @property
    def degree(self) -> int:
        """The degree L of the squared polynomials."""
        return self._degree

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Compute the polynomial and the logarithm of its slope."""
        params, x = self._aligned(x)
        return forward_with_tails(self._curve(params), x, self._range_min, self._range_max)

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Find the root; the log-det is that of `forward` there, negated."""
        params, y = self._aligned(y)
        return inverse_with_tails(self._curve(params), y, self._range_min, self._range_max)

    def _aligned(self, x):
        params, x = spread(self._params, self._as_events(x))
        check_resolution("[range_min, range_max]", self._range_min, self._range_max, x.dtype)
        return params, x

    def _curve(self, params):
        middle = 0.5 * (self._range_min + self._range_max)
        half = 0.5 * (self._range_max - self._range_min)
        offset = middle + 2 * half * params[..., 0]
        coefficients = soft_clip(params[..., 1:], self._max_coefficient)
        halves = jnp.split(coefficients, 2, axis=-1)
        first = math.sqrt(0.5 * (1 - self._min_slope))

        def slope(t: jax.Array) -> jax.Array:
            # T_{j+1} = 2 t T_j - T_{j-1}.
            chebyshev = [jnp.ones_like(t), t]
            for _ in range(2, self._degree + 1):
                chebyshev.append(2 * t * chebyshev[-1] - chebyshev[-2])
            q = jnp.full_like(t, self._min_slope)
            for factor, a in zip(_FACTORS, halves, strict=True):
                p = sum(a[..., j] * basis for j, basis in enumerate(chebyshev))
                q += (first + factor * p) ** 2
            return q

        # Gauss's rule on [0, t] with L + 1 nodes is exact up to degree 2L + 1.
        nodes, weights = np.polynomial.legendre.leggauss(self._degree + 1)

        def curve(x: jax.Array) -> tuple[jax.Array, jax.Array]:
            t = (x - middle) / half
            integral = sum(
                float(0.5 * weight) * slope(float(0.5 + 0.5 * node) * t)
                for node, weight in zip(nodes, weights, strict=True)
            )
            return offset + half * t * integral, slope(t)

        return curve
