"""Whole flows: builders of `distrax.Transformed` whose parameters Haiku owns.

Call a builder inside a Haiku transform, normally through `distrax_flows.transform`:

    flow = distrax_flows.transform(lambda: distrax_flows.flows.maf(2, num_layers=8))

A flow is structure (coupling or autoregressive) x family (what happens to one dimension) x
network. `coupling` and `autoregressive` take any family of `distrax_flows.families`; the named
flows fix it. All start at the identity (after standardisation, if asked for).

Arguments that all builders share:

* `event_size`: number of dimensions D. With one dimension there is nothing to condition on, and an
  elementwise layer takes the place of a coupling.
* `num_layers`: layers, each with networks of its own; they compile as one.
* `hidden_sizes`: units of each hidden layer of each network.
* `activation`: of the networks, elementwise.
* `base`: any distrax or TFP distribution of event shape `(D,)`; standard normal if None.
* `context`: `[..., C]` or None. Conditions every network. The flow gets the context's batch shape.
* `standardize`: whether the first layer, seen from the data, subtracts the mean and divides by the
  deviation of the data that the flow is initialised on. Its log-det is counted.

Each raises a ValueError at construction for sizes that are not positive integers, empty
`hidden_sizes`, or a base of another event shape.
"""

from collections.abc import Sequence
from typing import TypedDict, Unpack

import distrax
import haiku as hk
import jax
import jax.numpy as jnp

from distrax_flows import families
from distrax_flows._base import make_base
from distrax_flows._checks import check_float_array, check_positive_int, check_sizes
from distrax_flows._types import Activation
from distrax_flows.bijectors import MaskedAutoregressive, Reverse, Scale
from distrax_flows.families import Family
from distrax_flows.modules import MADE, MLP, Layer, Learned, Stack, Standardize

__all__ = [
    "autoregressive",
    "coupling",
    "iaf",
    "maf",
    "nice",
    "nsf_autoregressive",
    "nsf_coupling",
    "realnvp",
]


class FlowOptions(TypedDict, total=False):
    """Keyword arguments that all builders share; the module's docstring describes them."""

    num_layers: int
    hidden_sizes: Sequence[int]
    activation: Activation
    base: distrax.DistributionLike | None
    context: jax.Array | None
    standardize: bool


def coupling(
    event_size: int,
    family: Family,
    *,
    num_layers: int = 8,
    hidden_sizes: Sequence[int] = (64, 64),
    activation: Activation = jax.nn.relu,
    base: distrax.DistributionLike | None = None,
    context: jax.Array | None = None,
    standardize: bool = False,
) -> distrax.Transformed:
    """Coupling flow: each layer transforms one half of the event, given the other half.

        y_a = x_a,   y_b = f(x_b; theta(x_a)),   then the order of dimensions is reversed

    Density and sampling both take one pass. See the module's docstring for the arguments; `family`
    is one of `distrax_flows.families`.

    Reference:
        Dinh et al., "Density estimation using Real NVP", 2017, section 3.2.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.coupling(3, dxf.families.spline(num_bins=4)))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 3)))
        >>> flow.sample(params, jax.random.key(1), (10,)).shape
        (10, 3)
    """
    event_size = check_positive_int("event_size", event_size)
    check_sizes("hidden_sizes", hidden_sizes)
    half = event_size // 2

    def layer(x: jax.Array) -> distrax.Bijector:
        if event_size == 1:
            return _elementwise(x, family, hidden_sizes, activation, context)
        network = MLP((event_size - half, family.num_params), hidden_sizes, activation)
        transform_half = distrax.SplitCoupling(
            split_index=half,
            event_ndims=1,
            conditioner=lambda kept: network(kept, context),
            bijector=family.bijector,
        )
        return distrax.Chain([Reverse(), transform_half])

    return _flow(event_size, Stack(layer, num_layers), base, context, standardize)


def autoregressive(
    event_size: int,
    family: Family,
    *,
    fast: str = "density",
    num_layers: int = 8,
    hidden_sizes: Sequence[int] = (64, 64),
    activation: Activation = jax.nn.relu,
    base: distrax.DistributionLike | None = None,
    context: jax.Array | None = None,
    standardize: bool = False,
) -> distrax.Transformed:
    """Autoregressive flow: each layer transforms each dimension, given the ones before it.

    One direction takes one pass of each MADE. The other is sequential, D steps that together cost
    about as much as one pass (see `MaskedAutoregressive`); `fast` says which is which. Between
    layers the order of dimensions is reversed. See the module's docstring for the arguments;
    `family` is one of `distrax_flows.families`.

    Args:
        event_size: number of dimensions, D.
        family: what happens to one dimension.
        fast: "density" for `log_prob` in one pass (MAF), "sampling" for `sample` (IAF).
        num_layers: number of layers.
        hidden_sizes: units of each hidden layer of each MADE.
        activation: of the MADEs.
        base: base distribution.
        context: `[..., C]` or None.
        standardize: whether to standardise the data first.

    Reference:
        Papamakarios et al., "Masked Autoregressive Flow for Density Estimation", 2017.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.autoregressive(3, dxf.families.additive()))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 3)))
        >>> flow.sample(params, jax.random.key(1), (10,)).shape
        (10, 3)
    """
    event_size = check_positive_int("event_size", event_size)
    check_sizes("hidden_sizes", hidden_sizes)
    if fast not in ("density", "sampling"):
        raise ValueError(f'`fast` must be "density" or "sampling"; got {fast=}.')
    context_size = None if context is None else context.shape[-1]

    def layer(x: jax.Array) -> distrax.Bijector:
        if event_size == 1:
            return _elementwise(x, family, hidden_sizes, activation, context)
        made = MADE(
            event_size, family.num_params, hidden_sizes, activation, context_size=context_size
        )
        bijector = MaskedAutoregressive(made.network(context, x.dtype), family.bijector)
        if fast == "density":
            bijector = distrax.Inverse(bijector)
        return distrax.Chain([Reverse(), bijector])

    return _flow(event_size, Stack(layer, num_layers), base, context, standardize)


