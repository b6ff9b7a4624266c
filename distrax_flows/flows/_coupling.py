"""Coupling flows."""

from typing import Unpack

from distrax_flows import families
from distrax_flows._core.options import Option, takes
from distrax_flows.families import Family
from distrax_flows.flows._assemble import FlowOptions, assemble
from distrax_flows.flows._layers import Layers, coupling_layer, reaching_spline
from distrax_flows.flows._transformed import Transformed
from distrax_flows.modules import (
    ActNormLayer,
    Layer,
    LULinearLayer,
    ScaleLayer,
    compose,
)

__all__ = ["bernstein_coupling", "coupling", "glow", "nice", "nsf_coupling", "realnvp"]


@takes(FlowOptions)
def coupling(event_size: int, family: Family, **options: Unpack[FlowOptions]) -> Transformed:
    """Coupling flow: each layer transforms one half of the event, given the other half.

        y_a = x_a,   y_b = f(x_b; theta(x_a)),   then `between` mixes the dimensions

    Density and sampling both take one pass.

    Args:
        event_size: number of dimensions, D. A single one is transformed unconditionally.
        family: transformation of one dimension, one of `distrax_flows.families`.
        **options: those of `FlowOptions`.

    Reference:
        Dinh et al., "Density estimation using Real NVP", 2017, section 3.2.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.coupling(3, dxf.families.spline(num_bins=4)))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 3)))
        >>> flow.sample(params, jax.random.key(1), (10,)).shape
        (10, 3)
    """
    return assemble(
        event_size,
        lambda layers: layers.stack(coupling_layer(family, layers)),
        family,
        **options,
    )


@takes(FlowOptions)
def nice(event_size: int, **options: Unpack[FlowOptions]) -> Transformed:
    """NICE: additive couplings, with a learned scale per dimension next to the base.

    The log-det is constant in x. Density and sampling both take one pass. The paper's base is
    logistic: `base=bases.logistic(D)`, here with a learned location and scale.

    Args:
        event_size: number of dimensions, D.
        **options: those of `FlowOptions`.

    Reference:
        Dinh et al., "NICE: Non-linear Independent Components Estimation", 2014, section 3.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.nice(2, num_layers=4))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 2)))
        >>> print(f"{flow.log_prob(params, jnp.zeros(2)):.4f}")
        -1.8379
    """
    family = families.additive()

    def make_layers(layers: Layers) -> Layer:
        return compose(layers.stack(coupling_layer(family, layers)), ScaleLayer())

    return assemble(event_size, make_layers, family, **options)


@takes(FlowOptions)
def realnvp(
    event_size: int, *, max_log_scale: float = 5.0, **options: Unpack[FlowOptions]
) -> Transformed:
    """RealNVP: affine couplings with a bounded scale (`families.affine`).

    Density and sampling both take one pass.

    Args:
        event_size: number of dimensions, D.
        max_log_scale: bound of the logarithm of a layer's scale, in either direction.
        **options: those of `FlowOptions`.

    Reference:
        Dinh et al., "Density estimation using Real NVP", 2017, eqs. 7-8.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.realnvp(2, num_layers=4))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 2)))
        >>> print(f"{flow.log_prob(params, jnp.zeros(2)):.4f}")
        -1.8379
    """
    return coupling(event_size, families.affine(max_log_scale), **options)


@takes(FlowOptions)
def nsf_coupling(
    event_size: int,
    *,
    num_bins: int = 8,
    range_min: float = -5.0,
    range_max: float = 5.0,
    **options: Unpack[FlowOptions],
) -> Transformed:
    """Neural spline flow, coupling: rational-quadratic splines with learned linear tails.

    Density and sampling both take one pass. A spline maps `[range_min, range_max]` onto itself, so
    splines alone never reach beyond it. Seen from the data, an affine map therefore precedes each
    spline, `families.chain(families.affine(), families.spline())`; the same network computes its
    parameters. Data should be roughly standardised, or use `standardize=True`: outside the interval
    each spline is a line. `coupling(event_size, families.spline())` uses splines alone.

    Args:
        event_size: number of dimensions, D.
        num_bins: bins of each spline, K.
        range_min: lower end of the interval of the splines.
        range_max: upper end.
        **options: those of `FlowOptions`.

    Reference:
        Durkan et al., "Neural Spline Flows", 2019, RQ-NSF (C).

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.nsf_coupling(2, num_layers=4))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 2)))
        >>> flow.sample(params, jax.random.key(1), (10,)).shape
        (10, 2)
    """
    return coupling(event_size, reaching_spline(num_bins, range_min, range_max), **options)


@takes(FlowOptions)
def bernstein_coupling(
    event_size: int,
    *,
    degree: int = 16,
    range_min: float = -5.0,
    range_max: float = 5.0,
    **options: Unpack[FlowOptions],
) -> Transformed:
    """Coupling flow of Bernstein polynomials (`families.bernstein`).

    `log_prob` takes one pass. So does `sample`, with a numerical root per layer and dimension, to
    the accuracy that `BernsteinPolynomial` states. Outside `[range_min, range_max]` the polynomials
    continue as lines, so data should be roughly standardised.

    Args:
        event_size: number of dimensions, D.
        degree: degree of the polynomials, M.
        range_min: lower end of the interval of the polynomials.
        range_max: upper end.
        **options: those of `FlowOptions`.

    Reference:
        Ramasinghe et al., "Robust normalizing flows using Bernstein-type polynomials", 2021.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.bernstein_coupling(2, num_layers=4))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 2)))
        >>> flow.sample(params, jax.random.key(1), (10,)).shape
        (10, 2)
    """
    family = families.inverse(families.bernstein(degree, range_min, range_max))
    return coupling(event_size, family, **options)


@takes(
    FlowOptions,
    changed={
        "between": Option(
            None,
            "a layer that mixes the dimensions after each coupling, seen from the base; the linear "
            "map and the normalisation above if None.",
        )
    },
)
def glow(
    event_size: int, family: Family | None = None, **options: Unpack[FlowOptions]
) -> Transformed:
    """Glow on vectors: each layer is an activation normalisation, a linear map and a coupling.

    Seen from the data, each layer normalises (`ActNormLayer`, initialised on the data), multiplies
    by a matrix in LU form (`LULinearLayer`, at first a random rotation) and transforms one half of
    the event given the other. Density and sampling both take one pass. It starts as a linear map,
    not at the identity.

    Args:
        event_size: number of dimensions, D.
        family: transformation of one dimension, one of `distrax_flows.families`; affine if None.
        **options: those of `FlowOptions`.

    Reference:
        Kingma & Dhariwal, "Glow: Generative Flow with Invertible 1x1 Convolutions", 2018,
        section 3.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.glow(4, num_layers=4))
        >>> data = 3 + jax.random.normal(jax.random.key(0), (100, 4))
        >>> params = flow.init(jax.random.key(1), data)
        >>> flow.sample(params, jax.random.key(2), (10,)).shape
        (10, 4)
    """
    family = families.affine() if family is None else family
    if options.get("between") is None:
        options["between"] = compose(ActNormLayer(), LULinearLayer())
    return coupling(event_size, family, **options)
