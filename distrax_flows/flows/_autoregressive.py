"""Autoregressive flows."""

from typing import Unpack

import distrax
import jax

from distrax_flows import families
from distrax_flows._core.checks import check_choice
from distrax_flows._core.options import takes
from distrax_flows._core.types import Fast
from distrax_flows.bijectors import MaskedAutoregressive
from distrax_flows.families import Family
from distrax_flows.flows._assemble import FlowOptions, assemble
from distrax_flows.flows._layers import Layers, elementwise_layer, reaching_spline
from distrax_flows.flows._transformed import Transformed
from distrax_flows.modules import MADE, Layer

__all__ = ["autoregressive", "bernstein_autoregressive", "iaf", "maf", "nsf_autoregressive"]


@takes(FlowOptions)
def autoregressive(
    event_size: int,
    family: Family,
    *,
    fast: Fast = "density",
    **options: Unpack[FlowOptions],
) -> Transformed:
    """Autoregressive flow: each layer transforms each dimension, given the ones before it.

    One direction takes one pass of each MADE. The other is sequential: D steps that together cost
    about as much as one pass (see `MaskedAutoregressive`). `fast` selects which; the two choices
    are different flows. `between` follows each layer.

    Args:
        event_size: number of dimensions, D.
        family: transformation of one dimension in the fast direction, one of
            `distrax_flows.families`.
        fast: "density" for `log_prob` in one pass (MAF), "sampling" for `sample` (IAF).
        **options: those of `FlowOptions`.

    Reference:
        Papamakarios et al., "Masked Autoregressive Flow for Density Estimation", 2017.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.autoregressive(3, dxf.families.additive()))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 3)))
        >>> flow.sample(params, jax.random.key(1), (10,)).shape
        (10, 3)
    """
    check_choice("fast", fast, ("density", "sampling"))
    return assemble(
        event_size,
        lambda layers: layers.stack(_layer(family, layers, fast)),
        family,
        **options,
    )


@takes(FlowOptions)
def maf(
    event_size: int,
    *,
    fast: Fast = "density",
    max_log_scale: float = 5.0,
    **options: Unpack[FlowOptions],
) -> Transformed:
    """Masked autoregressive flow: affine, fast density.

    `log_prob` takes one pass; `sample` is sequential (see `autoregressive`).

    Args:
        event_size: number of dimensions, D.
        fast: the direction that takes one pass, "density" or "sampling"; the latter is `iaf`.
        max_log_scale: bound of the logarithm of a layer's scale, in either direction.
        **options: those of `FlowOptions`.

    Reference:
        Papamakarios et al., "Masked Autoregressive Flow for Density Estimation", 2017, eqs. 3-5.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.maf(3, num_layers=4))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 3)))
        >>> print(f"{flow.log_prob(params, jnp.zeros(3)):.4f}")
        -2.7568
    """
    return autoregressive(event_size, families.affine(max_log_scale), fast=fast, **options)


@takes(FlowOptions)
def iaf(
    event_size: int,
    *,
    fast: Fast = "sampling",
    max_log_scale: float = 5.0,
    **options: Unpack[FlowOptions],
) -> Transformed:
    """Inverse autoregressive flow: affine, fast sampling.

    `sample` and `sample_and_log_prob` take one pass; `log_prob` is sequential (see
    `autoregressive`).

    Args:
        event_size: number of dimensions, D.
        fast: the direction that takes one pass, "sampling" or "density"; the latter is `maf`.
        max_log_scale: bound of the logarithm of a layer's scale, in either direction.
        **options: those of `FlowOptions`.

    Reference:
        Kingma et al., "Improving Variational Inference with Inverse Autoregressive Flow", 2016.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.iaf(3, num_layers=4))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 3)))
        >>> flow.sample(params, jax.random.key(1), (10,)).shape
        (10, 3)
    """
    return autoregressive(event_size, families.affine(max_log_scale), fast=fast, **options)


@takes(FlowOptions)
def nsf_autoregressive(
    event_size: int,
    *,
    fast: Fast = "density",
    num_bins: int = 8,
    range_min: float = -5.0,
    range_max: float = 5.0,
    **options: Unpack[FlowOptions],
) -> Transformed:
    """Neural spline flow, autoregressive: splines with learned linear tails.

    One direction takes one pass; the other is sequential (see `autoregressive`). As in
    `nsf_coupling`, an affine map, given the earlier dimensions, precedes each spline, seen from the
    data. Data should be roughly standardised.

    Args:
        event_size: number of dimensions, D.
        fast: the direction that takes one pass, "density" or "sampling".
        num_bins: bins of each spline, K.
        range_min: lower end of the interval of the splines.
        range_max: upper end.
        **options: those of `FlowOptions`.

    Reference:
        Durkan et al., "Neural Spline Flows", 2019, RQ-NSF (AR).

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.nsf_autoregressive(3, num_layers=4))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 3)))
        >>> flow.log_prob(params, jnp.zeros((10, 3))).shape
        (10,)
    """
    family = reaching_spline(num_bins, range_min, range_max)
    return autoregressive(event_size, _towards(family, fast), fast=fast, **options)


@takes(FlowOptions)
def bernstein_autoregressive(
    event_size: int,
    *,
    fast: Fast = "density",
    degree: int = 16,
    range_min: float = -5.0,
    range_max: float = 5.0,
    **options: Unpack[FlowOptions],
) -> Transformed:
    """Autoregressive flow of Bernstein polynomials (`families.bernstein`).

    One direction takes one pass; the other is sequential, with a numerical root at each step (see
    `autoregressive`). Outside `[range_min, range_max]` the polynomials continue as lines, so data
    should be roughly standardised.

    Args:
        event_size: number of dimensions, D.
        fast: the direction that takes one pass, "density" or "sampling".
        degree: degree of the polynomials, M.
        range_min: lower end of the interval of the polynomials.
        range_max: upper end.
        **options: those of `FlowOptions`.

    Reference:
        Ramasinghe et al., "Robust normalizing flows using Bernstein-type polynomials", 2021.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.bernstein_autoregressive(3, num_layers=4))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 3)))
        >>> flow.log_prob(params, jnp.zeros((10, 3))).shape
        (10,)
    """
    family = families.bernstein(degree, range_min, range_max)
    return autoregressive(event_size, family, fast=fast, **options)


def _towards(family: Family, fast: Fast) -> Family:
    """Convert a family between the base-to-data direction and the fast direction."""
    return family if fast == "sampling" else families.inverse(family)


def _layer(family: Family, layers: Layers, fast: Fast) -> Layer:
    context = layers.context

    def layer(x: jax.Array) -> distrax.Bijector:
        event_size = x.shape[-1]
        if event_size == 1:
            return layers.mixed(elementwise_layer(_towards(family, fast), layers)(x))
        made = MADE(
            event_size,
            family.num_params,
            layers.hidden_sizes,
            layers.activation,
            context_size=None if context is None else context.shape[-1],
            start=family.start,
            policy=layers.policy,
        )
        bijector = MaskedAutoregressive(made.network(context, x.dtype), family.bijector)
        if fast == "density":
            bijector = distrax.Inverse(bijector)
        return layers.mixed(bijector)

    return layer
