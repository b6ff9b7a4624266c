"""Markov chains over the parameters of a simulator."""

from collections.abc import Callable
from typing import Any

import blackjax
import distrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from experiments.sbi.settings import Settings
from experiments.sbi.tasks import Task

_NUM_START = 100_000  # samples of the prior, among which chains find their starts
_MAX_DOUBLINGS = 5  # of a trajectory of NUTS; chains wait for the longest


def sample_posterior(
    key: jax.Array,
    num: int,
    task: Task,
    log_likelihood: Callable[[jax.Array], jax.Array],
    settings: Settings,
) -> Float[Array, "N D"]:
    """Samples a posterior by NUTS on the real line that the support is an image of.

    Chains start at samples of the prior that are resampled by their likelihood, so that they find
    modes in the right shares. One chain adapts the step size and the metric of all.

    Args:
        key: random key.
        num: number of samples.
        task: the task, whose prior is used.
        log_likelihood: maps parameters `[N, D]` to `[N]`.
        settings: number of chains, and of steps of adaptation.
    """
    start_key, warmup_key, key = jax.random.split(key, 3)
    support = task.support.bijector()
    to_support: Any = distrax.Block(support or distrax.ScalarAffine(shift=0.0, scale=1.0), 1)

    def log_density(z: jax.Array) -> jax.Array:
        theta, log_det = to_support.forward_and_log_det(z)
        return jnp.asarray(task.prior.log_prob(theta)) + log_likelihood(theta[None])[0] + log_det

    prior_key, pick_key = jax.random.split(start_key)
    theta = jnp.asarray(task.prior.sample(seed=prior_key, sample_shape=(_NUM_START,)))
    log_weights = jax.lax.map(lambda t: log_likelihood(t[None])[0], theta, batch_size=5_000)
    picked = jax.random.categorical(pick_key, log_weights, shape=(settings.num_chains,))
    start = to_support.inverse(theta[picked])

    warmup: Any = blackjax.window_adaptation(
        blackjax.nuts, log_density, max_num_doublings=_MAX_DOUBLINGS
    )
    (_, adapted), _ = jax.jit(warmup.run, static_argnames="num_steps")(
        warmup_key, start[0], num_steps=settings.num_warmup
    )
    nuts: Any = blackjax.nuts(log_density, **adapted)

    @jax.jit
    @jax.vmap
    def sample_chain(key: jax.Array, start: jax.Array) -> jax.Array:
        def move(state, key):
            state, _ = nuts.step(key, state)
            return state, state.position

        return jax.lax.scan(move, nuts.init(start), jax.random.split(key, num_steps))[1]

    num_kept = -(-num // settings.num_chains)
    num_steps = num_kept + settings.num_burn_in
    z = sample_chain(jax.random.split(key, settings.num_chains), start)[:, -num_kept:]
    return to_support.forward(z.reshape(-1, z.shape[-1]))[:num]
