"""Three ways from simulations to the posterior of an observation."""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows import flows
from experiments._table import Row, as_row
from experiments.sbi.mixtures import Fitted, fit_mixture
from experiments.sbi.recipes import Recipe
from experiments.sbi.settings import Settings
from experiments.sbi.tasks import TASKS, Task

Sample = Callable[[jax.Array, int], jax.Array]  # maps a key and a number N to `[N, D]`
Accepts = Callable[[jax.Array], jax.Array]  # maps `[N, D]` to `[N]`, whether each is in a region

_BATCH = 2_000  # samples at a time
_NUM_PROPOSED = 20_000  # samples of the prior at a time, of which a round keeps some
_MAX_PROPOSALS = 2_000  # such batches, before a round is given up


class Posterior(NamedTuple):
    """The posterior of an observation."""

    sample: Sample
    cells: Row  # of the fit


@functools.cache  # All observations share it.
def fit_posterior(task_name: str, seed: int, settings: Settings) -> Fitted:
    """Fits a flow of the parameters, given the data, to simulations from the prior."""
    task = TASKS[task_name]()
    data_key, key = jax.random.split(jax.random.key(seed))
    theta, x = task.sample(data_key, settings.num_simulations)
    return _fit_posterior(task, theta, x, key, settings.recipe_for(task_name, "npe"))


@functools.cache
def fit_likelihood(task_name: str, seed: int, settings: Settings) -> Fitted:
    """Fits a flow of the data, given the parameters, to simulations from the prior."""
    task = TASKS[task_name]()
    data_key, key = jax.random.split(jax.random.key(seed))
    theta, x = task.sample(data_key, settings.num_simulations)
    recipe = settings.recipe_for(task_name, "nle")

    def make(context: jax.Array):
        return flows.nsf_autoregressive(x.shape[-1], context=context, **_sizes(recipe))

    return fit_mixture(make, x, theta, key, recipe)


def npe(task_name: str, seed: int, observation: Float[Array, " C"], settings: Settings):
    """Neural posterior estimation: one fit serves all observations."""
    found = fit_posterior(task_name, seed, settings)
    return Posterior(_sampler(found, observation), found.cells)


def nle(task_name: str, seed: int, observation: Float[Array, " C"], settings: Settings):
    """Neural likelihood estimation: one fit serves all observations, each by its own chains."""
    # The only module that needs blackjax.
    from experiments.sbi.mcmc import sample_posterior

    found = fit_likelihood(task_name, seed, settings)

    def log_likelihood(theta: jax.Array) -> jax.Array:
        x = jnp.broadcast_to(observation, (len(theta), len(observation)))
        return found.flow.log_prob({}, x, theta)

    def sample(key: jax.Array, num: int) -> jax.Array:
        return sample_posterior(key, num, TASKS[task_name](), log_likelihood, settings)

    return Posterior(sample, found.cells)


def tsnpe(task_name: str, seed: int, observation: Float[Array, " C"], settings: Settings):
    """Truncated sequential estimation (TSNPE): rounds of simulations near the posterior.

    The prior of a round is truncated to the region where the posterior of the round before exceeds
    the `truncation` quantile of its own log-densities. Where all regions overlap, simulations of
    all rounds are distributed as the prior, up to a factor, so that maximum likelihood stays
    correct.

    Reference:
        Deistler et al., "Truncated Proposals for Scalable and Hassle-Free Simulation-Based
        Inference", 2022, algorithm 1.
    """
    task, recipe = TASKS[task_name](), settings.recipe_for(task_name, "tsnpe")
    start, key, found = time.perf_counter(), jax.random.key(seed), None
    accepts: Accepts | None = None
    theta, x = [], []
    for num in _in_parts(settings.num_simulations, settings.num_rounds):
        prior_key, data_key, fit_key, region_key, key = jax.random.split(key, 5)
        theta.append(sample_truncated(prior_key, num, task, accepts))
        x.append(task.simulate(data_key, theta[-1]))
        found = _fit_posterior(task, jnp.concatenate(theta), jnp.concatenate(x), fit_key, recipe)
        accepts = _region(found, observation, region_key, settings.truncation)
    assert found is not None
    cells = found.cells | as_row(fit_seconds=f"{time.perf_counter() - start:.1f}")
    return Posterior(_sampler(found, observation), cells)


def sample_truncated(key: jax.Array, num: int, task: Task, accepts: Accepts | None) -> jax.Array:
    """Samples the prior within a region by rejection."""
    if accepts is None:
        return jnp.asarray(task.prior.sample(seed=key, sample_shape=(num,)))
    kept, num_kept = [], 0
    for batch_key in jax.random.split(key, _MAX_PROPOSALS):
        proposed = task.prior.sample(seed=batch_key, sample_shape=(_NUM_PROPOSED,))
        kept.append(proposed[accepts(proposed)])
        num_kept += len(kept[-1])
        if num_kept >= num:
            return jnp.concatenate(kept)[:num]
    raise RuntimeError(
        f"Only {num_kept} of {_MAX_PROPOSALS * _NUM_PROPOSED:,} samples of the prior are in the "
        "region that the posterior was truncated to."
    )


def _fit_posterior(
    task: Task, theta: jax.Array, x: jax.Array, key: jax.Array, recipe: Recipe
) -> Fitted:
    def make(context: jax.Array):
        return flows.nsf_autoregressive(
            theta.shape[-1],
            context=task.features(context),
            support=task.support,
            **_sizes(recipe),
        )

    return fit_mixture(make, theta, x, key, recipe)


def _sizes(recipe: Recipe) -> dict[str, Any]:
    return {
        "num_layers": recipe.num_layers,
        "hidden_sizes": recipe.hidden_sizes,
        "activation": getattr(jax.nn, recipe.activation),
        "num_bins": recipe.num_bins,
        "standardize": True,
    }


def _sampler(found: Fitted, observation: jax.Array) -> Sample:
    return lambda key, num: found.flow.sample({}, key, (num,), observation, batch_size=_BATCH)


def _region(found: Fitted, observation: jax.Array, key: jax.Array, truncation: float) -> Accepts:
    """The region that holds all but a share `truncation` of a posterior."""
    samples = _sampler(found, observation)(key, _NUM_PROPOSED)
    least = jnp.quantile(found.flow.log_prob({}, samples, observation), truncation)
    return lambda theta: found.flow.log_prob({}, theta, observation) > least


def _in_parts(total: int, num: int) -> list[int]:
    return [total // num + (part < total % num) for part in range(num)]


METHODS: dict[str, Callable[..., Posterior]] = {"npe": npe, "nle": nle, "tsnpe": tsnpe}
