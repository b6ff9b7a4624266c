"""Planar, radial and Sylvester flows."""

from collections.abc import Callable, Mapping
from typing import Any, Unpack

import distrax
import jax
import jax.numpy as jnp

from distrax_flows._core.checks import check_choice
from distrax_flows._core.options import takes
from distrax_flows._core.types import Activation, Fast
from distrax_flows.flows._assemble import FlowOptions, assemble
from distrax_flows.flows._layers import Layers
from distrax_flows.flows._transformed import Transformed
from distrax_flows.modules import (
    HouseholderLayer,
    Layer,
    Learned,
    PlanarLayer,
    RadialLayer,
    SylvesterLayer,
)

__all__ = ["planar", "radial", "sylvester"]


@takes(FlowOptions, without=("between",))
def planar(
    event_size: int,
    *,
    fast: Fast = "density",
    unit: Activation = jnp.tanh,
    **options: Unpack[FlowOptions],
) -> Transformed:
    """Planar flow: each layer shifts events along one vector, by their position along another.

    Both directions work, and are differentiable, for any activation with slopes between 0 and 1;
    other libraries have one direction, or both for a leaky ReLU only. One is in closed form, the
    other takes a scalar root per event and layer (see `Planar`); `fast` selects which. With a
    context, a network computes each layer's vectors.

    Args:
        event_size: number of dimensions, D.
        fast: "density" for `log_prob` in closed form, to fit data; "sampling" for `sample` in
            closed form, for variational inference.
        unit: activation of the planar function, with slopes between 0 and 1.
        **options: those of `FlowOptions`.

    Reference:
        Rezende & Mohamed, "Variational Inference with Normalizing Flows", 2015, eqs. 10-12.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.planar(2, num_layers=4))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 2)))
        >>> flow.sample(params, jax.random.key(1), (10,)).shape
        (10, 2)
    """
    return _flow_of(event_size, fast, lambda network: PlanarLayer(unit=unit, **network), options)


@takes(FlowOptions, without=("between",))
def radial(
    event_size: int,
    *,
    fast: Fast = "density",
    **options: Unpack[FlowOptions],
) -> Transformed:
    """Radial flow: each layer pulls events towards a centre, or pushes them away.

    Both directions are in closed form (see `Radial`). `fast` selects which of `log_prob` and
    `sample` runs the paper's function, and which its inverse; the two choices are different flows.
    With a context, a network computes each layer's parameters.

    Args:
        event_size: number of dimensions, D.
        fast: direction of the paper's function, "density" or "sampling".
        **options: those of `FlowOptions`.

    Reference:
        Rezende & Mohamed, "Variational Inference with Normalizing Flows", 2015, eqs. 13-14.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.radial(2, num_layers=4))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 2)))
        >>> flow.sample(params, jax.random.key(1), (10,)).shape
        (10, 2)
    """
    return _flow_of(event_size, fast, lambda network: RadialLayer(**network), options)


@takes(FlowOptions, without=("between",))
def sylvester(
    event_size: int,
    *,
    fast: Fast = "density",
    num_units: int | None = None,
    orthogonal: Layer | None = None,
    unit: Activation = jnp.tanh,
    **options: Unpack[FlowOptions],
) -> Transformed:
    """Sylvester flow: planar flows of several units at once, in a learned orthogonal frame.

    One direction is in closed form, the other takes a scalar root per unit, one after another (see
    `Sylvester`); `fast` selects which. With a context, a network computes each layer's triangular
    matrices.

    Args:
        event_size: number of dimensions, D.
        fast: "density" for `log_prob` in closed form, "sampling" for `sample`.
        num_units: units per layer, M, at most D; D if None.
        orthogonal: layer of the orthogonal frame; learned reflections, one per dimension, if None.
            `modules.OrthogonalLayer()` and fixed permutations are the paper's other choices.
        unit: activation of the units, with slopes between 0 and 1.
        **options: those of `FlowOptions`.

    Reference:
        van den Berg et al., "Sylvester Normalizing Flows for Variational Inference", 2018.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.sylvester(3, num_layers=4))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 3)))
        >>> flow.sample(params, jax.random.key(1), (10,)).shape
        (10, 3)
    """

    def make_layer(network: Mapping[str, Any]) -> Layer:
        def layer(x: jax.Array) -> distrax.Bijector:
            size = x.shape[-1]
            frame = HouseholderLayer(size) if orthogonal is None else orthogonal
            units = size if num_units is None else num_units
            return SylvesterLayer(units, frame, unit=unit, **network)(x)

        return layer

    return _flow_of(event_size, fast, make_layer, options)


def _flow_of(
    event_size: int,
    fast: Fast,
    make_layer: Callable[[Mapping[str, Any]], Layer],
    options: FlowOptions,
) -> Transformed:
    check_choice("fast", fast, ("density", "sampling"))

    def make_layers(layers: Layers) -> Layer:
        layer = make_layer(
            {
                "context": layers.context,
                "hidden_sizes": layers.hidden_sizes,
                "activation": layers.activation,
                "policy": layers.policy,
            }
        )
        if fast == "sampling":
            return layers.stack(layer)
        return layers.stack(lambda x: distrax.Inverse(Learned(layer)))

    return assemble(event_size, make_layers, **options)
