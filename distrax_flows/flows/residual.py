"""Planar, radial and Sylvester flows."""

from collections.abc import Callable, Mapping
from typing import Any, Unpack

import distrax
import jax
import jax.numpy as jnp

from distrax_flows._checks import check_choice
from distrax_flows._types import Activation
from distrax_flows.flows._assemble import FlowOptions, assemble, refuse
from distrax_flows.flows._layers import Layers
from distrax_flows.modules import (
    HouseholderLayer,
    Layer,
    Learned,
    PlanarLayer,
    RadialLayer,
    SylvesterLayer,
)

__all__ = ["planar", "radial", "sylvester"]


def planar(
    event_size: int,
    *,
    fast: str = "density",
    unit: Activation = jnp.tanh,
    **options: Unpack[FlowOptions],
) -> distrax.Transformed:
    """Planar flow: each layer moves events along one direction, by how far they are along another.

    Peers can only evaluate it in one direction; here both work, and are differentiable. One is in
    closed form, the other takes a scalar root per event and layer (see `Planar`); `fast` says which
    is which. With a context, a network gives each layer's vectors. The package's docstring has the
    other arguments; `between` does not apply.

    Args:
        event_size: number of dimensions, D.
        fast: "density" for `log_prob` in closed form, to fit data; "sampling" for `sample` in
            closed form, as in variational inference.
        unit: the planar function's own activation, with slopes between 0 and 1.
        **options: shared by all builders.

    Reference:
        Rezende & Mohamed, "Variational Inference with Normalizing Flows", 2015, eqs. 10-12.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.planar(2, num_layers=4))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 2)))
        >>> flow.sample(params, jax.random.key(1), (10,)).shape
        (10, 2)
    """
    refuse("planar", options, "between")
    return _residual(
        event_size, fast, lambda network: PlanarLayer(activation=unit, **network), options
    )


def radial(
    event_size: int, *, fast: str = "density", **options: Unpack[FlowOptions]
) -> distrax.Transformed:
    """Radial flow: each layer draws events towards a centre, or pushes them away.

    Both directions are in closed form (see `Radial`). They are different models: `fast` says which
    of `log_prob` and `sample` runs the paper's function, and which its inverse. With a context, a
    network gives each layer's parameters. The package's docstring has the other arguments;
    `between` does not apply.

    Args:
        event_size: number of dimensions, D.
        fast: "density" or "sampling", the direction of the paper's function.
        **options: shared by all builders.

    Reference:
        Rezende & Mohamed, "Variational Inference with Normalizing Flows", 2015, eqs. 13-14.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.radial(2, num_layers=4))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 2)))
        >>> flow.sample(params, jax.random.key(1), (10,)).shape
        (10, 2)
    """
    refuse("radial", options, "between")
    return _residual(event_size, fast, lambda network: RadialLayer(**network), options)


def sylvester(
    event_size: int,
    *,
    fast: str = "density",
    num_units: int | None = None,
    orthogonal: Layer | None = None,
    unit: Activation = jnp.tanh,
    **options: Unpack[FlowOptions],
) -> distrax.Transformed:
    """Sylvester flow: planar flows of several units at once, in a learned orthogonal frame.

    One direction is in closed form, the other takes a scalar root per unit, one after the other
    (see `Sylvester`); `fast` says which is which. With a context, a network gives each layer's
    triangular matrices. The package's docstring has the other arguments; `between` does not apply.

    Args:
        event_size: number of dimensions, D.
        fast: "density" for `log_prob` in closed form, "sampling" for `sample`.
        num_units: units M of a layer, at most D, which is the default.
        orthogonal: the layer of the frame: learned reflections, one per dimension, if None;
            `modules.OrthogonalLayer()` and fixed permutations are other choices of the paper.
        unit: the activation of the units, with slopes between 0 and 1.
        **options: shared by all builders.

    Reference:
        van den Berg et al., "Sylvester Normalizing Flows for Variational Inference", 2018.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.sylvester(3, num_layers=4))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 3)))
        >>> flow.sample(params, jax.random.key(1), (10,)).shape
        (10, 3)
    """
    refuse("sylvester", options, "between")

    def make_layer(network: Mapping[str, Any]) -> Layer:
        def layer(x: jax.Array) -> distrax.Bijector:
            size = x.shape[-1]
            frame = HouseholderLayer(size) if orthogonal is None else orthogonal
            units = size if num_units is None else num_units
            return SylvesterLayer(units, frame, activation=unit, **network)(x)

        return layer

    return _residual(event_size, fast, make_layer, options)


def _residual(
    event_size: int,
    fast: str,
    make_layer: Callable[[Mapping[str, Any]], Layer],
    options: FlowOptions,
) -> distrax.Transformed:
    check_choice("fast", fast, ("density", "sampling"))

    def make_layers(layers: Layers) -> Layer:
        layer = make_layer(
            {
                "context": layers.context,
                "hidden_sizes": layers.hidden_sizes,
                "network_activation": layers.activation,
                "policy": layers.policy,
            }
        )
        if fast == "sampling":
            return layers.stack(layer)
        return layers.stack(lambda x: distrax.Inverse(Learned(layer)))

    return assemble(event_size, make_layers, **options)
