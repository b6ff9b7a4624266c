"""Chains of NUTS, and their effective sample sizes."""

import time
from typing import Any, NamedTuple

import blackjax
import jax
import numpy as np
import scipy.stats
from blackjax.diagnostics import effective_sample_size, potential_scale_reduction
from jax.tree_util import Partial


class Chains(NamedTuple):
    """Samples of several chains, and what they cost."""

    samples: np.ndarray  # `[C, N, D]`
    num_divergent: int
    gradients: int  # of the log-density, while sampling
    warmup_gradients: int  # and in the warm-up
    seconds: float  # of both
    compile_seconds: float


def run_nuts(
    log_density: Partial,
    starts: jax.Array,
    key: jax.Array,
    *,
    num_warmup: int,
    num_draws: int,
) -> Chains:
    """Runs chains of NUTS; each adapts its step size and its metric.

    Args:
        log_density: maps `[D]` to `[]`. Its parameters are not compiled in, so that chains on flows
            of equal sizes share compiled code.
        starts: `[C, D]`.
        key: random key.
        num_warmup: steps of a chain that adapt.
        num_draws: samples of a chain.
    """

    def run_chain(log_density: Partial, start: jax.Array, key: jax.Array) -> Any:
        warmup_key, key = jax.random.split(key)
        warmup: Any = blackjax.window_adaptation(
            blackjax.nuts,
            log_density,
            adaptation_info_fn=lambda state, info, adaptation: info.num_integration_steps,
        )
        (state, adapted), warmup_steps = warmup.run(warmup_key, start, num_warmup)
        step: Any = blackjax.nuts(log_density, **adapted).step

        def move(state: Any, key: jax.Array) -> Any:
            state, info = step(key, state)
            return state, (state.position, info.is_divergent, info.num_integration_steps)

        _, kept = jax.lax.scan(move, state, jax.random.split(key, num_draws))
        return *kept, warmup_steps

    inputs = log_density, starts, jax.random.split(key, len(starts))
    begin = time.perf_counter()
    run = jax.jit(jax.vmap(run_chain, in_axes=(None, 0, 0))).lower(*inputs).compile()
    compiled = time.perf_counter()
    samples, is_divergent, steps, warmup_steps = jax.device_get(run(*inputs))
    return Chains(
        samples,
        num_divergent=int(is_divergent.sum()),
        gradients=int(steps.sum(dtype=np.int64)),
        warmup_gradients=int(warmup_steps.sum(dtype=np.int64)),
        seconds=time.perf_counter() - compiled,
        compile_seconds=compiled - begin,
    )


def bulk_ess(x: np.ndarray) -> np.ndarray:
    """Bulk effective sample sizes of samples `[C, N, S]`, `[S]`.

    Reference:
        Vehtari et al., "Rank-normalization, folding, and localization", 2021, section 4.
    """
    return np.atleast_1d(effective_sample_size(_normal_ranks(_split(x))))


def r_hat(x: np.ndarray) -> float:
    """The largest rank-normalised R-hat of split chains, `[C, N, S]`."""
    return float(np.max(potential_scale_reduction(_normal_ranks(_split(x)))))


def _split(x: np.ndarray) -> np.ndarray:
    """Halves of chains, as chains."""
    half = x.shape[1] // 2
    return np.concatenate([x[:, :half], x[:, -half:]])


def _normal_ranks(x: np.ndarray) -> np.ndarray:
    """Normal scores of the ranks among the samples of all chains."""
    flat = x.reshape(-1, x.shape[-1])
    ranks = scipy.stats.rankdata(flat, axis=0)
    return scipy.stats.norm.ppf((ranks - 0.375) / (len(flat) + 0.25)).reshape(x.shape)
