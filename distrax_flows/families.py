"""Scalar families: the maps that coupling and autoregressive layers apply to one dimension.

A layer is a conditioner, a family and a structure. The conditioner returns `num_params`
unconstrained numbers per dimension; the family turns them into a scalar bijector. All-zero
parameters give the identity, so a flow whose conditioners end in a zero layer starts there.
"""

import dataclasses
import math

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from distrax_flows._core.checks import check_positive, check_positive_int
from distrax_flows._core.types import BijectorFn
from distrax_flows.bijectors.affine import Additive, Affine
from distrax_flows.bijectors.bernstein import BernsteinPolynomial
from distrax_flows.bijectors.circular import CircularShift
from distrax_flows.bijectors.mixture_cdf import LogisticMixtureCDF, component_factors
from distrax_flows.bijectors.spline import RationalQuadraticSpline
from distrax_flows.bijectors.sum_of_squares import SumOfSquares

__all__ = [
    "Family",
    "additive",
    "affine",
    "bernstein",
    "chain",
    "circular_spline",
    "deep_sigmoidal",
    "inverse",
    "logistic_mixture",
    "spline",
    "sum_of_squares",
]


# At the start of training, the means of mixture components lie between minus this and this.
_SPREAD = 0.5


@dataclasses.dataclass(frozen=True)
class Family:
    """Family of scalar bijectors.

    Attributes:
        num_params: unconstrained parameters per dimension, P.
        bijector: maps parameters `[..., P]` to a scalar bijector of batch shape `[...]`; pure, and
            the identity at zero.
        start: `P` numbers, the parameters at which training starts; zeros if None. Set it for
            families whose identity is a saddle of the likelihood.
        is_affine: whether every bijector of the family is affine, so that a single dimension stays
            Gaussian on a Gaussian base.
    """

    num_params: int
    bijector: BijectorFn
    start: tuple[float, ...] | None = None
    is_affine: bool = False

    def __post_init__(self):
        if self.start is not None and len(self.start) != self.num_params:
            raise ValueError(
                f"`start` must hold `num_params` numbers; got {len(self.start)} for "
                f"num_params={self.num_params}."
            )


def additive() -> Family:
    """Return the family `y = x + theta_0`: volume-preserving (NICE).

    Reference:
        Dinh et al., "NICE: Non-linear Independent Components Estimation", 2014, eq. 8.

    Example:
        >>> import jax.numpy as jnp
        >>> print(additive().bijector(jnp.array([3.0])).forward(jnp.ones(())))
        4.0
    """
    return Family(1, Additive, is_affine=True)


def affine(max_log_scale: float = 5.0) -> Family:
    """Return the family `y = x exp(a tanh(theta_1 / a)) + theta_0`: RealNVP, MAF, IAF.

    Args:
        max_log_scale: the bound a; scales stay between `exp(-a)` and `exp(a)`.

    Raises:
        ValueError: `max_log_scale` is not a finite number above 0.

    Reference:
        Dinh et al., "Density estimation using Real NVP", 2017, eqs. 7-8, with a bounded scale.

    Example:
        >>> import jax.numpy as jnp
        >>> print(affine().bijector(jnp.array([3.0, 0.0])).forward(jnp.ones(())))
        4.0
    """
    check_positive("max_log_scale", max_log_scale)

    def bijector(params: Float[Array, "... 2"]) -> distrax.Bijector:
        return Affine(params, max_log_scale)

    return Family(2, bijector, is_affine=True)


def spline(
    num_bins: int = 8,
    range_min: float = -5.0,
    range_max: float = 5.0,
    boundary_slopes: str = "unconstrained",
) -> Family:
    """Return rational-quadratic splines (NSF), with `3 * num_bins + 1` parameters per dimension.

    See `RationalQuadraticSpline` for the guaranteed accuracy and the reference.

    Args:
        num_bins: bins of each spline, K.
        range_min: lower end of the interval.
        range_max: upper end.
        boundary_slopes: choice of the slopes at the ends; see `RationalQuadraticSpline`.

    Example:
        >>> import jax.numpy as jnp
        >>> print(spline(num_bins=4).bijector(jnp.zeros(13)).forward(jnp.ones(())).round(4))
        1.0
    """
    num_bins = check_positive_int("num_bins", num_bins)

    def bijector(params: Float[Array, "... P"]) -> distrax.Bijector:
        return RationalQuadraticSpline(params, range_min, range_max, boundary_slopes)

    bijector(jnp.zeros(3 * num_bins + 1))  # raises for a bad range here, not inside the flow
    return Family(3 * num_bins + 1, bijector)


