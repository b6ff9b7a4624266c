"""Recipes of the flows."""

import dataclasses
import functools
from collections.abc import Callable

import distrax

from distrax_flows import flows


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Builder and training of a flow."""

    label: str  # its name in pictures
    # maps an event size, and the options shared by all builders, to the flow
    build: Callable[..., distrax.Transformed]
    learning_rate: float = 1e-3  # initial rate; a cosine decays it to zero
    # multiple of the requested layers and steps. Layers without networks are thin and cheap, and
    # their parameters move far.
    times: int = 1
    has_networks: bool = True  # whether hidden sizes apply
    has_splines: bool = False  # whether the reach of splines applies


def _thin(label: str, build: Callable[..., distrax.Transformed], learning_rate: float) -> Recipe:
    """A flow of thin layers, which samples by the closed-form direction, as in the paper."""
    build = functools.partial(build, fast="sampling")
    return Recipe(label, build, learning_rate, times=4, has_networks=False)


RECIPES = {
    "planar": _thin("planar", flows.planar, 2e-2),
    "radial": _thin("radial", flows.radial, 3e-2),
    "realnvp": Recipe("RealNVP", flows.realnvp),
    "iaf": Recipe("IAF", flows.iaf),
    "nsf_coupling": Recipe("spline coupling", flows.nsf_coupling, has_splines=True),
}
