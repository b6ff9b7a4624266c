"""Flows of custom layers."""

from collections.abc import Callable
from typing import Unpack

import distrax

from distrax_flows._core.options import takes
from distrax_flows._core.types import Shape
from distrax_flows.flows._assemble import FlowOptions, assemble
from distrax_flows.flows._layers import Layers
from distrax_flows.flows._transformed import Transformed
from distrax_flows.modules import Layer

__all__ = ["custom"]


@takes(FlowOptions, without=("hidden_sizes", "activation", "between", "policy"))
def custom(
    event_shape: int | Shape,
    layer: Callable[..., distrax.Bijector],
    **options: Unpack[FlowOptions],
) -> Transformed:
    """Flow that repeats a custom layer, for events of any rank.

    Seen from the base: all repetitions (`modules.Stack`), each with its own parameters, then
    standardisation and support, if any.

    Args:
        event_shape: shape of an event: `()` for scalars, an integer or `(D,)` for vectors,
            `(H, W, C)` for images.
        layer: maps an input `[..., *event_shape]` to a bijector that keeps its shape, using Haiku
            modules and parameters; with a context, it takes the input and the context. Bijectors of
            vectors act on the last axis of events of higher rank.
        **options: those of `FlowOptions`.

    Raises:
        ValueError: `layer` returns a bijector of events of higher rank than `event_shape`.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> def make():
        ...     layer = dxf.modules.compose(
        ...         dxf.modules.ActNormLayer(), dxf.modules.LULinearLayer(), event_ndims=3)
        ...     return dxf.flows.custom((4, 4, 3), layer, num_layers=2)
        >>> flow = dxf.transform(make)
        >>> flow.event_shape
        (4, 4, 3)
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)))
        >>> flow.sample(params, jax.random.key(1), (10,)).shape
        (10, 4, 4, 3)
    """

    def make_layers(layers: Layers) -> Layer:
        if layers.context is None:
            return layers.stack(layer)
        return layers.stack(lambda x: layer(x, layers.context))

    return assemble(event_shape, make_layers, **options)
