"""The limit: the networks of a flow, one after the other, and nothing else."""

import haiku as hk
import jax
import jax.numpy as jnp

from distrax_flows import modules
from experiments.benchmarks.peers.contestants import Contestant, draw_data, train_step
from experiments.benchmarks.peers.settings import Size, num_params


def make(name: str, size: Size) -> Contestant:
    """Each network sees the first parameter of each dimension that the one before it returned."""
    sizes, num = (size.hidden, size.hidden), num_params(name)
    half = size.event // 2

    def coupling(x):
        changed = modules.MLP((size.event - half, num), sizes)(x[:, :half])
        return changed, jnp.concatenate([changed[..., 0], x[:, :half]], axis=-1)

    def autoregressive(x):
        params = modules.MADE(size.event, num, sizes)(x)
        return params, params[..., 0]

    layer = hk.without_apply_rng(
        hk.transform(autoregressive if name in ("maf", "nsf_autoregressive") else coupling)
    )

    def total(params, x):
        """The sum of all that the networks say, for each row."""

        def one(x, params):
            said, x = layer.apply(params, x)
            return x, said.sum(axis=(-1, -2))

        return jax.lax.scan(one, x, params)[1].sum(axis=0)

    x = jnp.asarray(draw_data(size))
    params = jax.vmap(lambda key: layer.init(key, x))(
        jax.random.split(jax.random.key(0), size.layers)
    )
    step, count = train_step(lambda params, x: total(params, x).mean(), params, x)
    evaluate = jax.jit(total)
    # A flow samples at this cost, too, if at all.
    calls = {
        "train step": step,
        "log_prob": lambda: evaluate(params, x),
        "sample": lambda: evaluate(params, x),
        "sample_and_log_prob": lambda: evaluate(params, x),
    }
    return Contestant(count, calls)
