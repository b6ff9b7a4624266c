"""Plain distrax: a chain of couplings with Haiku networks, as in its own example of a flow."""

import distrax
import haiku as hk
import jax
import jax.numpy as jnp

from experiments.benchmarks.peers.contestants import Contestant, draw_data, in_jax
from experiments.benchmarks.peers.settings import SPLINE_END, Size, num_params


def make(name: str, size: Size) -> Contestant | None:
    """RealNVP and spline couplings; distrax has no masked network."""
    if name not in ("realnvp", "nsf_coupling"):
        return None

    def scalar(params):
        if name == "realnvp":
            return distrax.ScalarAffine(shift=params[..., 0], log_scale=params[..., 1])
        return distrax.RationalQuadraticSpline(params, -SPLINE_END, SPLINE_END, "unconstrained")

    def layer(index: int):
        half = size.event // 2
        changed = size.event - half if index % 2 else half
        shape = (changed, num_params(name))
        conditioner = hk.Sequential(
            [
                hk.nets.MLP((size.hidden, size.hidden), activate_final=True),
                hk.Linear(shape[0] * shape[1], w_init=jnp.zeros),
                hk.Reshape(shape, preserve_dims=-1),
            ]
        )
        return distrax.SplitCoupling(half, 1, conditioner, scalar, swap=index % 2 == 0)

    def make_flow():
        base = distrax.MultivariateNormalDiag(jnp.zeros(size.event), jnp.ones(size.event))
        return distrax.Transformed(base, distrax.Chain([layer(i) for i in range(size.layers)]))

    def transformed(method):
        return hk.without_apply_rng(hk.transform(lambda *args: method(make_flow(), *args)))

    log_prob = transformed(lambda flow, x: flow.log_prob(x))
    sample = transformed(lambda flow, key: flow.sample(seed=key, sample_shape=size.batch))
    both = transformed(
        lambda flow, key: flow.sample_and_log_prob(seed=key, sample_shape=size.batch)
    )
    params = jax.jit(log_prob.init)(jax.random.key(0), jnp.asarray(draw_data(size)))
    return in_jax(params, size, *(jax.jit(f.apply) for f in (log_prob, sample, both)))
