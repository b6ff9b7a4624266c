"""Coupling flows."""

from typing import Unpack

import distrax

from distrax_flows import families
from distrax_flows.families import Family
from distrax_flows.flows._assemble import FlowOptions, assemble
from distrax_flows.flows._layers import Layers, coupling_layer, reaching_spline
from distrax_flows.modules import (
    ActNormLayer,
    Layer,
    LULinearLayer,
    ScaleLayer,
    compose,
)

__all__ = ["bernstein_coupling", "coupling", "glow", "nice", "nsf_coupling", "realnvp"]


def coupling(
    event_size: int, family: Family, **options: Unpack[FlowOptions]
) -> distrax.Transformed:
    """Coupling flow: each layer transforms one half of the event, given the other half.

        y_a = x_a,   y_b = f(x_b; theta(x_a)),   then `between` mixes the dimensions

    Density and sampling both take one pass. See the package's docstring for the arguments;
    `family` is one of `distrax_flows.families`.

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


def nice(event_size: int, **options: Unpack[FlowOptions]) -> distrax.Transformed:
    """NICE: additive couplings, then a learned scale of each dimension, next to the base.

    The log-det is constant in x. Density and sampling both take one pass. The paper's base is
    logistic: `base=distrax.Independent(distrax.Logistic(jnp.zeros(D), jnp.ones(D)), 1)`. The
    package's docstring has the arguments.

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


def realnvp(
    event_size: int, *, max_log_scale: float = 5.0, **options: Unpack[FlowOptions]
) -> distrax.Transformed:
    """RealNVP: affine couplings with a bounded scale (`families.affine`).

    Density and sampling both take one pass. The package's docstring has the other arguments.

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


def nsf_coupling(
    event_size: int,
    *,
    num_bins: int = 8,
    range_min: float = -5.0,
    range_max: float = 5.0,
    **options: Unpack[FlowOptions],
) -> distrax.Transformed:
    """Neural spline flow, coupling: rational-quadratic splines with learned linear tails.

    Density and sampling both take one pass. A spline maps `[range_min, range_max]` onto itself, so
    that splines alone never reach beyond it: seen from the data, each is preceded by an affine map
    that the same network gives, `families.chain(families.affine(), families.spline())`. Data of
    about unit scale, or `standardize=True`, are best: outside of the interval each spline is a
    line. `coupling(event_size, families.spline())` has splines alone. The package's docstring has
    the other arguments.

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


def bernstein_coupling(
    event_size: int,
    *,
    degree: int = 16,
    range_min: float = -5.0,
    range_max: float = 5.0,
    **options: Unpack[FlowOptions],
) -> distrax.Transformed:
    """Couplings by Bernstein polynomials (`families.bernstein`).

    `log_prob` takes one pass. `sample` takes one pass too, with a numerical root per layer and
    dimension, found to the accuracy that `BernsteinPolynomial` states. Outside of
    `[range_min, range_max]` the polynomials continue as lines: the data should be of about unit
    scale, or standardised. The package's docstring has the other arguments.

    Reference:
        Ramasinghe et al., "Robust normalizing flows using Bernstein-type polynomials", 2021.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.bernstein_coupling(2, num_layers=4))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 2)))
        >>> flow.sample(params, jax.random.key(1), (10,)).shape
        (10, 2)
    """
    return coupling(
        event_size, families.inverse(families.bernstein(degree, range_min, range_max)), **options
    )


def glow(
    event_size: int, family: Family | None = None, **options: Unpack[FlowOptions]
) -> distrax.Transformed:
    """Glow's steps on vectors: activation normalisation, an invertible linear map, a coupling.

    Seen from the data, each step normalises (`ActNormLayer`, initialised on the data), multiplies
    by a matrix in its LU form (`LULinearLayer`, at first a random rotation) and transforms one half
    of the event given the other. Density and sampling both take one pass. `family` is affine if
    None. It starts as a linear map, not as the identity. The package's docstring has the arguments.

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
    between = compose(ActNormLayer(), LULinearLayer())
    return coupling(event_size, family, **{"between": between, **options})
