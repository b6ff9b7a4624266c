"""How each target is fitted."""

import dataclasses
from collections.abc import Callable

import distrax

from distrax_flows import Annealing, families, flows
from distrax_flows.training import FAB, Divergence, LogVariance, ReverseKL

DIVERGENCES: dict[str, Divergence] = {
    "reverse_kl": ReverseKL(),
    "log_variance": LogVariance(),
    "fab": FAB(annealing=Annealing(num_temperatures=4)),
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A flow, a divergence and the steps of a fit."""

    build: Callable[..., distrax.Transformed]  # of `hidden_sizes` and `num_layers`
    num_layers: int
    divergence: str
    num_steps: int
    reach: float = 1.0  # standard deviation of the flow at the start
    learning_rate: float = 1e-3
    num_samples: int = 256


def _funnel(**options) -> distrax.Transformed:
    # Log-scales of the funnel reach 6.
    return flows.autoregressive(10, families.affine(max_log_scale=9.0), fast="sampling", **options)


def _many_well(**options) -> distrax.Transformed:
    return flows.nsf_coupling(32, num_bins=12, **options)


def _gaussians(**options) -> distrax.Transformed:
    return flows.nsf_coupling(2, num_bins=16, standardize=True, **options)


def _eight_schools(**options) -> distrax.Transformed:
    return flows.nsf_coupling(10, **options)


RECIPES = {
    "funnel": Recipe(_funnel, 2, "reverse_kl", 4_000),
    "many_well": Recipe(_many_well, 4, "reverse_kl", 4_000),
    "gaussians": Recipe(_gaussians, 8, "fab", 8_000, reach=25.0),
    "eight_schools": Recipe(_eight_schools, 4, "reverse_kl", 4_000),
}
