"""Flows of images, by couplings at several scales."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple, Unpack

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from distrax_flows import families
from distrax_flows._core.checks import check_float_array, check_positive_int
from distrax_flows._core.options import Option, resolve, takes
from distrax_flows._core.types import Shape
from distrax_flows.bijectors import MultiScale, Permutation, Reverse, Squeeze
from distrax_flows.bijectors._base import forward
from distrax_flows.families import Family
from distrax_flows.flows._assemble import FlowOptions, assemble, check_image_shape
from distrax_flows.flows._layers import Layers, reaching_spline, split_coupling
from distrax_flows.flows._transformed import Transformed
from distrax_flows.modules import (
    ActNormLayer,
    ConvNet,
    Layer,
    Learned,
    LULinearLayer,
    compose,
)

__all__ = ["ImageOptions", "image_glow", "image_nsf", "image_realnvp"]


class ImageOptions(FlowOptions, total=False):
    """Keyword arguments that builders of flows of images share."""

    num_scales: Annotated[
        int,
        Option(2, "number of scales; height and width must be multiples of 2 to its power."),
    ]
    hidden_channels: Annotated[int, Option(64, "channels of each hidden layer of each network.")]
    network: Annotated[
        Callable[..., hk.Module],
        Option(
            ConvNet,
            "class of the networks, `modules.ConvNet` or `modules.GatedConvNet`; or a function "
            "with the same arguments, such as "
            "`functools.partial(modules.GatedConvNet, num_blocks=4)`.",
        ),
    ]
    learned_prior: Annotated[
        bool,
        Option(
            True,
            "whether a network of its own gives the channels that leave at a scale a location and "
            "a scale, given those that stay: one more affine coupling, next to the base.",
        ),
    ]
    context_map: Annotated[
        jax.Array | None,
        Option(
            None,
            "`[..., H, W, K]`, an image that the density is conditioned on, besides `context`; or "
            "None. Networks get it squeezed to their scale. The batch axes of both broadcast.",
        ),
    ]


_HIDDEN = ("hidden_sizes",)


@takes(
    ImageOptions,
    without=_HIDDEN,
    changed={
        "num_layers": Option(8, "number of steps of each scale; they compile as one."),
        "between": Option(
            None,
            "a layer that mixes the channels after each coupling, seen from the base; the linear "
            "map and the normalisation above if None.",
        ),
    },
)
def image_glow(
    event_shape: Shape, family: Family | None = None, **options: Unpack[ImageOptions]
) -> Transformed:
    """Glow on images: steps of activation normalisation, 1x1 convolution and coupling per scale.

    Seen from the data, each scale squeezes the image (`Squeeze`), transforms it by `num_layers`
    steps, and factors out half of the channels (`MultiScale`). Each step normalises channels
    (`ActNormLayer`, initialised on the data), multiplies each pixel by a matrix in LU form
    (`LULinearLayer`, at first a random rotation), and transforms one half of the channels given the
    other. Density and sampling both take one pass; the density multiplies by the matrices, sampling
    solves with their factors. It starts as a linear map, not at the identity.

    `flows.dequantized` makes it a flow of images with integer levels.

    Args:
        event_shape: `(H, W, C)`, shape of an image.
        family: transformation of one dimension, one of `distrax_flows.families`; if None,
            `affine(max_log_scale=1.0)`.
        **options: those of `ImageOptions`.

    Raises:
        ValueError: height or width is not a multiple of 2 to the power `num_scales`.

    Reference:
        Kingma & Dhariwal, "Glow: Generative Flow with Invertible 1x1 Convolutions", 2018,
        section 3.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.image_glow((8, 8, 1), num_layers=2))
        >>> data = 3 + jax.random.normal(jax.random.key(0), (100, 8, 8, 1))
        >>> params = flow.init(jax.random.key(1), data)
        >>> flow.sample(params, jax.random.key(2), (10,)).shape
        (10, 8, 8, 1)
    """
    family = _affine() if family is None else family
    if options.get("between") is None:
        options["between"] = compose(ActNormLayer(), _rotation, event_ndims=3)

    def make_scale(scale: "_Scale", is_last: bool) -> Layer:
        return scale.layers.stack(scale.channel_coupling(family))

    return _multi_scale(event_shape, make_scale, options)


@takes(
    ImageOptions,
    without=_HIDDEN,
    changed={
        "num_layers": Option(
            4, "number of couplings of each kind at a scale; those of a kind compile as one."
        ),
        "between": Option(
            None,
            "a layer of the channels after each coupling, seen from the base; if None, it "
            "exchanges the halves and normalises (`ActNormLayer`).",
        ),
    },
)
def image_realnvp(
    event_shape: Shape, family: Family | None = None, **options: Unpack[ImageOptions]
) -> Transformed:
    """RealNVP on images: checkerboard couplings, then channel couplings, at each scale.

    Seen from the data, a scale transforms the black squares of a checkerboard given the white ones,
    and vice versa, `num_layers` times in all. It then does the same with the two halves of the
    channels of the squeezed image, and factors out half of the channels. The last scale has only
    the checkerboard couplings. A coupling computes nothing for the half that it keeps: the squares
    of one colour are channels of the squeezed image (`Squeeze`). Density and sampling both take one
    pass. `ActNormLayer` replaces the paper's batch normalisation, so the flow starts as the map
    that standardises channels.

    `flows.dequantized` makes it a flow of images with integer levels.

    Args:
        event_shape: `(H, W, C)`, shape of an image.
        family: transformation of one dimension, one of `distrax_flows.families`; if None,
            `affine(max_log_scale=1.0)`.
        **options: those of `ImageOptions`.

    Raises:
        ValueError: height or width is not a multiple of 2 to the power `num_scales`.

    Reference:
        Dinh et al., "Density estimation using Real NVP", 2017, sections 3.4 to 3.6.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.image_realnvp((8, 8, 1), num_layers=2))
        >>> data = 3 + jax.random.normal(jax.random.key(0), (100, 8, 8, 1))
        >>> params = flow.init(jax.random.key(1), data)
        >>> flow.sample(params, jax.random.key(2), (10,)).shape
        (10, 8, 8, 1)
    """
    family = _affine() if family is None else family
    if options.get("between") is None:
        options["between"] = compose(ActNormLayer(), lambda x: Reverse(), event_ndims=3)

    def make_scale(scale: "_Scale", is_last: bool) -> Layer:
        couplings = scale.channel_coupling(family)
        of_fields = _by_fields(scale.layers.stack(couplings))
        if is_last:
            return of_fields
        return compose(of_fields, scale.layers.stack(couplings), event_ndims=3)

    return _multi_scale(event_shape, make_scale, options)


@takes(ImageOptions, without=_HIDDEN, changed={"num_layers": Option(4, "as in `image_realnvp`.")})
def image_nsf(
    event_shape: Shape,
    *,
    num_bins: int = 8,
    range_min: float = -5.0,
    range_max: float = 5.0,
    **options: Unpack[ImageOptions],
) -> Transformed:
    """Neural spline flow on images: `image_realnvp` with rational-quadratic splines.

    As in `nsf_coupling`, an affine map from the same network precedes each spline, seen from the
    data, so that it reaches beyond its interval. `image_glow((H, W, C), families.spline())` is the
    flow of the paper, with 1x1 convolutions.

    Args:
        event_shape: `(H, W, C)`, shape of an image.
        num_bins: bins of each spline, K.
        range_min: lower end of the interval of the splines.
        range_max: upper end.
        **options: those of `ImageOptions`.

    Reference:
        Durkan et al., "Neural Spline Flows", 2019, section 5.3.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.image_nsf((8, 8, 1), num_bins=4, num_layers=2))
        >>> data = jax.random.normal(jax.random.key(0), (100, 8, 8, 1))
        >>> params = flow.init(jax.random.key(1), data)
        >>> flow.sample(params, jax.random.key(2), (10,)).shape
        (10, 8, 8, 1)
    """
    return image_realnvp(event_shape, reaching_spline(num_bins, range_min, range_max), **options)


class _Scale(NamedTuple):
    """Ingredients of the couplings of one scale.

    Attributes:
        layers: options of layers, with the context of the scale's pixels.
        make_network: function from the shape and start of a pixel's parameters to a network.
    """

    layers: Layers
    make_network: Callable[[Shape, Sequence[float] | None], Callable[..., jax.Array]]

    def channel_coupling(self, family: Family) -> Layer:
        """Return a layer that transforms the second half of the channels, then mixes."""
        return lambda x: self.layers.mixed(self._given_first(family, x, x.shape[-1] // 2))

    def prior(self) -> Layer:
        """Return a layer that scales and shifts the channels that leave, given the others."""
        alone = self.layers._replace(num_layers=1)
        return alone.stack(
            lambda x: self._given_first(families.affine(), x, (x.shape[-1] + 1) // 2)
        )

    def _given_first(self, family: Family, x: jax.Array, size: int) -> distrax.SplitCoupling:
        shape = (x.shape[-1] - size, family.num_params)
        network = self.make_network(shape, family.start)
        return split_coupling(size, network, family, self.layers)


def _multi_scale(
    event_shape: Shape, make_scale: Callable[[_Scale, bool], Layer], options: ImageOptions
) -> Transformed:
    """Return a flow of images with the layers of `make_scale(scale, is_last)` at each scale."""
    own = resolve(ImageOptions, options)
    num_scales = check_positive_int("num_scales", own.num_scales)
    check_positive_int("hidden_channels", own.hidden_channels)
    check_image_shape(event_shape, "2 ** num_scales", 2**num_scales)
    context_map, batch_shape = own.context_map, ()
    if context_map is not None:
        context_map = _check_map(context_map, event_shape)
        batch_shape = context_map.shape[:-3]

    def make_layers(layers: Layers) -> Layer:
        def make_network(shape: Shape, start: Sequence[float] | None) -> Any:
            return own.network(
                shape, own.hidden_channels, own.activation, start=start, policy=own.policy
            )

        scales: list[Layer] = []
        of_pixels = context_map
        for s in range(num_scales):
            if of_pixels is not None:
                of_pixels, _ = forward(Squeeze(), of_pixels)
            context = _joined(layers.context, of_pixels)
            scale = _Scale(layers._replace(context=context), make_network)
            is_last = s == num_scales - 1
            layer = make_scale(scale, is_last)
            if own.learned_prior and not is_last:
                layer = compose(layer, scale.prior(), event_ndims=3)
            scales.append(layer)
        return lambda x: MultiScale([Learned(layer, event_ndims=3) for layer in scales])

    names = FlowOptions.__annotations__
    given: dict[str, Any] = {name: options[name] for name in options if name in names}
    return assemble(event_shape, make_layers, batch_shape=batch_shape, **given)


def _check_map(context_map: Any, event_shape: Shape) -> jax.Array:
    context_map = check_float_array("context_map", context_map, min_ndim=3)
    if context_map.shape[-3:-1] != event_shape[:2]:
        raise ValueError(
            "`context_map` must have the height and width of the images, [..., "
            f"{event_shape[0]}, {event_shape[1]}, K]; got context_map.shape={context_map.shape}."
        )
    return context_map


def _affine() -> Family:
    # Free scales let networks memorise training images: on digits they cost .05 bits.
    return families.affine(max_log_scale=1.0)


def _rotation(x: jax.Array) -> distrax.Bijector:
    """Return the linear map of a pixel; the density direction multiplies by its matrix."""
    return distrax.Inverse(Learned(LULinearLayer()))


def _by_fields(layer: Layer) -> Layer:
    """Apply a layer to the channels of squeezed images, white squares first."""

    def by_fields(x: jax.Array) -> distrax.Bijector:
        rows = np.arange(x.shape[-1]).reshape(4, -1)
        white_first = distrax.Block(Permutation(rows[[0, 3, 1, 2]].reshape(-1)), 2)
        return distrax.Chain([distrax.Inverse(white_first), Learned(layer, 3), white_first])

    return by_fields


def _joined(context: jax.Array | None, of_pixels: jax.Array | None) -> jax.Array | None:
    """Join a context of whole images, `[..., K]`, and one of pixels, `[..., H, W, K]`."""
    if context is not None:
        context = context[..., None, None, :]
    if context is None or of_pixels is None:
        return of_pixels if context is None else context
    shape = jnp.broadcast_shapes(context.shape[:-1], of_pixels.shape[:-1])
    parts = [jnp.broadcast_to(part, shape + part.shape[-1:]) for part in (context, of_pixels)]
    return jnp.concatenate(parts, axis=-1)
