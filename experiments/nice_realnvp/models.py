"""The flows: NICE and RealNVP, with and without batch normalisation, on two bases."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import distrax
import jax.numpy as jnp
import numpy as np

import distrax_flows as dxf
from experiments.toy_densities.recipes import steep_silu

AnyFlow: TypeAlias = dxf.Flow | dxf.StatefulFlow

# Tight: the scales of all couplings multiply, and a far draw must not spoil a fit.
_MAX_LOG_SCALE = 2.0


class Size(NamedTuple):
    """How large a flow is: dimensions, coupling layers, and hidden units of each network."""

    event_size: int
    num_layers: int
    hidden_sizes: Sequence[int]


class Base(NamedTuple):
    """A base.

    Attributes:
        make: from the event size to the distribution; to None for the builders' own, the Gaussian.
        reach: each coordinate is between -reach and reach with a probability of 0.99.
    """

    make: Callable[[int], distrax.Distribution | None]
    reach: float


class Model(NamedTuple):
    """A flow without its size and base.

    Attributes:
        label: its name in pictures.
        make: from a size and the name of a base to the flow.
    """

    label: str
    make: Callable[[Size, str], AnyFlow]


def logistic(event_size: int) -> distrax.Distribution:
    """Independent standard logistic variables: NICE's base."""
    zeros = jnp.zeros(event_size)
    return distrax.Independent(distrax.Logistic(zeros, jnp.ones_like(zeros)), 1)


def even_odd(flow: distrax.Transformed) -> distrax.Transformed:
    """Makes even and odd dimensions of the first and second half of a flow's dimensions.

    One permutation next to the data does it for all layers. Inside, couplings of halves go on; a
    permutation between two of them would be undone by the next.
    """
    (event_size,) = flow.distribution.event_shape
    halves = [*range(0, event_size, 2), *range(1, event_size, 2)]
    return distrax.Transformed(
        flow.distribution, distrax.Chain([dxf.Permutation(np.argsort(halves)), flow.bijector])
    )


def _nice(size: Size, base: str) -> dxf.Flow:
    return dxf.transform(lambda: dxf.flows.nice(size.event_size, **_options(size, base)))


def _realnvp(size: Size, base: str) -> dxf.Flow:
    return dxf.transform(lambda: _affine_couplings(size, base))


def _realnvp_even_odd(size: Size, base: str) -> dxf.Flow:
    return dxf.transform(lambda: even_odd(_affine_couplings(size, base)))


def _realnvp_batch_norm(size: Size, base: str) -> dxf.StatefulFlow:
    def make(is_training: bool) -> distrax.Transformed:
        batch_norm = dxf.modules.BatchNormLayer(is_training)
        between = dxf.modules.compose(batch_norm, lambda x: dxf.Reverse())
        return _affine_couplings(size, base, between)

    return dxf.transform_with_state(make)


def _affine_couplings(
    size: Size, base: str, between: dxf.modules.Layer = lambda x: dxf.Reverse()
) -> distrax.Transformed:
    options = _options(size, base) | {"between": between}
    return dxf.flows.realnvp(size.event_size, max_log_scale=_MAX_LOG_SCALE, **options)


def _options(size: Size, base: str) -> dxf.flows.FlowOptions:
    return {
        "num_layers": size.num_layers,
        "hidden_sizes": size.hidden_sizes,
        "activation": steep_silu,  # smooth: the log-density is to be climbed
        "standardize": True,
        "base": BASES[base].make(size.event_size),
    }


BASES = {
    "gaussian": Base(lambda event_size: None, 2.58),
    "logistic": Base(logistic, 5.29),
}

MODELS = {
    "nice": Model("NICE", _nice),
    "realnvp": Model("RealNVP", _realnvp),
    "realnvp_batch_norm": Model("RealNVP, batch norm", _realnvp_batch_norm),
}

# RealNVP by the way that its couplings split the event.
SPLITS = {
    "half": MODELS["realnvp"],
    "even-odd": Model("RealNVP", _realnvp_even_odd),
}
