"""Fits of flows to a problem, and their rows of the table."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
import optax

import distrax_flows as dxf
from experiments._common import device_name
from experiments._results import Row
from experiments.hint.models import Model, make_models
from experiments.hint.problems import Problem
from experiments.hint.scores import Estimate, exact, score
from experiments.hint.settings import Settings

# The exact posterior has no sizes and no cost: its row lacks them.
COLUMNS = (
    "problem",
    "posterior",
    "num_layers",
    "seed",
    "hidden_sizes",
    "num_params",
    "num_steps",
    "batch_size",
    "learning_rate",
    "kl",
    "kl_stderr",
    "mean_error",
    "cov_error",
    "calibration_error",
    "train_seconds",
    "compile_seconds",
    "jax_version",
    "device",
)


class Task(NamedTuple):
    """A problem, and the flows to fit to it; made once, so that JAX compiles them once.

    Attributes:
        problem: the problem.
        draw: from a key to a fresh batch of training data.
        true: the exact posterior.
        models: the flows.
    """

    problem: Problem
    draw: Callable[[jax.Array], tuple[jax.Array, jax.Array]]
    true: Estimate
    models: Sequence[Model]


class Finished(NamedTuple):
    """A posterior, fitted or exact, and its errors.

    Attributes:
        row: of the table.
        estimate: the posterior.
        coverage: of its credible intervals, as in `scores.Score`.
    """

    row: Row
    estimate: Estimate
    coverage: np.ndarray


def make_task(problem: Problem, settings: Settings) -> Task:
    """The problem with flows of all numbers of layers."""
    models = [
        model
        for num_layers in settings.num_layers
        for model in make_models(problem, num_layers, settings.hidden_size)
    ]
    return Task(problem, lambda key: problem.draw(key, settings.batch_size), exact(problem), models)


def make_optimizer(settings: Settings) -> optax.GradientTransformation:
    """Adam, the same for all fits."""
    schedule = optax.cosine_decay_schedule(settings.learning_rate, settings.num_steps)
    return optax.chain(optax.clip_by_global_norm(0.5), optax.adam(schedule))


def finished_fit(
    task: Task,
    model: Model,
    optimizer: optax.GradientTransformation,
    seed: int,
    settings: Settings,
) -> Finished:
    """A flow, fitted and scored."""
    fit = dxf.fit(
        model.flow,
        task.draw,
        key=jax.random.fold_in(jax.random.key(seed), 1),
        num_steps=settings.num_steps,
        optimizer=optimizer,
    )
    row = {
        "posterior": model.label,
        "num_layers": str(model.num_layers),
        "hidden_sizes": f"{model.hidden_size} {model.hidden_size}",
        "num_params": str(model.num_params),
        "num_steps": str(settings.num_steps),
        "batch_size": str(settings.batch_size),
        "learning_rate": str(settings.learning_rate),
        "train_seconds": f"{fit.history.train_seconds:.2f}",
        "compile_seconds": f"{fit.history.compile_seconds:.2f}",
    }
    return _finished(task, row, model.estimate(fit.params), seed, settings)


def finished_exact(task: Task, seed: int, settings: Settings) -> Finished:
    """The exact posterior, scored like a flow."""
    return _finished(task, {"posterior": "exact"}, task.true, seed, settings)


def _finished(task: Task, row: Row, estimate: Estimate, seed: int, settings: Settings) -> Finished:
    # All posteriors of a seed are scored on the same draws.
    key = jax.random.fold_in(jax.random.key(seed), 2)
    scored = score(task.problem, task.true, estimate, key, settings)
    row = row | {"problem": task.problem.name, "seed": str(seed)}
    row |= {name: f"{error:.6f}" for name, error in scored.errors.items()}
    row |= {"jax_version": jax.__version__, "device": device_name()}
    return Finished(row, estimate, scored.coverage)
