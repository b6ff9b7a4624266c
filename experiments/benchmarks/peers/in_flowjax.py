"""Flows of FlowJAX."""
# pyright: reportMissingImports=false

import equinox as eqx
import jax
import jax.numpy as jnp
import paramax
from flowjax import bijections, distributions, flows

from experiments.benchmarks.peers.contestants import Contestant, in_jax
from experiments.benchmarks.peers.settings import NUM_BINS, SPLINE_END, Size


def make(name: str, size: Size) -> Contestant:
    """Its flow of that kind, with two hidden layers; the density is the fast direction."""
    build = flows.masked_autoregressive_flow
    if name in ("realnvp", "nsf_coupling"):
        build = flows.coupling_flow
    transformer = bijections.Affine()
    if name.startswith("nsf"):
        transformer = bijections.RationalQuadraticSpline(knots=NUM_BINS, interval=SPLINE_END)
    flow = build(
        jax.random.key(0),
        base_dist=distributions.Normal(jnp.zeros(size.event)),
        transformer=transformer,
        flow_layers=size.layers,
        nn_width=size.hidden,
        nn_depth=2,
    )
    params, static = eqx.partition(
        flow, eqx.is_inexact_array, is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable)
    )
    shape = (size.batch,)

    def combine(params):
        return paramax.unwrap(eqx.combine(params, static))

    return in_jax(
        params,
        size,
        jax.jit(lambda params, x: combine(params).log_prob(x)),
        jax.jit(lambda params, key: combine(params).sample(key, shape)),
        jax.jit(lambda params, key: combine(params).sample_and_log_prob(key, shape)),
    )