def bernstein(degree: int = 16, range_min: float = -5.0, range_max: float = 5.0) -> Family:
    """Return Bernstein polynomials, with `1 + max(degree - 2, 1)` parameters per dimension.

    See `BernsteinPolynomial` for the guaranteed accuracy and the reference. Its inverse is
    numerical; `inverse(bernstein())` needs it for sampling, not for `log_prob`.

    Args:
        degree: degree of the polynomials, M, from 1 to 64.
        range_min: lower end of the interval.
        range_max: upper end.

    Example:
        >>> import jax.numpy as jnp
        >>> print(bernstein(degree=8).bijector(jnp.zeros(7)).forward(jnp.ones(())).round(4))
        1.0
    """
    size = 1 + max(check_positive_int("degree", degree) - 2, 1)

    def bijector(params: Float[Array, "... P"]) -> distrax.Bijector:
        return BernsteinPolynomial(params, degree, range_min, range_max)

    bijector(jnp.zeros(size))  # raises for a bad degree or range here, not inside the flow
    return Family(size, bijector)


def logistic_mixture(num_components: int = 8) -> Family:
    """Return mixtures of logistic distribution functions, `3 K + 2` parameters each (Flow++).

    See `LogisticMixtureCDF` for the formula, the bounds on its slope and the reference. Its inverse
    is numerical: `inverse(logistic_mixture())` needs it for sampling, not for `log_prob`.

    Training starts near the identity, with the means of the components spread over [-1/2, 1/2]
    and a slope of 1 between them. At the identity itself all components are equal, and for
    symmetric data every gradient that would separate them is zero.

    Args:
        num_components: components of each mixture, K.

    Example:
        >>> import jax.numpy as jnp
        >>> family = logistic_mixture(num_components=4)
        >>> print(family.num_params, family.bijector(jnp.zeros(14)).forward(jnp.ones(())).round(4))
        14 1.0
    """
    num_components = check_positive_int("num_components", num_components)
    size = 3 * num_components + 2
    start = np.zeros(size)
    if num_components > 1:
        means = np.linspace(-_SPREAD, _SPREAD, num_components)
        start[num_components : 2 * num_components] = means / component_factors(num_components)
        # Spread components flatten the map between them. The scale compensates, as this would add
        # up over many layers. Computed eagerly, even if the flow is built under a trace.
        with jax.ensure_compile_time_eval():
            mixture = LogisticMixtureCDF(jnp.asarray(start))
            _, log_slope = mixture.forward_and_log_det(jnp.zeros(()))
        start[-2] = -float(log_slope)
    return Family(size, LogisticMixtureCDF, start=tuple(start.tolist()))


def deep_sigmoidal(num_units: int = 8, num_layers: int = 2) -> Family:
    """Return deep sigmoidal flows (NAF): monotone networks of sigmoids, in logit space.

    A layer of the paper, `logit(sum_k w_k sigma(a_k x + b_k))`, is the logistic mixture of Flow++
    with `a_k = exp(-s_k)`, `b_k = -m_k exp(-s_k)`. This family is a chain of them, each followed by
    a scale and a shift, with `num_layers * (3 * num_units + 2)` parameters. Training starts near
    the identity, as for `logistic_mixture`.

    Args:
        num_units: sigmoids of each layer, K.
        num_layers: number of layers.

    Reference:
        Huang et al., "Neural Autoregressive Flows", 2018, eq. 8.

    Example:
        >>> import jax.numpy as jnp
        >>> family = deep_sigmoidal(num_units=4)
        >>> print(family.num_params, family.bijector(jnp.zeros(28)).forward(jnp.ones(())).round(4))
        28 1.0
    """
    num_layers = check_positive_int("num_layers", num_layers)
    num_units = check_positive_int("num_units", num_units)
    return chain(*[logistic_mixture(num_units)] * num_layers)


