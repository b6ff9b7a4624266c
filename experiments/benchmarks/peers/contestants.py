"""Calls to time, for each library."""

import functools
import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments._common import num_parameters
from experiments.benchmarks.peers.settings import MEASURES, Size

Call = Callable[[], Any]


class Contestant(NamedTuple):
    """A flow in some library, ready to be called."""

    num_params: int  # trained scalars
    calls: dict[str, Call]  # the call to time, by measure


def make(library: str, flow: str, size: Size) -> Contestant | None:
    """The flow in that library, or None where the library has no such flow."""
    options = {"unroll": True} if library == "unrolled" else {}
    name = "ours" if library == "unrolled" else library
    module = importlib.import_module(f"experiments.benchmarks.peers.in_{name}")
    return module.make(flow, size, **options)


@functools.cache
def draw_data(size: Size) -> np.ndarray:
    """The batch that all libraries get."""
    shape = (size.batch, size.event)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def in_jax(
    params: Any,
    size: Size,
    log_prob: Callable[[Any, jax.Array], jax.Array],
    sample: Callable[[Any, jax.Array], Any],
    sample_and_log_prob: Callable[[Any, jax.Array], Any],
) -> Contestant:
    """A contestant of compiled functions.

    Args:
        params: parameters to train.
        size: size of the flow and of the batch.
        log_prob: maps parameters and a batch to log-densities.
        sample: maps parameters and a key to a batch.
        sample_and_log_prob: the same, with log-densities.
    """
    x, key = jnp.asarray(draw_data(size)), jax.random.key(0)
    optimizer = optax.adam(1e-3)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, opt_state):
        value, grads = jax.value_and_grad(lambda params: -log_prob(params, x).mean())(params)
        updates, opt_state = optimizer.update(grads, opt_state)
        return optax.apply_updates(params, updates), opt_state, value

    # A step donates its arguments, but the other calls still use `params`.
    state = jax.tree.map(jnp.array, params), optimizer.init(params)

    def train_step():
        nonlocal state
        *state, value = step(*state)
        return value

    calls = (
        train_step,
        lambda: log_prob(params, x),
        lambda: sample(params, key),
        lambda: sample_and_log_prob(params, key),
    )
    return Contestant(num_parameters(params), dict(zip(MEASURES, calls, strict=True)))
