"""Flows of images, and their sizes and training on each data set."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import distrax
import jax

import distrax_flows as dxf
from distrax_flows import bases, families, flows, modules, supports


class Recipe(NamedTuple):
    """Sizes and training of a flow."""

    num_layers: int  # layers; of flows with scales, of each scale
    num_scales: int  # of flows of images
    hidden_size: int  # units, channels or features of each network
    # residual blocks of each network, or blocks of transformers; Glow's three convolutions if 0
    num_blocks: int
    learning_rate: float  # initial rate of Adam; a cosine decays it to zero
    weight_decay: float  # a step shrinks matrices by this times the learning rate
    ema_decay: float  # of the moving average of the parameters, which is validated and kept
    batch_size: int  # images of a batch
    num_steps: int  # maximum number of steps
    eval_every: int  # steps between validations
    patience: int  # validations without improvement that end a fit


Shape = tuple[int, int, int]


def _flat(builder: Callable[..., distrax.Transformed], shape: Shape, recipe: Recipe):
    """A flow of vectors as one of images, with linear maps between its layers."""
    size = shape[0] * shape[1] * shape[2]
    flow = builder(
        size,
        num_layers=recipe.num_layers,
        hidden_sizes=(recipe.hidden_size, recipe.hidden_size),
        standardize=True,
    )
    to_images = dxf.Reshape((size,), shape)
    bijector = distrax.Chain([to_images, flow.bijector])
    return flows.Transformed(flow.distribution, bijector, event_shape=shape)


def _maf(size: int, **options):
    return flows.maf(size, between=_lu, **options)


def _nsf_coupling(size: int, **options):
    return flows.coupling(size, families.spline(4), between=_lu, **options)


def _lu(x: jax.Array) -> distrax.Bijector:
    """A linear map that the density direction multiplies by."""
    return distrax.Inverse(modules.Learned(modules.LULinearLayer()))


def _scales(builder: Callable[..., distrax.Transformed], shape: Shape, recipe: Recipe):
    return builder(
        shape,
        num_layers=recipe.num_layers,
        num_scales=recipe.num_scales,
        hidden_channels=recipe.hidden_size,
        network=_network(recipe.num_blocks),
    )


def _network(num_blocks: int) -> Callable[..., Any]:
    if num_blocks == 0:
        return modules.ConvNet
    return functools.partial(modules.GatedConvNet, num_blocks=num_blocks)


def _patches(shape: Shape, recipe: Recipe):
    return flows.image_autoregressive(
        shape,
        num_layers=recipe.num_layers,
        hidden_size=recipe.hidden_size,
        num_blocks=recipe.num_blocks,
        between=_lu,
    )


# A flow on the real line for images of a shape.
FLOWS: dict[str, Callable[[Shape, Recipe], distrax.Transformed]] = {
    "maf_flat": functools.partial(_flat, _maf),
    "nsf_coupling_flat": functools.partial(_flat, _nsf_coupling),
    "glow_flat": functools.partial(_flat, flows.glow),
    "realnvp": functools.partial(_scales, flows.image_realnvp),
    "nsf": functools.partial(_scales, flows.image_nsf),
    "glow": functools.partial(_scales, flows.image_glow),
    "patches": _patches,
    "realnvp_variational": functools.partial(_scales, flows.image_realnvp),
}


# Cached, so that all fits of a flow share compiled code.
@functools.cache
def make_flow(name: str, shape: Shape, num_levels: int, recipe: Recipe) -> dxf.Flow:
    """The flow of that name, of integer levels."""
    noise = None
    if name.endswith("_variational"):
        noise = functools.partial(_noise, recipe=recipe)

    def make():
        return flows.dequantized(FLOWS[name](shape, recipe), num_levels, noise=noise)

    return dxf.transform(make)


def _noise(image: jax.Array, recipe: Recipe) -> distrax.Distribution:
    """A flow of the noise given the image, which starts uniform."""
    shape = image.shape[-3:]
    return flows.image_realnvp(
        shape,
        num_layers=2,
        num_scales=1,
        hidden_channels=max(recipe.hidden_size // 2, 4),
        context_map=image,
        between=lambda x: dxf.Reverse(),
        base=bases.logistic(shape),
        support=supports.interval(0.0, 1.0),
    )


def recipe_for(dataset: str, flow: str) -> Recipe:
    """The recipe of a flow on a named set."""
    if dataset == "digits":
        return _DIGITS[flow]
    size = 512 if flow.endswith("_flat") else 64
    return _LARGE._replace(hidden_size=size, num_scales=3 if dataset == "cifar10" else 2)


# There are few digits: weight decay and early stopping keep networks from learning them by heart.
_SMALL = Recipe(
    num_layers=8,
    num_scales=2,
    hidden_size=64,
    num_blocks=0,
    learning_rate=1e-3,
    weight_decay=1.0,
    ema_decay=0.995,
    batch_size=64,
    num_steps=2_500,
    eval_every=100,
    patience=10,
)
_FLAT = _SMALL._replace(
    num_layers=4, hidden_size=128, weight_decay=3.0, batch_size=128, num_steps=15_000
)
_GATED = _SMALL._replace(num_layers=4, num_blocks=2, num_steps=2_000, weight_decay=5.0)
_DIGITS = {
    "maf_flat": _FLAT,
    "nsf_coupling_flat": _FLAT,
    "glow_flat": _FLAT,
    "realnvp": _GATED,
    "nsf": _GATED,
    "glow": _SMALL,
    "patches": _SMALL._replace(num_layers=4, num_blocks=2),
    "realnvp_variational": _GATED,
}
_LARGE = Recipe(
    num_layers=8,
    num_scales=2,
    hidden_size=64,
    num_blocks=2,
    learning_rate=1e-3,
    weight_decay=0.01,
    ema_decay=0.999,
    batch_size=64,
    num_steps=100_000,
    eval_every=500,
    patience=10,
)
