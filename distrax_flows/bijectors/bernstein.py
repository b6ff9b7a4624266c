"""Increasing Bernstein polynomial."""

import functools
import math
import operator

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
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

__all__ = ["BernsteinPolynomial"]

_MAX_DEGREE = 64


class BernsteinPolynomial(Bijector):
    """Increasing polynomial in Bernstein form on an interval, continued by lines.

    With [a, b] = [range_min, range_max], u = (x - a) / (b - a) and M the degree,

        B(u) = sum_k theta_k C(M, k) u^k (1 - u)^(M - k),   k = 0..M
        theta_0 = a + (b - a) params_0
        theta_{k+1} - theta_k = (b - a) / M exp(c tanh(r_k / c)),   c = max_log_slope.

    The r_k are the other parameters. The first is used for the first two increments and the last
    for the last two. So B'' = 0 at both ends, and the lines that continue B outside [a, b] join it
    smoothly. There are 1 + max(M - 2, 1) parameters; with M < 4 the map is one line.

    Guarantees. All-zero parameters give the identity. The map is increasing and twice continuously
    differentiable on the real line, and infinitely often except at a and b. Its slope stays between
    exp(-c) and exp(c) for any parameters; the papers' softplus bounds it on neither side. In
    float32 with the defaults, `inverse(forward(x))` is off by less than 1e-5 (b - a) for parameters
    sampled from N(0, 1), and by less than 2e-4 (b - a) for any r_k, up to degree 64: rounding
    errors hardly grow with the degree.

    Elementwise: `params[..., 0]` and the input broadcast against each other. `forward` takes O(M)
    operations. `inverse` finds a root, at the cost of ten to twenty evaluations, and is exact on
    the lines.

    Args:
        params: `[..., 1 + max(M - 2, 1)]`, float32 or wider.
        degree: the degree M, from 1 to 64.
        range_min: the lower end a.
        range_max: the upper end b.
        max_log_slope: the bound c of the logarithm of the slope.

    Raises:
        TypeError: `params` is not floating, or narrower than float32.
        ValueError: the size of `params` does not fit `degree`, or an option is out of its range;
            or, when called, the dtype of the input is too coarse for [a, b], or `params` does not
            broadcast.

    Reference:
        Sick et al., "Deep transformation models", 2020, the map h^MLT; Ramasinghe et al., "Robust
        normalizing flows using Bernstein-type polynomials", 2021. On the stability of the form:
        Farouki, "The Bernstein polynomial basis: a centennial retrospective", 2012.

    Example:
        >>> import jax.numpy as jnp
        >>> params = jnp.zeros(1 + 6).at[3].set(1.0)
        >>> bijector = BernsteinPolynomial(params, degree=8, range_min=-5.0, range_max=5.0)
        >>> y = bijector.forward(jnp.array([-7.0, 1.0, 7.0]))
        >>> print(y.round(4), bijector.inverse(y).round(4))
        [-7.      2.677   9.0295] [-7.  1.  7.]
    """

    def __init__(
        self,
        params: Float[ArrayLike, "... P"],
        degree: int,
        range_min: float,
        range_max: float,
        max_log_slope: float = 3.0,
    ):
        super().__init__(event_ndims_in=0)
        params = check_params(params)
        degree = check_positive_int("degree", degree)
        if degree > _MAX_DEGREE:
            raise ValueError(f"`degree` must be at most {_MAX_DEGREE}; got {degree=}.")
        size = 1 + max(degree - 2, 1)
        if params.shape[-1] != size:
            raise ValueError(
                "`params` must have a last axis of size 1 + max(degree - 2, 1), which is "
                f"{size} for {degree=}; got params.shape={params.shape}."
            )
        check_range("range_min", range_min, "range_max", range_max)
        check_positive("max_log_slope", max_log_slope)
        self._params = params
        self._degree = degree
        self._range_min = float(range_min)
        self._range_max = float(range_max)
        self._max_log_slope = float(max_log_slope)

    @property
    def degree(self) -> int:
        """The degree M."""
        return self._degree

    @property
    def coefficients(self) -> Float[Array, "... coefficients"]:
        """The coefficients theta of the polynomial, in increasing order."""
        shares, _ = self._shares(self._params)
        return self._range_min + (self._range_max - self._range_min) * shares

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
        shares, slopes = self._shares(params)
        low, size = self._range_min, self._range_max - self._range_min

        def curve(x):
            u = (x - low) / size
            return low + size * _bernstein(shares, u), _bernstein(slopes, u)

        return curve

    def _shares(self, params):
        """Return the coefficients of B, as fractions of the range, and of its slope."""
        slopes = jnp.exp(soft_clip(params[..., 1:], self._max_log_slope))
        tied = [slopes[..., :1], slopes, slopes[..., -1:]]
        slopes = jnp.concatenate(tied, axis=-1)[..., : self._degree]
        # A product with a triangle of ones, because XLA's cumulative sum is slower.
        sums = np.triu(np.full((self._degree, self._degree + 1), 1 / self._degree), 1)
        increases = jnp.matmul(slopes, jnp.asarray(sums, slopes.dtype), precision="highest")
        return params[..., :1] + increases, slopes


@jax.custom_jvp
def _bernstein(coefficients: Float[Array, "... coefficients"], u: Float[Array, "..."]):
    """Evaluate the polynomial of degree M in Bernstein form at u; leading axes broadcast."""
    weights = _weights(coefficients.shape[-1] - 1, u)
    terms = (weight * coefficients[..., k] for k, weight in enumerate(weights))
    return _sum(terms) / _sum(weights)


@functools.partial(_bernstein.defjvp, symbolic_zeros=True)
def _bernstein_jvp(primals, tangents):
    coefficients, u = primals
    degree = coefficients.shape[-1] - 1
    value = _bernstein(coefficients, u)
    tangent = jnp.zeros_like(value)
    if not isinstance(tangents[0], SymbolicZero):
        weights = _weights(degree, u)
        basis = jnp.stack(weights, axis=-1) / _sum(weights)[..., None]
        tangent += jnp.sum(basis * tangents[0], axis=-1)
    if degree > 0 and not isinstance(tangents[1], SymbolicZero):
        # Differences instead of derivatives of the weights: positive terms, and no 0 / 0.
        tangent += degree * _bernstein(jnp.diff(coefficients, axis=-1), u) * tangents[1]
    return value, tangent


def _weights(degree: int, u: jax.Array) -> list[jax.Array]:
    """Return the Bernstein basis at u, k = 0..M, up to a common factor of 1 + O(M eps).

    That factor is the sum of the basis, and the caller divides by it. A relative error eps of 1 - u
    becomes M eps in its M-th power, but in the ratio it is as harmless as an error eps of u. Powers
    are built by halving the exponent, so errors hardly grow with M. De Casteljau's algorithm takes
    M^2 operations and was found to be less accurate.
    """
    powers = _powers(u, degree), _powers(1 - u, degree)
    return [
        float(math.comb(degree, k)) * powers[0][k] * powers[1][degree - k]
        for k in range(degree + 1)
    ]


def _powers(x: jax.Array, largest: int) -> list[jax.Array]:
    powers = [jnp.ones_like(x), x]
    for k in range(2, largest + 1):
        powers.append(powers[k // 2] * powers[k - k // 2])
    return powers


def _sum(terms) -> jax.Array:
    # Unrolled: a reduction over a short last axis, once fused, is slow on a CPU.
    return functools.reduce(operator.add, terms)
