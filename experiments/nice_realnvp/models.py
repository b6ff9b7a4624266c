"""NICE and RealNVP, with and without batch normalisation, on two bases."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import distrax
import jax.numpy as jnp
import numpy as np

import distrax_flows as dxf
from experiments.toy_densities.recipes import steep_silu

AnyFlow: TypeAlias = dxf.Flow | dxf.StatefulFlow

# Names of the models in pictures.
LABELS = {"nice": "NICE", "realnvp": "RealNVP", "realnvp_batch_norm": "RealNVP, batch norm"}

# Splits of the event by couplings: into halves, or into even and odd dimensions.
SPLITS = ("half", "even-odd")

# A tight bound: the scales of all couplings multiply, and an outlier must not spoil a fit.
_MAX_LOG_SCALE = 2.0


class Base(NamedTuple):
    """A base distribution."""

    # maps the event size to the distribution, or to None for the builders' own, the Gaussian
    make: Callable[[int], distrax.Distribution | None]
    reach: float  # each coordinate is between -reach and reach with a probability of 0.99


def logistic(event_size: int) -> distrax.Distribution:
    """Independent standard logistic variables: NICE's base."""
    zeros = jnp.zeros(event_size)
    return distrax.Independent(distrax.Logistic(zeros, jnp.ones_like(zeros)), 1)


BASES = {"gaussian": Base(lambda event_size: None, 2.58), "logistic": Base(logistic, 5.29)}


# Cached, so that all fits of a flow share compiled code.
@functools.cache
def make_flow(
    model: str,
    event_size: int,
    num_layers: int,
    hidden_sizes: tuple[int, ...],
    base: str = "gaussian",
    split: str = "half",
) -> AnyFlow:
    """A model, one of `LABELS`, on one of `BASES`, with one of `SPLITS`."""

    def make(**between: Any) -> distrax.Transformed:
        build = functools.partial(dxf.flows.realnvp, max_log_scale=_MAX_LOG_SCALE)
        flow = (dxf.flows.nice if model == "nice" else build)(
            event_size,
            num_layers=num_layers,
            hidden_sizes=hidden_sizes,
            activation=steep_silu,  # smooth, for ascent on the log-density
            standardize=True,
            base=BASES[base].make(event_size),
            **between,
        )
        return even_odd(flow) if split == "even-odd" else flow

    def make_normalised(is_training: bool) -> distrax.Transformed:
        batch_norm = dxf.modules.BatchNormLayer(is_training)
        return make(between=dxf.modules.compose(batch_norm, lambda x: dxf.Reverse()))

    if model == "realnvp_batch_norm":
        return dxf.transform_with_state(make_normalised)
    return dxf.transform(lambda: make())


def even_odd(flow: distrax.Transformed) -> distrax.Transformed:
    """Permutes the first and second half of a flow's dimensions to even and odd dimensions.

    One permutation next to the data does this for all layers. Inside, couplings still split into
    halves; a permutation between two of them would be undone by the next.
    """
    (event_size,) = flow.distribution.event_shape
    halves = [*range(0, event_size, 2), *range(1, event_size, 2)]
    return distrax.Transformed(
        flow.distribution, distrax.Chain([dxf.Permutation(np.argsort(halves)), flow.bijector])
    )
