"""Inputs and outputs of each layer of a flow."""

from typing import NamedTuple

import distrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows.bijectors import ScanChain
from distrax_flows.modules.learned import Learned
from distrax_flows.modules.stack import StatefulChain

__all__ = ["LayerTrace", "trace"]


class LayerTrace(NamedTuple):
    """Input, output and log-det of a layer.

    Attributes:
        name: its location, from the outside in, such as `Chain[0] > ScanChain[3]`; indices are
            those of the enclosing chain.
        x: `[..., *event_shape]`, its input.
        y: `[..., *event_shape]`, its output.
        log_det: `[...]`, its log-det.
    """

    name: str
    x: Float[Array, "..."]
    y: Float[Array, "..."]
    log_det: Float[Array, "..."]


def trace(
    bijector: distrax.Bijector, x: jax.Array, *, inverse: bool, name: str = ""
) -> list[LayerTrace]:
    """Return the layers of a bijector, in the order in which they act on `x`.

    Call it inside a Haiku transform if the bijector needs one.

    Args:
        bijector: the bijector; inverses, chains and stacks are opened recursively.
        x: its input.
        inverse: whether to trace its inverse.
        name: location of the bijector.
    """
    if isinstance(bijector, distrax.Inverse):
        return trace(bijector.bijector, x, inverse=not inverse, name=name)
    if isinstance(bijector, Learned):
        return trace(bijector.layer_at(x), x, inverse=inverse, name=name)
    parts = _parts(bijector)
    if parts is None:
        method = bijector.inverse_and_log_det if inverse else bijector.forward_and_log_det
        y, log_det = method(x)
        name = _join(name, bijector.name)
        return [LayerTrace(name, x, jnp.asarray(y), jnp.asarray(log_det))]
    layers = []
    for index, part in parts if inverse else reversed(parts):
        part_name = _join(name, f"{bijector.name}[{index}]")
        layers += trace(part, x, inverse=inverse, name=part_name)
        x = layers[-1].y
    return layers


def _parts(bijector: distrax.Bijector) -> list[tuple[int, distrax.Bijector]] | None:
    """Return the parts of a chain with their indices, first the one that acts last in `forward`."""
    if isinstance(bijector, distrax.Chain):
        return list(enumerate(bijector.bijectors))
    if isinstance(bijector, ScanChain | StatefulChain):
        return list(enumerate(bijector.layers))[::-1]
    return None


def _join(*names: str) -> str:
    return " > ".join(filter(None, names))
