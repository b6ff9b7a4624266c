"""Flows of estimators: equal ones are the same object, so that fits share compiled code."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import distrax
import jax

from distrax_flows import flows
from distrax_flows._core.checks import check_choice
from distrax_flows.functional._transform import transform
from distrax_flows.functional.flow import Flow
from distrax_flows.modules import LULinearLayer
from distrax_flows.tables._recipe import FLOWS, Recipe

__all__ = ["FlowSpec", "MakeFlow", "flow_of", "spec_of"]

# Builds a flow of events of a size: `make(event_size)`, or `make(event_size, context=context)`.
MakeFlow: TypeAlias = Callable[..., distrax.Transformed]


def _mix(x: jax.Array) -> distrax.Bijector:
    return LULinearLayer()(x)


_BUILDERS = {name: getattr(flows, name) for name in FLOWS}


@dataclasses.dataclass(frozen=True)
class FlowSpec:
    """A flow, described by hashable values.

    Attributes:
        make: builder, called as `make(*args, event_size, **options)`.
        args: arguments before the size.
        options: names and values of further arguments.
        event_size: number of dimensions, D.
        is_conditional: whether `make` is given a `context`.
    """

    make: MakeFlow
    args: tuple
    options: tuple[tuple[str, Any], ...]
    event_size: int
    is_conditional: bool


def spec_of(
    flow: str | MakeFlow, recipe: Recipe, event_size: int, is_conditional: bool
) -> FlowSpec:
    """Return the description of a flow.

    Args:
        flow: name of a builder of `flows`, "auto" for the one of the recipe, or a function.
        recipe: the sizes, which a function does not get.
        event_size: number of dimensions, D.
        is_conditional: whether the flow has a context.

    Raises:
        ValueError: there is no such builder.
    """
    if callable(flow):
        return FlowSpec(*_parts(flow), event_size, is_conditional)
    check_choice("flow", flow, ("auto", *_BUILDERS))
    name = recipe.flow if flow == "auto" else flow
    options: dict[str, Any] = {
        "num_layers": recipe.num_layers,
        "hidden_sizes": recipe.hidden_sizes,
        "standardize": True,
    }
    if name.startswith("nsf"):
        options["num_bins"] = recipe.num_bins
    if event_size > 1:
        options["between"] = _mix
    return FlowSpec(_BUILDERS[name], (), tuple(options.items()), event_size, is_conditional)


@functools.lru_cache(maxsize=64)
def flow_of(spec: FlowSpec) -> Flow:
    """Return the flow."""
    return transform(functools.partial(_conditional if spec.is_conditional else _build, spec))


def _build(spec: FlowSpec) -> distrax.Transformed:
    return spec.make(*spec.args, spec.event_size, **dict(spec.options))


def _conditional(spec: FlowSpec, context: jax.Array) -> distrax.Transformed:
    return spec.make(*spec.args, spec.event_size, context=context, **dict(spec.options))


def _parts(make: MakeFlow) -> tuple[MakeFlow, tuple, tuple[tuple[str, Any], ...]]:
    """Return a function and its arguments, because partials of equal parts are not equal."""
    if isinstance(make, functools.partial):
        parts = make.func, make.args, tuple(make.keywords.items())
        try:
            hash(parts)
        except TypeError:
            return make, (), ()
        return parts
    return make, (), ()
