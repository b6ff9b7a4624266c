"""FlowJAX."""
# pyright: reportMissingImports=false

import equinox as eqx
import jax
import jax.numpy as jnp
import paramax
from flowjax import bijections, distributions, flows

from experiments.benchmarks.peers.contestants import Contestant, draw_data, train_step
from experiments.benchmarks.peers.settings import NUM_BINS, SPLINE_END, Size


def make(name: str, size: Size) -> Contestant:
    """Its flow of that kind, with two hidden layers; the density is the fast direction."""
    build = flows.masked_autoregressive_flow
    if name in ("realnvp", "nsf_coupling"):
        build = flows.coupling_flow
    transformer = bijections.Affine()
    if name.startswith("nsf"):
        transformer = bijections.RationalQuadraticSpline(knots=NUM_BINS, interval=SPLINE_END)
    key, shape = jax.random.key(0), (size.batch,)
    flow = build(
        key,
        base_dist=distributions.Normal(jnp.zeros(size.event)),
        transformer=transformer,
        flow_layers=size.layers,
        nn_width=size.hidden,
        nn_depth=2,
    )
    params, static = eqx.partition(
        flow, eqx.is_inexact_array, is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable)
    )

    def combine(params):
        return paramax.unwrap(eqx.combine(params, static))

    x = jnp.asarray(draw_data(size))
    step, num_params = train_step(lambda params, x: -combine(params).log_prob(x).mean(), params, x)
    log_prob = jax.jit(lambda params: combine(params).log_prob(x))
    sample = jax.jit(lambda params: combine(params).sample(key, shape))
    both = jax.jit(lambda params: combine(params).sample_and_log_prob(key, shape))
    calls = {
        "train step": step,
        "log_prob": lambda: log_prob(params),
        "sample": lambda: sample(params),
        "sample_and_log_prob": lambda: both(params),
    }
    return Contestant(num_params, calls)
