"""Autoregressive flows of the patches of images."""

from typing import Unpack

import distrax
import jax

from distrax_flows import families
from distrax_flows._core.checks import check_choice, check_positive_int
from distrax_flows._core.options import Option, takes
from distrax_flows._core.types import Fast, Shape
from distrax_flows.bijectors import MaskedAutoregressive, Reshape, Reverse, Squeeze, Transpose
from distrax_flows.families import Family
from distrax_flows.flows._assemble import FlowOptions, assemble, check_image_shape
from distrax_flows.flows._layers import Layers
from distrax_flows.flows._transformed import Transformed
from distrax_flows.modules import CausalTransformer, Layer, Learned

__all__ = ["image_autoregressive"]


@takes(
    FlowOptions,
    without=("hidden_sizes",),
    changed={
        "num_layers": Option(4, "number of layers; they compile as one."),
        "activation": Option(jax.nn.gelu, "activation of the perceptrons.", "jax.nn.gelu"),
        "between": Option(
            None,
            "a layer that mixes the values of a patch after each layer, seen from the base, such "
            "as `modules.LULinearLayer()`; the order of the patches is reversed in any case.",
        ),
    },
)
def image_autoregressive(
    event_shape: Shape,
    family: Family | None = None,
    *,
    fast: Fast = "density",
    patch_size: int = 2,
    hidden_size: int = 64,
    num_blocks: int = 2,
    num_heads: int = 4,
    **options: Unpack[FlowOptions],
) -> Transformed:
    """TarFlow: autoregressive flow of the patches of an image, by causal transformers.

    Each layer transforms the values of each patch, given the patches before it, row by row; the
    next layer takes them in reverse order. With a family of scalar maps f, for patch t = 0..T-1,

        y_t = f(x_t; theta_t(x_<t)),   elementwise in the values of a patch.

    One direction takes one pass of each transformer. The other is sequential: T steps that cache
    the keys and values of earlier patches, and together take the arithmetic of one pass. `fast`
    selects which; the two choices are different flows.

    `flows.dequantized` makes it a flow of images with integer levels.

    Args:
        event_shape: `(H, W, C)`, shape of an image.
        family: transformation of one value in the fast direction, one of `distrax_flows.families`;
            affine if None.
        fast: "density" for `log_prob` in one pass, "sampling" for `sample`.
        patch_size: rows and columns of a patch.
        hidden_size: features of a patch within the transformers.
        num_blocks: blocks of each transformer, each with attention and a perceptron.
        num_heads: attention heads; divides `hidden_size`.
        **options: those of `FlowOptions`.

    Raises:
        ValueError: height or width is not a multiple of `patch_size`, or `num_heads` does not
            divide `hidden_size`.

    Reference:
        Zhai et al., "Normalizing Flows are Capable Generative Models", 2024, section 3.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(
        ...     lambda: dxf.flows.image_autoregressive((8, 8, 1), num_layers=2, hidden_size=16))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
        >>> flow.sample(params, jax.random.key(1), (10,)).shape
        (10, 8, 8, 1)
    """
    check_choice("fast", fast, ("density", "sampling"))
    check_image_shape(event_shape, "patch_size", check_positive_int("patch_size", patch_size))
    family = families.affine() if family is None else family
    height, width = (size // patch_size for size in event_shape[:2])
    channels = patch_size**2 * event_shape[2]
    num_patches = height * width

    def make_layers(layers: Layers) -> Layer:
        context = layers.context

        def layer(x: jax.Array) -> distrax.Bijector:
            transformer = CausalTransformer(
                num_patches,
                channels,
                family.num_params,
                hidden_size,
                num_blocks,
                num_heads,
                layers.activation,
                context_size=None if context is None else context.shape[-1],
                start=family.start,
                policy=layers.policy,
            )
            # One axis holds the patches, so the values of a patch are a batch of scalar flows.
            network = transformer.network(context, x.dtype)
            bijector = distrax.Block(MaskedAutoregressive(network, family.bijector), 1)
            if fast == "density":
                bijector = distrax.Inverse(bijector)
            turn = Transpose((1, 0))
            reverse = distrax.Block(Reverse(), 1)
            mixed = [] if layers.between is None else [Learned(layers.between, 2)]
            return distrax.Chain([*mixed, turn, reverse, bijector, turn])

        stack = layers._replace(event_ndims=2).stack(layer)
        to_patches = distrax.Chain(
            [Reshape((height, width, channels), (num_patches, channels)), Squeeze(patch_size)]
        )
        return lambda x: distrax.Chain([distrax.Inverse(to_patches), Learned(stack, 2), to_patches])

    return assemble(event_shape, make_layers, **options)
