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
_FAMILY = families.inverse(families.affine(max_log_scale=10.0))


@dataclasses.dataclass(frozen=True)
class Recipe:
    """An inverse autoregressive flow."""

    num_layers: int = 2
    hidden_sizes: tuple[int, ...] = (32, 32)
    # The order of coordinates: "reversed" after each layer, or "kept". A single layer that keeps it
    # can be exact if x_d given x_1, ..., x_{d-1} is Gaussian for each d, as in the funnel.
    order: str = "reversed"


# Cached, so that fits of all seeds share compiled code.
@functools.cache
def make_flow(recipe: Recipe, event_size: int) -> dxf.Flow:
    """The flow of a recipe."""
    return dxf.transform(
        lambda: flows.autoregressive(
            event_size,
            _FAMILY,
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
    "eight_schools": Recipe(num_layers=4),
    "logistic": Recipe(hidden_sizes=(64, 64)),
}
