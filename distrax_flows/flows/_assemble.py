"""What all builders share: their options, their layers, and the ends of a flow."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypedDict

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import jmp
import numpy as np

from distrax_flows import families
from distrax_flows._base import WithAngles, make_base
from distrax_flows._checks import check_float_array, check_positive_int, check_sizes
from distrax_flows._types import Activation, Shape
from distrax_flows.bijectors import Permutation, Reverse
from distrax_flows.families import Family
from distrax_flows.modules import MLP, GivenFirst, Layer, Learned, Stack, Standardize, compose
from distrax_flows.supports import Support, as_supports, onto

__all__ = ["FlowOptions", "Layers", "assemble", "coupling_layer", "elementwise_layer"]


class FlowOptions(TypedDict, total=False):
    """Keyword arguments that all builders share; the package's docstring describes them."""

    num_layers: int
    hidden_sizes: Sequence[int]
    activation: Activation
    between: Layer
    context: jax.Array | None
    base: distrax.DistributionLike | None
    standardize: bool
    support: Support | Sequence[Support] | None
    remat: bool
    unroll: bool
    policy: jmp.Policy | None


class Layers(NamedTuple):
    """The options that layers are made from."""

    num_layers: int
    hidden_sizes: Sequence[int]
    activation: Activation
    between: Layer
    context: jax.Array | None
    remat: bool
    unroll: bool
    policy: jmp.Policy | None

    def network(self, output_shape: Shape, name: str | None = None) -> MLP:
        """A dense network."""
        return MLP(output_shape, self.hidden_sizes, self.activation, policy=self.policy, name=name)

    def stack(self, layer: Layer) -> Layer:
        """All layers of a flow, each like `layer`."""
        return Stack(layer, self.num_layers, remat=self.remat, unroll=self.unroll)


def assemble(
    event_size: int,
    make_layers: Callable[[Layers], Layer],
    *,
    num_layers: int = 8,
    hidden_sizes: Sequence[int] = (64, 64),
    activation: Activation = jax.nn.relu,
    between: Layer = lambda x: Reverse(),
    context: jax.Array | None = None,
    base: distrax.DistributionLike | None = None,
    standardize: bool = False,
    support: Support | Sequence[Support] | None = None,
    remat: bool = False,
    unroll: bool = False,
    policy: jmp.Policy | None = None,
) -> distrax.Transformed:
    """A flow of the layers that `make_layers` returns, between a base and the data.

    The circle is no image of the line: dimensions on circles start uniform, and have couplings of
    circular splines, given all other dimensions. Those are transformed as if they were alone.
    """
    event_size = check_positive_int("event_size", event_size)
    check_positive_int("num_layers", num_layers)
    check_sizes("hidden_sizes", hidden_sizes)
    batch_shape = ()
    if context is not None:
        batch_shape = check_float_array("context", context, min_ndim=1).shape[:-1]
    if policy is not None and not isinstance(policy, jmp.Policy):
        raise TypeError(
            "`policy` must be a `jmp.Policy`, such as "
            '`jmp.get_policy("params=float32,compute=bfloat16,output=float32")`; got '
            f"{policy=}."
        )
    layers = Layers(num_layers, hidden_sizes, activation, between, context, remat, unroll, policy)
    layer = make_layers(layers)
    if standardize:
        layer = compose(Standardize(), layer)
    supports = as_supports(support, event_size)
    lines = [d for d in range(event_size) if supports[d].kind != "circle"]
    circles = [d for d in range(event_size) if supports[d].kind == "circle"]
    bijectors = []
    if any(entry.kind != "real" for entry in supports):
        bijectors.append(onto(supports))
    distribution = make_base(base, len(lines), batch_shape) if lines else None
    if circles:
        bijectors.append(Permutation(np.argsort(lines + circles)))
        bijectors.append(GivenFirst(len(lines), layer, lambda x: _circular_layers(x, layers)))
        distribution = WithAngles(distribution, len(circles), batch_shape)
    else:
        bijectors.append(Learned(layer))
    return distrax.Transformed(distribution, distrax.Chain(bijectors))


def elementwise_layer(family: Family, layers: Layers) -> Layer:
    """Transforms each dimension by itself, given the context if there is one."""

    def layer(x: jax.Array) -> distrax.Bijector:
        shape = (x.shape[-1], family.num_params)
        if layers.context is None:
            params = hk.get_parameter("params", shape, x.dtype, init=jnp.zeros)
        else:
            params = layers.network(shape)(layers.context)
        return distrax.Block(family.bijector(params), 1)

    return layer


def coupling_layer(
    family: Family,
    layers: Layers,
    features: Callable[[jax.Array], jax.Array] = lambda kept: kept,
) -> Layer:
    """Transforms the second half of the event given the first, then mixes the dimensions.

    A single dimension is transformed by itself. The network sees `features` of the first half.
    """

    def layer(x: jax.Array) -> distrax.Bijector:
        event_size = x.shape[-1]
        half = event_size // 2
        if half == 0:
            return elementwise_layer(family, layers)(x)
        shape = (event_size - half, family.num_params)
        network = layers.network(shape)
        transform_half = distrax.SplitCoupling(
            split_index=half,
            event_ndims=1,
            conditioner=lambda kept: network(features(jnp.asarray(kept)), layers.context),
            bijector=family.bijector,
        )
        return distrax.Chain([Learned(layers.between), transform_half])

    return layer


def _circular_layers(x: jax.Array | None, layers: Layers) -> Layer:
    """Couplings of angles, given the other dimensions and the context."""
    given = [array for array in (x, layers.context) if array is not None]
    if len(given) == 2:
        shape = jnp.broadcast_shapes(*(array.shape[:-1] for array in given))
        given = [jnp.broadcast_to(array, shape + array.shape[-1:]) for array in given]
    context = jnp.concatenate(given, axis=-1) if given else None
    layer = coupling_layer(
        families.circular_spline(),
        layers._replace(context=context, between=lambda x: Reverse()),
        features=lambda angle: jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1),
    )
    return layers.stack(layer)
