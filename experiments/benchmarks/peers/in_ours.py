"""distrax_flows."""

import functools

import jax
import jax.numpy as jnp

import distrax_flows as dxf
from experiments.benchmarks.peers.contestants import Contestant, draw_data, train_step
from experiments.benchmarks.peers.settings import Size

# The peers' spline flows have splines alone, where those of ours have affine maps beside them.
BUILDERS = {
    "realnvp": dxf.flows.realnvp,
    "maf": dxf.flows.maf,
    "nsf_coupling": functools.partial(dxf.flows.coupling, family=dxf.families.spline()),
    "nsf_autoregressive": functools.partial(dxf.flows.autoregressive, family=dxf.families.spline()),
}


def make(name: str, size: Size, *, unroll: bool = False) -> Contestant:
    """The flow of that name, as it comes, or with each layer compiled by itself."""
    build = BUILDERS[name]
    sizes = (size.hidden, size.hidden)
    flow = dxf.transform(
        lambda: build(size.event, num_layers=size.layers, hidden_sizes=sizes, unroll=unroll)
    )
    x = jnp.asarray(draw_data(size))
    key, shape = jax.random.key(0), (size.batch,)
    params = flow.init(key, x)
    step, num_params = train_step(lambda params, x: -flow.log_prob(params, x).mean(), params, x)
    calls = {
        "train step": step,
        "log_prob": lambda: flow.log_prob(params, x),
        "sample": lambda: flow.sample(params, key, shape),
        "sample_and_log_prob": lambda: flow.sample_and_log_prob(params, key, shape),
    }
    return Contestant(num_params, calls)
