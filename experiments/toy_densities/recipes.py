"""How each flow is built, and what helps it."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import distrax
import jax

import distrax_flows as dxf

EMA_DECAY = 0.999  # of all fits


class Recipe(NamedTuple):
    """How a flow is built."""

    label: str  # its name in pictures
    # the builder; it takes the options that all builders share
    build: Callable[..., distrax.Transformed]
    # what helps it beside the moving average of its parameters, in words
    helped_by: str = "standardised; silu(2x) networks"


def steep_silu(x: jax.Array) -> jax.Array:
    """`silu(2x)`: smooth, and as bent within the data's range as affine layers need."""
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