def sum_of_squares(degree: int = 3, range_min: float = -5.0, range_max: float = 5.0) -> Family:
    """Return polynomials whose slope is a sum of squares, with `2 * degree + 3` parameters each.

    See `SumOfSquares` for the bounds on its slope and the reference. Its inverse is numerical:
    `inverse(sum_of_squares())` needs it for sampling, not for `log_prob`.

    Args:
        degree: degree of the squared polynomials, L.
        range_min: lower end of the interval.
        range_max: upper end.

    Example:
        >>> import jax.numpy as jnp
        >>> print(sum_of_squares(degree=2).bijector(jnp.zeros(7)).forward(jnp.ones(())).round(4))
        1.0
    """
    size = 2 * check_positive_int("degree", degree) + 3

    def bijector(params: Float[Array, "... P"]) -> distrax.Bijector:
        return SumOfSquares(params, degree, range_min, range_max)

    bijector(jnp.zeros(size))
    return Family(size, bijector)


def circular_spline(
    num_bins: int = 8, range_min: float = -math.pi, range_max: float = math.pi
) -> Family:
    """Return splines of a circle onto itself and a shift, with `3 * num_bins + 1` parameters.

    A rational-quadratic spline whose ends on `[range_min, range_max)` agree, followed by a learned
    shift that wraps around (`CircularShift`), so no point of the circle is special. Use it with a
    base on the circle, such as a uniform one.

    Args:
        num_bins: bins of each spline, K.
        range_min: point at which the circle is cut.
        range_max: the same point, one turn later.

    Reference:
        Rezende et al., "Normalizing Flows on Tori and Spheres", 2020, section 2.2.

    Example:
        >>> import jax.numpy as jnp
        >>> family = circular_spline(num_bins=4)
        >>> turn = family.bijector(jnp.zeros(13).at[12].set(3.0))
        >>> print(turn.forward(jnp.array(2.0)).round(4), "= 5 - 2 pi")
        -1.2832 = 5 - 2 pi
    """
    bent = spline(num_bins, range_min, range_max, "circular")

    def bijector(params: Float[Array, "... P"]) -> distrax.Bijector:
        # A circular spline ignores the last parameter: its slope there is that at the other end.
        shift = CircularShift(params[..., -1], range_min, range_max)
        return distrax.Chain([shift, bent.bijector(params)])

    return Family(bent.num_params, bijector)


def chain(*families: Family) -> Family:
    """Compose families; the last one listed acts first, as in `distrax.Chain`.

    `chain(affine(), spline())` is a spline followed by an affine map. Seen from the data, the
    affine map first brings each dimension, given the others, into the spline's range.

    Args:
        *families: the families.

    Raises:
        ValueError: no family is given.

    Example:
        >>> import jax.numpy as jnp
        >>> family = chain(additive(), affine())
        >>> bijector = family.bijector(jnp.array([3.0, 1.0, 0.0]))
        >>> print(family.num_params, bijector.forward(jnp.ones(())))
        3 5.0
    """
    if not families:
        raise ValueError("`families` must hold at least one family; got none.")
    sizes = [family.num_params for family in families]
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]

    def bijector(params: Float[Array, "... P"]) -> distrax.Bijector:
        parts = jnp.split(params, ends[:-1], axis=-1)
        return distrax.Chain(
            [family.bijector(part) for family, part in zip(families, parts, strict=True)]
        )

    start = None
    if any(family.start is not None for family in families):
        starts = [family.start or (0.0,) * family.num_params for family in families]
        start = tuple(number for own in starts for number in own)
    is_affine = all(family.is_affine for family in families)
    return Family(sum(sizes), bijector, start, is_affine)


def inverse(family: Family) -> Family:
    """Swap the directions of a family, so that `log_prob` uses its closed form.

    A coupling or an independent flow evaluates densities with a family's `inverse`. If that is
    numerical, the swapped family is faster there, and sampling needs the root finder instead.

    Args:
        family: the family.

    Example:
        >>> import jax.numpy as jnp
        >>> print(inverse(additive()).bijector(jnp.array([3.0])).forward(jnp.ones(())))
        -2.0
    """
    return dataclasses.replace(
        family, bijector=lambda params: distrax.Inverse(family.bijector(params))
    )
