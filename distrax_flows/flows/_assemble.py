"""What all builders share: their options, their layers, and the ends of a flow."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import jmp
import numpy as np

from distrax_flows._base import WithAngles, make_base
from distrax_flows._checks import (
    check_choice,
    check_float_array,
    check_positive_int,
    check_sizes,
)
from distrax_flows._transformed import Transformed
from distrax_flows._types import Activation
from distrax_flows.bijectors import Permutation, Reverse
from distrax_flows.families import Family
from distrax_flows.flows._layers import Layers, angle_layers
from distrax_flows.modules import (
    GivenFirst,
    Layer,
    Learned,
    RobustStandardize,
    Standardize,
    compose,
)
from distrax_flows.supports import Support, as_supports, onto

__all__ = ["FlowOptions", "assemble", "refuse"]


class FlowOptions(TypedDict, total=False):
    """Keyword arguments that all builders share; the package's docstring describes them."""

    num_layers: int
    hidden_sizes: Sequence[int]
    activation: Activation
    between: Layer
    context: jax.Array | None
    base: distrax.DistributionLike | None
    standardize: bool | str
    support: Support | Sequence[Support] | None
    remat: bool
    unroll: bool
    policy: jmp.Policy | None


def refuse(builder: str, options: Mapping[str, Any], *names: str) -> None:
    """Raise for options that do not apply to a builder."""
    for name in names:
        if name in options:
            raise TypeError(
                f"`{builder}` takes no `{name}`, which would have no effect there; got "
                f"{name}={options[name]!r}."
            )


def assemble(
    event_size: int,
    make_layers: Callable[[Layers], Layer],
    family: Family | None = None,
    *,
    coupled: bool = True,
    num_layers: int = 8,
    hidden_sizes: Sequence[int] = (64, 64),
    activation: Activation = jax.nn.relu,
    between: Layer = lambda x: Reverse(),
    context: jax.Array | None = None,
    base: distrax.DistributionLike | None = None,
    standardize: bool | str = False,
    support: Support | Sequence[Support] | None = None,
    remat: bool = False,
    unroll: bool = False,
    policy: jmp.Policy | None = None,
) -> Transformed:
    """Make a flow of the layers that `make_layers` returns, between a base and the data.

    `make_layers` gets the options of layers, and returns the layer of all dimensions that are no
    circles. The circle is no image of the line: dimensions on circles start uniform, and have
    layers of circular splines. The others are transformed as if they were alone. `family` is what
    happens to one dimension, if it is a family that does; `coupled` says whether dimensions depend
    on each other. All other arguments are those of `FlowOptions`.
    """
    event_size = check_positive_int("event_size", event_size)
    check_positive_int("num_layers", num_layers)
    check_sizes("hidden_sizes", hidden_sizes)
    check_choice("standardize", standardize, (False, True, "robust"))
    _check_policy(policy)
    normalizer = RobustStandardize if standardize == "robust" else Standardize
    batch_shape = ()
    if context is not None:
        context = check_float_array("context", context, min_ndim=1)
        batch_shape = context.shape[:-1]
        if standardize:
            normalize_context = Learned(normalizer(name="standardize_context"))
            context, _ = normalize_context.inverse_and_log_det(context)
    layers = Layers(num_layers, hidden_sizes, activation, between, context, remat, unroll, policy)
    layer, normalize = make_layers(layers), None
    if standardize:
        normalize = normalizer()
        layer = compose(normalize, layer)
    supports = as_supports(support, event_size)
    lines = [d for d in range(event_size) if supports[d].kind != "circle"]
    circles = [d for d in range(event_size) if supports[d].kind == "circle"]
    if family is not None and base is None and family.is_affine:
        _warn_of_gaussian(event_size, len(lines), coupled)
    bijectors = []
    if any(entry.kind != "real" for entry in supports):
        bijectors.append(onto(supports))
    dtype = _noise_dtype(context)
    distribution = make_base(base, len(lines), batch_shape, dtype) if lines else None
    if circles:
        angles = angle_layers(layers, coupled, normalize)
        bijectors.append(Permutation(np.argsort(lines + circles)))
        bijectors.append(GivenFirst(len(lines), layer, angles))
        distribution = WithAngles(distribution, len(circles), batch_shape, dtype)
    else:
        bijectors.append(Learned(layer))
    return Transformed(distribution, distrax.Chain(bijectors))


def _noise_dtype(context: jax.Array | None) -> jnp.dtype:
    """The dtype of the parameters that there are, and of the context; float32 at least."""
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


def _warn_of_gaussian(event_size: int, num_lines: int, coupled: bool) -> None:
    if num_lines == 1 or (num_lines > 1 and not coupled):
        warnings.warn(
            "Affine layers give a dimension that depends on no other a Gaussian density (given the "
            f"context), whatever they learn; got {event_size=}. `flows.nsf_coupling`, or a family "
            "such as `families.spline()`, learns other shapes.",
            UserWarning,
            stacklevel=4,
        )