def nice(event_size: int, **options: Unpack[FlowOptions]) -> distrax.Transformed:
    """NICE: additive couplings, then a learned scale of each dimension, next to the base.

    The log-det is constant in x. Density and sampling both take one pass. The paper's base is
    logistic: `base=distrax.Independent(distrax.Logistic(jnp.zeros(D), jnp.ones(D)), 1)`. The
    module's docstring has the arguments.

    Reference:
        Dinh et al., "NICE: Non-linear Independent Components Estimation", 2014, section 3.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.nice(2, num_layers=4))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 2)))
        >>> print(f"{flow.log_prob(params, jnp.zeros(2)):.4f}")
        -1.8379
    """

    def scale(x: jax.Array) -> distrax.Bijector:
        return Scale(hk.get_parameter("log_scale", x.shape[-1:], x.dtype, init=jnp.zeros))

    couplings = coupling(event_size, families.additive(), **options)
    bijector = distrax.Chain([couplings.bijector, Learned(scale)])
    return distrax.Transformed(couplings.distribution, bijector)


def realnvp(
    event_size: int, *, max_log_scale: float = 5.0, **options: Unpack[FlowOptions]
) -> distrax.Transformed:
    """RealNVP: affine couplings with a bounded scale (`families.affine`).

    Density and sampling both take one pass. The module's docstring has the other arguments.

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


def maf(
    event_size: int, *, max_log_scale: float = 5.0, **options: Unpack[FlowOptions]
) -> distrax.Transformed:
    """Masked autoregressive flow: affine, fast density.

    `log_prob` takes one pass, `sample` is sequential (see `autoregressive`). The module's docstring
    has the other arguments.

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
    `autoregressive`). The module's docstring has the other arguments.

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


def nsf_coupling(
    event_size: int,
    *,
    num_bins: int = 8,
    range_min: float = -5.0,
    range_max: float = 5.0,
    **options: Unpack[FlowOptions],
) -> distrax.Transformed:
    """Neural spline flow, coupling: rational-quadratic splines with learned linear tails.

    Density and sampling both take one pass. Give it data of about unit scale, or
    `standardize=True`: beyond `[range_min, range_max]` each layer is a line. The module's docstring
    has the other arguments.

    Reference:
        Durkan et al., "Neural Spline Flows", 2019, RQ-NSF (C).

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.nsf_coupling(2, num_layers=4))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 2)))
        >>> flow.sample(params, jax.random.key(1), (10,)).shape
        (10, 2)
    """
    return coupling(event_size, families.spline(num_bins, range_min, range_max), **options)


def nsf_autoregressive(
    event_size: int,
    *,
    num_bins: int = 8,
    range_min: float = -5.0,
    range_max: float = 5.0,
    **options: Unpack[FlowOptions],
) -> distrax.Transformed:
    """Neural spline flow, autoregressive: fast density, splines with learned linear tails.

    `log_prob` takes one pass, `sample` is sequential (see `autoregressive`). As for `nsf_coupling`,
    the data should be of about unit scale. The module's docstring has the other arguments.

    Reference:
        Durkan et al., "Neural Spline Flows", 2019, RQ-NSF (AR).

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.nsf_autoregressive(3, num_layers=4))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 3)))
        >>> flow.log_prob(params, jnp.zeros((10, 3))).shape
        (10,)
    """
    family = families.spline(num_bins, range_min, range_max)
    return autoregressive(event_size, family, fast="density", **options)


def _elementwise(x, family: Family, hidden_sizes, activation, context) -> distrax.Bijector:
    """Transforms the only dimension, given the context if there is one."""
    if context is None:
        shape = (x.shape[-1], family.num_params)
        params = hk.get_parameter("params", shape, x.dtype, init=jnp.zeros)
    else:
        params = MLP((x.shape[-1], family.num_params), hidden_sizes, activation)(context)
    return distrax.Block(family.bijector(params), 1)


def _flow(
    event_size: int,
    layers: Layer,
    base: distrax.DistributionLike | None,
    context: jax.Array | None,
    standardize: bool,
) -> distrax.Transformed:
    batch_shape = ()
    if context is not None:
        batch_shape = check_float_array("context", context, min_ndim=1).shape[:-1]
    bijector = Learned(layers)
    if standardize:
        bijector = distrax.Chain([Learned(Standardize()), bijector])
    return distrax.Transformed(make_base(base, event_size, batch_shape), bijector)
