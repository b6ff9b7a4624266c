"""The flow of a table, and its start at a mixture of Gaussians."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import distrax
import haiku as hk
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from distrax_flows import bases, families
from distrax_flows import flows as builders
from distrax_flows.bijectors import Shift
from distrax_flows.functional._transform import transform
from distrax_flows.functional.flow import Flow, Params
from distrax_flows.modules import LULinearLayer
from distrax_flows.tables._categories import CategoryTree
from distrax_flows.tables._columns import Column
from distrax_flows.tables._recipe import Recipe

__all__ = ["TableSpec", "with_location", "with_mixture"]

_MAX_LOG_SCALE = 10.0
_LOCATION = "given_categories"


@dataclasses.dataclass(frozen=True)
class TableSpec:
    """Everything that describes the density of a table, except the parameters of the flow.

    Attributes:
        columns: its columns.
        categories: joint distribution of those that are categories.
        recipe: the flow, and how it was trained.
        num_components: Gaussians of the base.
        library: library or container of the data; see `Frame`.
        facts: measurements made while fitting, by name.
    """

    columns: tuple[Column, ...]
    categories: CategoryTree
    recipe: Recipe
    num_components: int
    library: str
    facts: tuple[tuple[str, float], ...] = ()

    @property
    def numbers(self) -> tuple[Column, ...]:
        """The columns that are not categories."""
        return tuple(column for column in self.columns if not column.is_category)

    @property
    def num_lines(self) -> int:
        """Number of columns of numbers that are not on circles."""
        return sum(column.kind != "circle" for column in self.numbers)

    def for_files(self) -> Flow:
        """Return the flow of the columns of numbers, built by a function that holds all of this."""
        return transform(functools.partial(self._make(), self))

    def flow(self) -> Flow:
        """Return the flow of the columns of numbers; given the categories, if there are any.

        Tables with the same kinds of columns get the same flow, and so share compiled code.
        """
        columns = tuple(
            Column("", column.kind, support.low, support.high, tails=column.tails)
            for column in self.numbers
            for support in [column.support()]
        )
        alike = dataclasses.replace(
            self, columns=columns, categories=CategoryTree(), library="", facts=()
        )
        return _cached(self._make(), alike)

    def _make(self) -> Callable[..., Any]:
        return _given_categories if self.categories.order else _unconditional


@functools.lru_cache(maxsize=64)
def _cached(make: Callable[..., Any], spec: TableSpec) -> Flow:
    return transform(functools.partial(make, spec))


def _unconditional(spec: TableSpec) -> builders.Transformed:
    return _build(spec, None)


def _given_categories(spec: TableSpec, context: Float[Array, "... C"]) -> builders.Transformed:
    return _build(spec, context)


def _build(spec: TableSpec, context: Float[Array, "... C"] | None) -> builders.Transformed:
    recipe, size = spec.recipe, spec.num_lines
    base = None
    if size:
        base = bases.gaussian_mixture(
            size, spec.num_components, covariance="full", max_log_scale=_MAX_LOG_SCALE
        )
    is_spline = recipe.flow.startswith("nsf")
    family = families.spline(recipe.num_bins) if is_spline else families.affine()
    is_coupling = recipe.flow in ("nsf_coupling", "realnvp")
    structure = builders.coupling if is_coupling else builders.autoregressive
    flow = structure(
        len(spec.numbers),
        family,
        num_layers=recipe.num_layers,
        hidden_sizes=recipe.hidden_sizes,
        between=_linear,
        context=context,
        base=base,
        standardize=True,
        support=[column.support() for column in spec.numbers],
    )
    if context is None or not size:
        return flow
    # With few rows and weight decay, networks learn slowly what a linear map gives from the start.
    with hk.name_scope(_LOCATION):
        shape = (context.shape[-1], size)
        location = context @ hk.get_parameter("location", shape, context.dtype, init=jnp.zeros)
    on_circles = [(0, 0)] * (context.ndim - 1) + [(0, len(spec.numbers) - size)]
    bijector = distrax.Chain([flow.bijector, Shift(jnp.pad(location, on_circles))])
    return builders.Transformed(
        flow.distribution, bijector, is_discrete=flow.is_discrete, supports=flow.supports
    )


def _linear(x: Float[Array, "... D"]) -> distrax.Bijector:
    return LULinearLayer()(x)


def with_location(params: Params, location: Float[np.ndarray, "C L"]) -> Params:
    """Return the parameters with a location of the base that is linear in the categories."""
    return params | {_LOCATION: {"location": jnp.asarray(location, jnp.float32)}}


def with_mixture(
    params: Params,
    weights: Float[np.ndarray, " K"],
    means: Float[np.ndarray, "K D"],
    covariances: Float[np.ndarray, "K D D"],
) -> Params:
    """Return the parameters with a mixture of Gaussians as the base of `bases.gaussian_mixture`."""
    factors = np.linalg.cholesky(covariances)
    scales = np.einsum("kii->ki", factors)
    rows, columns = np.tril_indices(means.shape[1], -1)
    bound = np.log(scales).clip(-0.99 * _MAX_LOG_SCALE, 0.99 * _MAX_LOG_SCALE) / _MAX_LOG_SCALE
    mixture: Mapping[str, Any] = {
        "logits": np.log(weights),
        "means": means,
        "log_scales": _MAX_LOG_SCALE * np.arctanh(bound),  # the inverse of `soft_clip`
        "shears": (factors / scales[:, :, None])[:, rows, columns],
    }
    (name,) = (name for name in params if name.endswith("gaussian_mixture_base"))
    like = params[name]
    return params | {
        name: {entry: jnp.asarray(mixture[entry], like[entry].dtype) for entry in like}
    }
