"""Inputs and outputs of each layer of a flow."""

from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows.bijectors import MultiScale, ScanChain
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


def trace(bijector: distrax.Bijector, x: jax.Array, *, inverse: bool) -> list[LayerTrace]:
    """Return the layers of a bijector, in the order in which they act on `x`.

    Call it inside a Haiku transform if the bijector needs one.

    Args:
        bijector: the bijector; inverses, chains, stacks and scales are opened recursively.
        x: its input.
        inverse: whether to trace its inverse.
    """
    return _trace(bijector, x, inverse, "")[0]


def _trace(
    bijector: distrax.Bijector, x: jax.Array, inverse: bool, name: str
) -> tuple[list[LayerTrace], jax.Array]:
    """Return the layers of a bijector at that location, and its output."""
    if isinstance(bijector, distrax.Inverse):
        return _trace(bijector.bijector, x, not inverse, name)
    if isinstance(bijector, Learned):
        return _trace(bijector.layer_at(x), x, inverse, name)
    layers: list[LayerTrace] = []
    if isinstance(bijector, MultiScale):
        scales = [
            _Traced(scale, _join(name, f"{bijector.name}[{s}]"), layers)
            for s, scale in enumerate(bijector.scales)
        ]
        traced = MultiScale(scales, bijector.squeeze)
        return layers, jnp.asarray(traced.inverse(x) if inverse else traced.forward(x))
    parts = _parts(bijector)
    if parts is None:
        method = bijector.inverse_and_log_det if inverse else bijector.forward_and_log_det
        y, log_det = method(x)
        name = _join(name, bijector.name)
        return [LayerTrace(name, x, jnp.asarray(y), jnp.asarray(log_det))], jnp.asarray(y)
    for index, part in parts if inverse else reversed(parts):
        more, x = _trace(part, x, inverse, _join(name, f"{bijector.name}[{index}]"))
        layers += more
    return layers, x


class _Traced(distrax.Bijector):
    """A bijector that adds its layers to a list whenever it is called."""

    def __init__(self, bijector: distrax.Bijector, name: str, layers: list[LayerTrace]):
        super().__init__(bijector.event_ndims_in, bijector.event_ndims_out)
        self._traced = bijector
        self._location = name
        self._layers = layers

    def forward_and_log_det(self, x: Any):
        return self._call(x, False)

    def inverse_and_log_det(self, y: Any):
        return self._call(y, True)

    def _call(self, x, inverse):
        layers, y = _trace(self._traced, x, inverse, self._location)
        self._layers += layers
        return y, sum(layer.log_det for layer in layers)


def _parts(bijector: distrax.Bijector) -> list[tuple[int, distrax.Bijector]] | None:
    """Return the parts of a chain with their indices; the first acts last in `forward`."""
    if isinstance(bijector, distrax.Chain):
        return list(enumerate(bijector.bijectors))
    if isinstance(bijector, ScanChain | StatefulChain):
        return list(enumerate(bijector.layers))[::-1]
    return None


def _join(*names: str) -> str:
    return " > ".join(filter(None, names))
