"""Flows of the zoo: every builder of `distrax_flows.flows`, structures with named families."""

import dataclasses
import functools
from collections.abc import Callable

import distrax

from distrax_flows import families, flows

# For flows without networks, whose own parameters move further than the weights of a network.
FREE_LEARNING_RATE = 2e-2


@dataclasses.dataclass(frozen=True)
class Entry:
    """Builder, learning rate and depth of a flow."""

    # maps an event size, and the options shared by all builders, to the flow
    build: Callable[..., distrax.Transformed]
    learning_rate: float = 1e-3  # initial rate; a cosine decays it to zero
    # maps the requested number of layers to that of this flow
    layers: Callable[[int], int] = lambda num_layers: num_layers


def _bernstein(event_size: int, *, standardize: bool = False, **_) -> distrax.Transformed:
    """A single layer without networks, to which no other shared option applies."""
    return flows.bernstein(event_size, standardize=standardize)


def _fourfold(num_layers: int) -> int:
    """Number of thin layers, which have a few parameters each."""
    return 4 * num_layers


def _with(structure: Callable[..., distrax.Transformed], family: families.Family) -> Entry:
    return Entry(functools.partial(structure, family=family))


# A structure that takes any family comes as `<structure>-<family>`. Couplings run the inverse of a
# family to evaluate a density: one with a single direction in closed form is inverted.
ZOO: dict[str, Entry] = {
    "planar": Entry(flows.planar, FREE_LEARNING_RATE, _fourfold),
    "radial": Entry(flows.radial, FREE_LEARNING_RATE, _fourfold),
    "sylvester": Entry(flows.sylvester, FREE_LEARNING_RATE, _fourfold),
    "nice": Entry(flows.nice),
    "realnvp": Entry(flows.realnvp),
    "glow": Entry(flows.glow),
    "hint": Entry(flows.hint),
    "maf": Entry(flows.maf),
    "iaf": Entry(flows.iaf),
    "nsf_coupling": Entry(flows.nsf_coupling),
    "nsf_autoregressive": Entry(flows.nsf_autoregressive),
    "bernstein": Entry(_bernstein, FREE_LEARNING_RATE, lambda _: 1),
    "bernstein_coupling": Entry(flows.bernstein_coupling),
    "bernstein_autoregressive": Entry(flows.bernstein_autoregressive),
    "independent-spline": Entry(
        functools.partial(flows.independent, family=families.spline()), FREE_LEARNING_RATE
    ),
    "coupling-spline": _with(flows.coupling, families.spline()),
    "coupling-logistic_mixture": _with(
        flows.coupling, families.inverse(families.logistic_mixture())
    ),
    "coupling-deep_sigmoidal": _with(flows.coupling, families.inverse(families.deep_sigmoidal())),
    "coupling-sum_of_squares": _with(flows.coupling, families.inverse(families.sum_of_squares())),
    "autoregressive-deep_sigmoidal": _with(flows.autoregressive, families.deep_sigmoidal()),
    "autoregressive-sum_of_squares": _with(flows.autoregressive, families.sum_of_squares()),
}
