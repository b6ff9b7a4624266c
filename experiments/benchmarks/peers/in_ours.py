"""Flows of distrax_flows."""

import functools

import jax
import jax.numpy as jnp

import distrax_flows as dxf
from experiments.benchmarks.peers.contestants import Contestant, draw_data, in_jax
from experiments.benchmarks.peers.settings import Size

# The peers' spline flows have splines alone, whereas ours have affine maps beside them.
BUILDERS = {
    "realnvp": dxf.flows.realnvp,
    "maf": dxf.flows.maf,
    "nsf_coupling": functools.partial(dxf.flows.coupling, family=dxf.families.spline()),
    "nsf_autoregressive": functools.partial(dxf.flows.autoregressive, family=dxf.families.spline()),
}


def make(name: str, size: Size, *, unroll: bool = False) -> Contestant:
    """The flow of that name, as built by default, or with each layer compiled separately."""
    sizes, shape = (size.hidden, size.hidden), (size.batch,)
    flow = dxf.transform(
        lambda: BUILDERS[name](
            size.event, num_layers=size.layers, hidden_sizes=sizes, unroll=unroll
        )
    )
    return in_jax(
        flow.init(jax.random.key(0), jnp.asarray(draw_data(size))),
        size,
        flow.log_prob,
        lambda params, key: flow.sample(params, key, shape),
        lambda params, key: flow.sample_and_log_prob(params, key, shape),
    )
