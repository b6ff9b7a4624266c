"""Flows that transform each dimension independently, with or without a context."""

from typing import Unpack

from distrax_flows import families
from distrax_flows._core.options import Option, takes
from distrax_flows._core.types import Shape
from distrax_flows.families import Family
from distrax_flows.flows._assemble import FlowOptions, assemble
from distrax_flows.flows._layers import elementwise_layer
from distrax_flows.flows._transformed import Transformed

__all__ = ["bernstein", "independent"]


@takes(
    FlowOptions,
    without=("between",),
    changed={"num_layers": Option(1, "number of layers, which compile as one.")},
)
def independent(
    event_shape: int | Shape, family: Family, **options: Unpack[FlowOptions]
) -> Transformed:
    """Independent dimensions: each is a scalar transformation of its base variable.

        y_d = f(x_d; theta_d),    theta free, or computed by a network from the context

    Both directions cost what the family costs. Networks are needed only with a context. A dimension
    on a circle gets a circular spline in place of `family`. Splines alone never reach beyond their
    interval; `families.chain(families.affine(), families.spline())` does.

    Args:
        event_shape: number of dimensions, D; or the shape of an event of any rank, `()` for
            scalars.
        family: transformation of one dimension, one of `distrax_flows.families`.
        **options: those of `FlowOptions`.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.independent(3, dxf.families.spline()))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 3)))
        >>> flow.sample(params, jax.random.key(1), (10,)).shape
        (10, 3)
    """
    return assemble(
        event_shape,
        lambda layers: layers.stack(elementwise_layer(family, layers)),
        family,
        coupled=False,
        **options,
    )


@takes(FlowOptions, without=("between", "num_layers", "remat", "unroll"))
def bernstein(
    event_size: int = 1, *, degree: int = 16, **options: Unpack[FlowOptions]
) -> Transformed:
    """Bernstein-polynomial flow of independent dimensions, with or without a context.

    Seen from the data: scale and shift, a polynomial, scale and shift.

        z_d = a_2 B(a_1 y_d + b_1) + b_2

    The first pair moves the data into the interval of the polynomial, [-3, 3], outside which it
    continues as a line; the second moves the result onto the base. All are learned. Data should be
    roughly standardised. `log_prob` is in closed form; `sample` takes a numerical root.

    With a context this is distributional regression: a network computes scales, shifts and
    coefficients from the covariates, so the density of a response may be skewed, heteroscedastic,
    or multimodal. Several responses are independent given the context; for dependent ones use
    `bernstein_autoregressive`.

    Args:
        event_size: number of dimensions, D.
        degree: degree of the polynomials, M.
        **options: those of `FlowOptions`.

    Reference:
        Sick et al., "Deep transformation models: Tackling complex regression problems with neural
        network based transformation models", 2020, section 3; Ramasinghe et al., "Robust
        normalizing flows using Bernstein-type polynomials", 2021.

    Example:
        >>> import distrax_flows as dxf, functools, jax, jax.numpy as jnp
        >>> flow = dxf.transform(functools.partial(dxf.flows.bernstein, degree=12))
        >>> covariates = jnp.linspace(-1.0, 1.0, 20)[:, None]
        >>> params = flow.init(jax.random.key(0), jnp.zeros((20, 1)), covariates)
        >>> flow.sample(params, jax.random.key(1), (5,), covariates).shape
        (5, 20, 1)
    """
    return independent(event_size, _scaled_bernstein(degree), **options)


def _scaled_bernstein(degree: int) -> Family:
    scale_shift = families.affine()
    # Standardised data fill this interval from the start, so every coefficient matters.
    polynomial = families.bernstein(degree, range_min=-3.0, range_max=3.0)
    return families.inverse(families.chain(scale_shift, polynomial, scale_shift))
