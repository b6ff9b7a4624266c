"""Scalar families: what a coupling or an autoregressive layer does to one dimension.

A layer is a conditioner, a family and a structure. The conditioner gives `num_params`
unconstrained numbers per dimension, the family turns them into a scalar bijector. All-zero
parameters give the identity, so that a flow whose conditioners end in a zero layer starts there.
"""

import dataclasses

import distrax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows._checks import check_positive, check_positive_int
from distrax_flows._numerics import soft_clip
from distrax_flows._types import BijectorFn
from distrax_flows.bijectors.spline import RationalQuadraticSpline

__all__ = ["Family", "additive", "affine", "chain", "spline"]


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of scalar bijectors.

    Attributes:
        num_params: unconstrained parameters per dimension, P.
        bijector: from parameters `[..., P]` to a scalar bijector of batch shape `[...]`; pure,
            the identity at zero.
    """

    num_params: int
    bijector: BijectorFn


def additive() -> Family:
    """`y = x + theta_0`: volume-preserving (NICE).

    Reference:
        Dinh et al., "NICE: Non-linear Independent Components Estimation", 2014, eq. 8.

    Example:
        >>> import jax.numpy as jnp
        >>> print(additive().bijector(jnp.array([3.0])).forward(jnp.ones(())))
        4.0
    """

    def bijector(params: Float[Array, "... 1"]) -> distrax.Bijector:
        shift = params[..., 0]
        # Without a log-scale, distrax's log-det would have the default dtype, not this one.
        return distrax.ScalarAffine(shift=shift, log_scale=jnp.zeros_like(shift))

    return Family(1, bijector)


def affine(max_log_scale: float = 5.0) -> Family:
    """`y = x exp(a tanh(theta_1 / a)) + theta_0`: RealNVP, MAF, IAF.

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
        return distrax.ScalarAffine(
            shift=params[..., 0], log_scale=soft_clip(params[..., 1], max_log_scale)
        )

    return Family(2, bijector)


def spline(
    num_bins: int = 8,
    range_min: float = -5.0,
    range_max: float = 5.0,
    boundary_slopes: str = "unconstrained",
) -> Family:
    """Rational-quadratic spline (NSF), with `3 * num_bins + 1` parameters per dimension.

    See `RationalQuadraticSpline` for the arguments, the accuracy promised and the reference.

    Example:
        >>> import jax.numpy as jnp
        >>> print(spline(num_bins=4).bijector(jnp.zeros(13)).forward(jnp.ones(())).round(4))
        1.0
    """
    num_bins = check_positive_int("num_bins", num_bins)

    def bijector(params: Float[Array, "... P"]) -> distrax.Bijector:
        return RationalQuadraticSpline(params, range_min, range_max, boundary_slopes)

    bijector(jnp.zeros(3 * num_bins + 1))  # refuses a bad range here, not inside the flow
    return Family(3 * num_bins + 1, bijector)


def chain(*families: Family) -> Family:
    """Composes families; the last one listed acts first, as in `distrax.Chain`.

    `chain(affine(), spline())` is a spline followed by an affine map: seen from the data, the
    affine map first brings each dimension, given the others, into the spline's range.

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

    return Family(sum(sizes), bijector)
