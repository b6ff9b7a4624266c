"""The layers of flows, made from the options of a builder."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import jmp

from distrax_flows import families
from distrax_flows._core.types import Activation, Shape
from distrax_flows.bijectors import Reverse
from distrax_flows.families import Family
from distrax_flows.modules import MLP, GivenFirst, Layer, Learned, Stack
from distrax_flows.modules.mlp import starting_at

__all__ = [
    "Layers",
    "angle_layers",
    "coupling_layer",
    "elementwise_layer",
    "reaching_spline",
    "split_coupling",
]


class Layers(NamedTuple):
    """The options that layers are made from."""

    num_layers: int
    hidden_sizes: Sequence[int]
    activation: Activation
    between: Layer | None
    context: jax.Array | None
    remat: bool
    unroll: bool
    policy: jmp.Policy | None
    event_ndims: int

    def network(self, event_shape: int | Shape, family: Family, name: str | None = None) -> MLP:
        """Return a dense network that computes a family's parameters for each entry of an event."""
        shape = (event_shape,) if isinstance(event_shape, int) else event_shape
        return MLP(
            (*shape, family.num_params),
            self.hidden_sizes,
            self.activation,
            start=family.start,
            policy=self.policy,
            name=name,
        )

    def stack(self, layer: Callable[..., distrax.Bijector]) -> Stack:
        """Return the stack of all layers of a flow, each like `layer`."""
        return Stack(
            layer,
            self.num_layers,
            event_ndims=self.event_ndims,
            remat=self.remat,
            unroll=self.unroll,
        )

    def mixed(self, bijector: distrax.Bijector) -> distrax.Bijector:
        """Return the bijector followed by `between`, which mixes the dimensions."""
        between = Reverse() if self.between is None else Learned(self.between, self.event_ndims)
        return distrax.Chain([between, bijector])


def reaching_spline(num_bins: int, range_min: float, range_max: float) -> Family:
    """Return splines preceded, seen from the data, by an affine map that extends their reach.

    A layer scales by at most exp(2), so rounding errors grow little from layer to layer.
    """
    spline = families.spline(num_bins, range_min, range_max)
    return families.chain(families.affine(max_log_scale=2.0), spline)


def elementwise_layer(family: Family, layers: Layers) -> Layer:
    """Return a layer that transforms each dimension independently, given the context, if any."""

    def layer(x: jax.Array) -> distrax.Bijector:
        event_shape = x.shape[x.ndim - layers.event_ndims :]
        if layers.context is None:
            shape = (*event_shape, family.num_params)
            init = starting_at(family.start, shape)
            params = hk.get_parameter("params", shape, x.dtype, init)
        else:
            params = layers.network(event_shape, family)(layers.context)
        return distrax.Block(family.bijector(params), layers.event_ndims)

    return layer


def coupling_layer(family: Family, layers: Layers) -> Layer:
    """Return a layer that transforms the second half of the event given the first, then mixes.

    A single dimension is transformed unconditionally.
    """

    def layer(x: jax.Array) -> distrax.Bijector:
        event_size = x.shape[-1]
        half = event_size // 2
        if half == 0:
            return layers.mixed(elementwise_layer(family, layers)(x))
        network = layers.network(event_size - half, family)
        return layers.mixed(split_coupling(half, network, family, layers))

    return layer


def split_coupling(
    size: int, network: Callable[..., jax.Array], family: Family, layers: Layers
) -> distrax.SplitCoupling:
    """Return the coupling that transforms the last axis of an event given its first entries."""
    return distrax.SplitCoupling(
        split_index=size,
        event_ndims=layers.event_ndims,
        conditioner=lambda kept: network(jnp.asarray(kept), layers.context),
        bijector=family.bijector,
    )


def angle_layers(
    layers: Layers, coupled: bool, normalize: Layer | None
) -> Callable[[jax.Array | None], Layer]:
    """Return a function from the dimensions not on circles to the layers of those on circles.

    The layers are created once, so that all uses of a flow share their parameters. Every layer
    transforms every circle: the first half of them, and the other half given the first.
    """
    family = families.circular_spline()
    if not coupled:
        alone = layers.stack(elementwise_layer(family, layers))
        return lambda lines: alone

    def layer(angles: jax.Array, lines: jax.Array | None) -> distrax.Bijector:
        given = _join(lines, layers.context)

        def rest(first: jax.Array | None) -> Layer:
            on_circle = None if first is None else _join(jnp.cos(first), jnp.sin(first))
            return elementwise_layer(family, layers._replace(context=_join(on_circle, given)))

        half = angles.shape[-1] // 2
        first = elementwise_layer(family, layers._replace(context=given))
        return distrax.Chain([Reverse(), GivenFirst(half, first, rest)])

    stack = layers.stack(layer)

    def of_lines(lines: jax.Array | None) -> Layer:
        if lines is not None and normalize is not None:
            lines, _ = Learned(normalize).inverse_and_log_det(lines)
        return lambda angles: stack(angles, lines)

    return of_lines


def _join(*arrays: jax.Array | None) -> jax.Array | None:
    """Concatenate features, with batch axes broadcast; None if there are none."""
    present = [array for array in arrays if array is not None]
    if not present:
        return None
    shape = jnp.broadcast_shapes(*(array.shape[:-1] for array in present))
    return jnp.concatenate(
        [jnp.broadcast_to(array, shape + array.shape[-1:]) for array in present], axis=-1
    )
