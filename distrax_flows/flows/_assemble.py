"""The parts that all builders share: options, layers, base, support and standardisation."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypedDict

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import jmp
import numpy as np

from distrax_flows._core.checks import (
    as_event_shape,
    check_choice,
    check_float_array,
    check_positive_int,
    check_sizes,
)
from distrax_flows._core.options import Option, resolve
from distrax_flows._core.types import Activation, Shape
from distrax_flows._core.warn import warn
from distrax_flows.bases._checked import WithAngles, make_base
from distrax_flows.bijectors import Permutation, Reshape
from distrax_flows.families import Family
from distrax_flows.flows._layers import Layers, angle_layers
from distrax_flows.flows._rounding import Rounding
from distrax_flows.flows._transformed import Transformed
from distrax_flows.modules import (
    GivenFirst,
    Layer,
    Learned,
    RobustStandardize,
    Standardize,
    compose,
)
from distrax_flows.supports import Circle, Support, as_supports, onto

__all__ = ["FlowOptions", "assemble", "check_image_shape"]


class FlowOptions(TypedDict, total=False):
    """Keyword arguments that builders of flows share; each builder takes those that apply."""

    num_layers: Annotated[int, Option(8, "number of layers; they compile as one.")]
    hidden_sizes: Annotated[
        Sequence[int], Option((64, 64), "units of each hidden layer of each network.")
    ]
    activation: Annotated[
        Activation,
        Option(jax.nn.relu, "activation of the networks, elementwise.", "jax.nn.relu"),
    ]
    between: Annotated[
        Layer | None,
        Option(
            None,
            "a layer that mixes the dimensions after each layer, seen from the base: any function "
            "or Haiku module from an input to a bijector of vectors. None reverses their order. "
            "`modules.compose(modules.ActNormLayer(), modules.LULinearLayer())` turns any flow "
            "into a Glow.",
        ),
    ]
    context: Annotated[
        jax.Array | None,
        Option(
            None,
            "`[..., C]`, what the density is conditioned on, an input of every network; or None. "
            "The flow takes its batch shape.",
        ),
    ]
    base: Annotated[
        distrax.DistributionLike | None,
        Option(
            None,
            "any distrax or TFP distribution of the flow's event shape; standard normal if None. "
            "`distrax_flows.bases` has learnable ones.",
        ),
    ]
    standardize: Annotated[
        bool | str,
        Option(
            False,
            "whether the first layer, seen from the data, subtracts the mean and divides by the "
            "standard deviation of the data that the flow is initialised on; the same for the "
            'context. The log-det is included. "robust" uses the median and the interquartile '
            "range, which outliers do not affect. These statistics are never trained.",
        ),
    ]
    support: Annotated[
        Support | Sequence[Support] | None,
        Option(
            None,
            "a support of `distrax_flows.supports`, or one per dimension; the real line if None. "
            "The density is zero outside.",
        ),
    ]
    remat: Annotated[
        bool,
        Option(
            False,
            "whether gradients store only the inputs of layers and recompute everything else: "
            "the memory of one layer's network instead of all, for about one more pass.",
        ),
    ]
    unroll: Annotated[
        bool,
        Option(
            False,
            "whether each layer is compiled separately: steps take up to a quarter less time on a "
            "CPU, but each layer adds compile time.",
        ),
    ]
    policy: Annotated[
        jmp.Policy | None,
        Option(
            None,
            "dtypes of the networks, such as "
            '`jmp.get_policy("params=float32,compute=bfloat16,output=float32")`; those of the data '
            "if None. Bijectors compute in the policy's output dtype.",
        ),
    ]
    name: Annotated[
        str | None,
        Option(
            None,
            "Haiku scope of the flow's parameters, `name/...`, to tell several flows of one "
            "transform apart; none if None.",
        ),
    ]


def assemble(
    event_shape: int | Shape,
    make_layers: Callable[[Layers], Layer],
    family: Family | None = None,
    *,
    coupled: bool = True,
    batch_shape: Shape = (),
    **given: Any,
) -> Transformed:
    """Return a flow with the layers of `make_layers` between the base and the data.

    `make_layers` maps the options of layers to the layer of all dimensions that are not on circles.
    A circle is not an image of the line, so dimensions on circles have a uniform base and layers of
    circular splines. The others are transformed as if there were no circles. `family` transforms
    one dimension, if the flow uses a family; `coupled` says whether dimensions depend on each
    other; `batch_shape` is that of anything the flow depends on besides `context`. All other
    arguments are those of `FlowOptions`.
    """
    options = resolve(FlowOptions, given)
    scope = contextlib.nullcontext() if options.name is None else hk.name_scope(options.name)
    with scope:
        return _assemble(event_shape, make_layers, family, coupled, batch_shape, options)


def _assemble(
    event_shape: int | Shape,
    make_layers: Callable[[Layers], Layer],
    family: Family | None,
    coupled: bool,
    batch_shape: Shape,
    options: Any,
) -> Transformed:
    event_shape = as_event_shape(event_shape)
    event_ndims = len(event_shape)
    check_positive_int("num_layers", options.num_layers)
    check_sizes("hidden_sizes", options.hidden_sizes)
    check_choice("standardize", options.standardize, (False, True, "robust"))
    _check_policy(options.policy)
    normalizer = RobustStandardize if options.standardize == "robust" else Standardize
    context = options.context
    if context is not None:
        context = check_float_array("context", context, min_ndim=1)
        batch_shape = jnp.broadcast_shapes(batch_shape, context.shape[:-1])
        if options.standardize:
            normalize_context = Learned(normalizer(name="standardize_context"))
            context, _ = normalize_context.inverse_and_log_det(context)
    dtype = _noise_dtype(context)
    layers = Layers(
        options.num_layers,
        options.hidden_sizes,
        options.activation,
        options.between,
        context,
        options.remat,
        options.unroll,
        options.policy,
        event_ndims,
    )
    layer, normalize = make_layers(layers), None
    if options.standardize:
        normalize = normalizer()
        normalize_event = normalize if event_ndims else _of_scalars(normalize)
        layer = compose(normalize_event, layer, event_ndims=event_ndims)
    supports = as_supports(options.support, event_shape)
    lines, circles = (
        [d for d, support in enumerate(supports) if isinstance(support, Circle) == on_circle]
        for on_circle in (False, True)
    )
    if family is not None and options.base is None and family.is_affine:
        _warn_of_gaussian(event_shape, len(lines), coupled)
    bijectors: list[distrax.Bijector] = []
    rounds = [support.is_integer for support in supports]
    if any(rounds):
        bijectors.append(Rounding(supports, event_ndims))
    if any(support.bijector() is not None for support in supports):
        bijectors.append(onto(supports, event_ndims))
    if not circles:
        distribution = make_base(options.base, event_shape, batch_shape, dtype)
        bijectors.append(Learned(layer, event_ndims))
        return Transformed(
            distribution, distrax.Chain(bijectors), is_discrete=all(rounds), supports=supports
        )
    distribution = None
    if lines:
        distribution = make_base(options.base, (len(lines),), batch_shape, dtype)
    angles = angle_layers(layers, coupled, normalize)
    bijectors.append(Permutation(np.argsort(lines + circles)))
    bijectors.append(GivenFirst(len(lines), layer, angles))
    distribution = WithAngles(distribution, len(circles), batch_shape, dtype)
    return Transformed(distribution, distrax.Chain(bijectors), supports=supports)


def check_image_shape(event_shape: Shape, name: str, factor: int) -> None:
    """Raise unless the shape is `(H, W, C)`, with H and W multiples of `factor`, called `name`."""
    if not isinstance(event_shape, tuple) or len(event_shape) != 3:
        raise ValueError(f"`event_shape` must be (height, width, channels); got {event_shape=}.")
    if any(size % factor for size in event_shape[:2]):
        raise ValueError(
            f"`event_shape` must have a height and a width that are multiples of `{name}`, "
            f"{factor}; got {event_shape=}. Pad the images, or choose another one."
        )


def _of_scalars(layer: Layer) -> Layer:
    """Adapt a layer of vectors to scalar events: each becomes a vector of size 1."""
    return lambda x: distrax.Chain(
        [Reshape((1,), ()), Learned(layer), distrax.Inverse(Reshape((1,), ()))]
    )


def _noise_dtype(context: jax.Array | None) -> jnp.dtype:
    """Return the common dtype of existing parameters and the context; float32 at least."""
    leaves = [leaf.dtype for leaf in jax.tree.leaves((hk.get_params(), context))]
    floating = [dtype for dtype in leaves if jnp.issubdtype(dtype, jnp.floating)]
    return jnp.result_type(jnp.float32, *floating)


def _check_policy(policy: jmp.Policy | None) -> None:
    if policy is not None and not isinstance(policy, jmp.Policy):
        raise TypeError(
            "`policy` must be a `jmp.Policy`, such as "
            '`jmp.get_policy("params=float32,compute=bfloat16,output=float32")`; got '
            f"{policy=}."
        )


def _warn_of_gaussian(event_shape: Shape, num_lines: int, coupled: bool) -> None:
    if num_lines == 1 or (num_lines > 1 and not coupled):
        warn(
            "Affine layers give a dimension that depends on no other a Gaussian density (given the "
            f"context), whatever they learn; got {event_shape=}. `flows.nsf_coupling`, or a family "
            "such as `families.spline()`, learns other shapes.",
            UserWarning,
        )
