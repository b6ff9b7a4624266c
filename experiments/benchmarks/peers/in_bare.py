"""Lower limit: the networks of a flow, one after another, and nothing else."""

import haiku as hk
import jax
import jax.numpy as jnp

from distrax_flows import modules
from experiments.benchmarks.peers.contestants import Contestant, draw_data, in_jax
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

    is_autoregressive = name in ("maf", "nsf_autoregressive")
    layer = hk.without_apply_rng(hk.transform(autoregressive if is_autoregressive else coupling))

    @jax.jit
    def total(params, x):
        """The sum of all that the networks return, for each row."""

        def one(x, params):
            returned, x = layer.apply(params, x)
            return x, returned.sum(axis=(-1, -2))

        return jax.lax.scan(one, x, params)[1].sum(axis=0)

    x = jnp.asarray(draw_data(size))
    keys = jax.random.split(jax.random.key(0), size.layers)
    params = jax.vmap(lambda key: layer.init(key, x))(keys)
    # This is the limit of sampling, too.
    sample = lambda params, key: total(params, x)  # noqa: E731
    return in_jax(params, size, total, sample, sample)
