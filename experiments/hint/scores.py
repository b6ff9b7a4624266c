"""Errors of a posterior relative to the exact one."""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from experiments import _common
from experiments.hint.problems import Problem
from experiments.hint.settings import Settings

LEVELS = np.linspace(0.1, 0.9, 9)
_BATCH = 1_000  # observations


class Estimate(NamedTuple):
    """A posterior, exact or not."""

    # maps x, `[N, D]`, and y, `[N, C]`, to log-densities, `[N]`
    log_prob: Callable[[jax.Array, jax.Array], jax.Array]
    # maps a key, `num` and y, `[N, C]`, to samples, `[num, N, D]`
    sample: Callable[[jax.Array, int, jax.Array], jax.Array]


class Score(NamedTuple):
    """The errors of a posterior."""

    errors: Mapping[str, float]  # by name, as defined in the docstring of the package
    # `[levels]`, share of unknowns inside their credible interval at each of `LEVELS`, mean over
    # dimensions
    coverage: Float[np.ndarray, " levels"]


class Scored(NamedTuple):
    """A posterior, and the coverage of its credible intervals, as in `Score`."""

    estimate: Estimate
    coverage: Float[np.ndarray, " levels"]


@functools.cache
def exact(problem: Problem) -> Estimate:
    """The exact posterior, compiled."""
    return Estimate(
        jax.jit(lambda x, y: problem.posterior(y).log_prob(x)),
        jax.jit(lambda key, num, y: problem.posterior(y).sample(key, num), static_argnums=1),
    )


def score(
    problem: Problem, true: Estimate, estimate: Estimate, key: jax.Array, settings: Settings
) -> Score:
    """The errors of an estimate of the true posterior, on fresh unknowns and observations."""
    key_pairs, key_observations, key_draws = jax.random.split(key, 3)
    divergence = kl(true, estimate, *problem.draw(key_pairs, settings.num_pairs))
    x, y = problem.draw(key_observations, settings.num_observations)
    inside, squares = [], []
    for start in range(0, len(y), _BATCH):
        batch = slice(start, start + _BATCH)
        batch_key = jax.random.fold_in(key_draws, start)
        draws = estimate.sample(batch_key, settings.num_draws, y[batch])
        inside.append(within(x[batch], draws))
        squares.append(moment_errors(draws, *problem.posterior(y[batch]).moments()))
    # A mean may be below zero by chance, and then counts as zero.
    mean_error, cov_error = np.sqrt(np.maximum(0, np.concatenate(squares, axis=1).mean(axis=1)))
    coverage = np.concatenate(inside, axis=1).mean(axis=1)
    errors = {
        "kl": divergence.kl,
        "kl_stderr": divergence.kl_stderr,
        "mean_error": float(mean_error),
        "cov_error": float(cov_error),
        "calibration_error": float(np.abs(coverage - LEVELS[:, None]).mean()),
    }
    return Score(errors, coverage.mean(axis=-1))


def kl(
    true: Estimate, estimate: Estimate, x: Float[Array, "N D"], y: Float[Array, "N C"]
) -> _common.Score:
    """The divergence KL(true || estimate) from samples x of the true posteriors of y."""
    split = [x.shape[-1]]
    log_p, log_q = (
        lambda pairs, of=of: of.log_prob(*jnp.split(pairs, split, axis=-1))
        for of in (true, estimate)
    )
    return _common.score(log_p, log_q, jnp.concatenate([x, y], axis=-1))


def within(x: Float[Array, "N D"], draws: Float[Array, "L N D"]) -> Bool[np.ndarray, "levels N D"]:
    """Whether each unknown lies inside its central credible interval at each level.

    If x is one more sample of the same posterior, its rank among the samples is uniform.
    """
    rank = np.asarray((draws < x).sum(axis=0))
    level = np.abs(2 * (rank + 0.5) / (len(draws) + 1) - 1)
    return level <= LEVELS[:, None, None]


@jax.jit
def moment_errors(
    draws: Float[Array, "L N D"], mean: Float[Array, "N D"], covariance: Float[Array, "N D D"]
) -> Float[Array, "2 N"]:
    """Squared errors of the samples' mean and covariance, whitened: the exact ones are 0 and I.

    Each is the product of the errors of two halves of the samples: their noise is independent and
    adds nothing on average, whereas the square of one error would include its noise.
    """
    size = draws.shape[-1]
    whiten = jnp.linalg.inv(jnp.linalg.cholesky(covariance))
    halves = jnp.einsum("nde,lne->nld", whiten, draws - mean)
    halves = halves[:, : len(draws) // 2], halves[:, len(draws) // 2 :]
    means = [half.mean(axis=1) for half in halves]
    away = [half - half.mean(axis=1, keepdims=True) for half in halves]
    covariances = [a.mT @ a / (a.shape[1] - 1) - jnp.eye(size) for a in away]
    mean_square = (means[0] * means[1]).sum(axis=-1)
    return jnp.stack([mean_square, (covariances[0] * covariances[1]).sum(axis=(1, 2))]) / size
