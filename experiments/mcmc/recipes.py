"""Recipes of the flows."""

import dataclasses
import functools

import distrax
import jax
import numpy as np

import distrax_flows as dxf
from distrax_flows import families, flows

# A shift before the scale, `(z - shift) / scale`: where the scale is tiny, as in the neck of a
# funnel, so is the effect of an error of the shift.
_SHIFT_SCALE = families.inverse(families.affine(max_log_scale=10.0))
FAMILIES = {
    "affine": _SHIFT_SCALE,
    "spline": families.chain(_SHIFT_SCALE, families.spline()),
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """An inverse autoregressive flow."""

    family: str = "affine"  # how each coordinate is transformed, given those before
    num_layers: int = 2
    hidden_sizes: tuple[int, ...] = (32, 32)
    # The order of coordinates: "kept" by all layers, for hierarchical models, whose parameters
    # come in the order in which the model samples them; or "reversed" after each layer.
    order: str = "reversed"


# Cached, so that fits of all seeds share compiled code.
@functools.cache
def make_flow(recipe: Recipe, event_size: int) -> dxf.Flow:
    """The flow of a recipe."""
    return dxf.transform(
        lambda: flows.autoregressive(
            event_size,
            FAMILIES[recipe.family],
            fast="sampling",
            num_layers=recipe.num_layers,
            hidden_sizes=recipe.hidden_sizes,
            activation=jax.nn.silu,
            between=_keep if recipe.order == "kept" else None,
        )
    )


def _keep(x: jax.Array) -> distrax.Bijector:
    return dxf.Permutation(np.arange(x.shape[-1]))


RECIPES = {
    "banana": Recipe(),
    "funnel": Recipe(num_layers=1, order="kept"),
    "eight_schools": Recipe(family="spline", order="kept"),
    "logistic": Recipe(hidden_sizes=(64, 64)),
}
