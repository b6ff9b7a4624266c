"""Recipes of the flows: their builders, and what helps them."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import distrax
import jax

import distrax_flows as dxf

EMA_DECAY = 0.999  # of all fits


class Recipe(NamedTuple):
    """Label, builder and description of a flow."""

    label: str  # its name in pictures
    # builder, which takes the options shared by all builders
    build: Callable[..., distrax.Transformed]
    # what helps it besides the moving average of its parameters, in words
    helped_by: str = "standardised; silu(2x) networks"


def steep_silu(x: jax.Array) -> jax.Array:
    """`silu(2x)`: smooth, and curved enough within the range of the data for affine layers."""
    return jax.nn.silu(2 * x)


def _smooth(build: Callable[..., distrax.Transformed]) -> Callable[..., distrax.Transformed]:
    return functools.partial(build, activation=steep_silu)


_affine_spline = dxf.families.chain(dxf.families.affine(), dxf.families.spline(num_bins=12))

RECIPES = {
    "maf": Recipe("MAF", _smooth(dxf.flows.maf)),
    "realnvp": Recipe("RealNVP", _smooth(dxf.flows.realnvp)),
    "nsf_coupling": Recipe(
        "Spline coupling",
        functools.partial(dxf.flows.coupling, family=_affine_spline),
        "standardised; spline of 12 bins on [-5, 5] with linear tails, then affine, per coupling",
    ),
    "glow": Recipe("Glow", _smooth(dxf.flows.glow)),
    "hint": Recipe("HINT", _smooth(dxf.flows.hint)),
}
