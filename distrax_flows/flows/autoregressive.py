"""Autoregressive flows."""

from typing import Unpack

import distrax
import jax

from distrax_flows import families
from distrax_flows._checks import check_choice
from distrax_flows.bijectors import MaskedAutoregressive
from distrax_flows.families import Family
from distrax_flows.flows._assemble import FlowOptions, assemble
from distrax_flows.flows._layers import Layers, elementwise_layer, reaching_spline
from distrax_flows.modules import MADE, Layer

__all__ = ["autoregressive", "bernstein_autoregressive", "iaf", "maf", "nsf_autoregressive"]


def autoregressive(
    event_size: int,
    family: Family,
    *,
    fast: str = "density",
    **options: Unpack[FlowOptions],
) -> distrax.Transformed:
    """Autoregressive flow: each layer transforms each dimension, given the ones before it.

    One direction takes one pass of each MADE. The other is sequential, D steps that together cost
    about as much as one pass (see `MaskedAutoregressive`); `fast` says which is which. Each
    layer is followed by `between`. `family` is one of `distrax_flows.families`; the package's
    docstring has the other arguments.

    Args:
        event_size: number of dimensions, D.
        family: what happens to one dimension.
        fast: "density" for `log_prob` in one pass (MAF), "sampling" for `sample` (IAF).
        **options: shared by all builders.

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


def maf(
    event_size: int, *, max_log_scale: float = 5.0, **options: Unpack[FlowOptions]
) -> distrax.Transformed:
    """Masked autoregressive flow: affine, fast density.

    `log_prob` takes one pass, `sample` is sequential (see `autoregressive`). The package's
    docstring has the other arguments.

    Reference:
        Papamakarios et al., "Masked Autoregressive Flow for Density Estimation", 2017, eqs. 3-5.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.maf(3, num_layers=4))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 3)))
        >>> print(f"{flow.log_prob(params, jnp.zeros(3)):.4f}")
        -2.7568
    """
    return autoregressive(event_size, families.affine(max_log_scale), fast="density", **options)


def iaf(
    event_size: int, *, max_log_scale: float = 5.0, **options: Unpack[FlowOptions]
) -> distrax.Transformed:
    """Inverse autoregressive flow: affine, fast sampling.

    `sample` and `sample_and_log_prob` take one pass, `log_prob` is sequential (see
    `autoregressive`). The package's docstring has the other arguments.

    Reference:
        Kingma et al., "Improving Variational Inference with Inverse Autoregressive Flow", 2016.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.iaf(3, num_layers=4))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 3)))
        >>> flow.sample(params, jax.random.key(1), (10,)).shape
        (10, 3)
    """
    return autoregressive(event_size, families.affine(max_log_scale), fast="sampling", **options)


def nsf_autoregressive(
    event_size: int,
    *,
    num_bins: int = 8,
    range_min: float = -5.0,
    range_max: float = 5.0,
    **options: Unpack[FlowOptions],
) -> distrax.Transformed:
    """Neural spline flow, autoregressive: fast density, splines with learned linear tails.

    `log_prob` takes one pass, `sample` is sequential (see `autoregressive`). As in `nsf_coupling`,
    an affine map, given the dimensions before, precedes each spline, seen from the data; data of
    about unit scale are best. The package's docstring has the other arguments.

    Reference:
        Durkan et al., "Neural Spline Flows", 2019, RQ-NSF (AR).

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.nsf_autoregressive(3, num_layers=4))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 3)))
        >>> flow.log_prob(params, jnp.zeros((10, 3))).shape
        (10,)
    """
    # The density direction is the bijector's own: there the affine map comes first.
    family = families.inverse(reaching_spline(num_bins, range_min, range_max))
    return autoregressive(event_size, family, fast="density", **options)


def bernstein_autoregressive(
    event_size: int,
    *,
    degree: int = 16,
    range_min: float = -5.0,
    range_max: float = 5.0,
    **options: Unpack[FlowOptions],
) -> distrax.Transformed:
    """Autoregressive flow of Bernstein polynomials (`families.bernstein`), fast density.

    `log_prob` takes one pass, `sample` is sequential with a numerical root at each step. Outside of
    `[range_min, range_max]` the polynomials continue as lines: the data should be of about unit
    scale, or standardised. The package's docstring has the other arguments.

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
    return autoregressive(event_size, family, fast="density", **options)


def _layer(family: Family, layers: Layers, fast: str) -> Layer:
    context = layers.context

    def layer(x: jax.Array) -> distrax.Bijector:
        event_size = x.shape[-1]
        if event_size == 1:
            return layers.mixed(elementwise_layer(family, layers)(x))
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
