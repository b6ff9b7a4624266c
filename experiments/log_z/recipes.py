"""How each target is fitted."""

import dataclasses
from collections.abc import Callable

import distrax
import jax
import numpy as np

from distrax_flows import Permutation, families, flows
from distrax_flows.training import FAB, Divergence, LogVariance, ReverseKL

DIVERGENCES: dict[str, Divergence] = {
    "reverse_kl": ReverseKL(),
    "log_variance": LogVariance(),
    "fab": FAB(),
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A flow, and how it is fitted."""

    build: Callable[..., distrax.Transformed]  # of `num_layers` and `hidden_sizes`
    num_layers: int
    hidden_sizes: tuple[int, ...]
    divergence: str = "reverse_kl"
    num_steps: int = 4_000
    learning_rate: float = 1e-3
    annealing: float = 0.0  # share of the steps in which the inverse temperature rises from 0.01
    reach: float = 1.0  # standard deviation of the flow at the start


def _funnel(**options) -> distrax.Transformed:
    # `(z - shift) / scale`: where the scale is tiny, so is the effect of an error of the shift. One
    # layer that keeps the order can be exact.
    family = families.inverse(families.affine(max_log_scale=10.0))
    return flows.autoregressive(
        10, family, fast="sampling", activation=jax.nn.silu, between=_keep, **options
    )


def _keep(x: jax.Array) -> distrax.Bijector:
    return Permutation(np.arange(x.shape[-1]))


def _many_well(**options) -> distrax.Transformed:
    return flows.nsf_coupling(32, num_bins=12, **options)


def _gaussians(**options) -> distrax.Transformed:
    return flows.nsf_coupling(2, num_bins=16, standardize=True, **options)


def _eight_schools(**options) -> distrax.Transformed:
    return flows.nsf_coupling(10, **options)


RECIPES = {
    "funnel": Recipe(_funnel, 1, (32, 32), num_steps=15_000),
    "eight_schools": Recipe(_eight_schools, 4, (64, 64)),
    "many_well": Recipe(
        _many_well, 2, (32, 32), num_steps=6_000, learning_rate=2e-3, annealing=0.5
    ),
    "gaussians": Recipe(_gaussians, 8, (64, 64), "fab", num_steps=16_000, reach=25.0),
}
