"""A fit to a target: found from a run before, or done, scored and kept."""

from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import distrax_flows as dxf
from experiments._common import device_name, num_parameters, score
from experiments._results import Results, Row
from experiments.toy_densities.pictures import Fitted, draw_training
from experiments.toy_densities.recipes import RECIPES, Recipe
from experiments.toy_densities.settings import Settings
from experiments.toy_densities.target import Target


class Model(NamedTuple):
    """A flow and its optimizer: made once, so that all its fits share what JAX compiles."""

    name: str
    recipe: Recipe
    flow: dxf.Flow
    optimizer: optax.GradientTransformation | None


class Finished(NamedTuple):
    """A fit that is done: its row of the table, and its parameters."""

    row: Row
    params: Any


def make_model(name: str, settings: Settings) -> Model:
    """The flow of that name, of the sizes in the settings."""
    recipe = RECIPES[name]
    flow = dxf.transform(lambda: recipe.build(settings.num_layers, settings.hidden_sizes))
    optimizer = None if recipe.optimizer is None else recipe.optimizer(settings.num_steps)
    return Model(name, recipe, flow, optimizer)


def finished_fit(
    model: Model, target: Target, seed: int, settings: Settings, results: Results
) -> Finished:
    """The fit of a run before if there is one, else a new one."""
    identity = _identify(model, target, seed, settings)
    found = results.get(identity)
    if found is not None:
        return Finished(*found)
    train_key, score_key = jax.random.split(jax.random.key(seed))
    fit, snapshots = _fit(model, target, train_key, settings)
    animated = (settings.gif_flow, settings.gif_density, settings.seeds[0])
    if (model.name, target.name, seed) == animated:
        frames = [(step, _on_grid(model, params, target)) for step, params in snapshots]
        draw_training(settings.output / "training.gif", model.recipe.label, target, frames)
    row = identity | _score(model, fit, target, score_key, settings.num_draws)
    results.add(row, fit.params)
    return Finished(row, fit.params)


def as_fitted(model: Model, finished: Finished, target: Target) -> Fitted:
    """What the pictures show of a fit."""
    density = _on_grid(model, finished.params, target)
    return Fitted(model.recipe.label, density, float(finished.row["kl"]))


def _fit(
    model: Model, target: Target, key: jax.Array, settings: Settings
) -> tuple[dxf.Fit, list[tuple[int, Any]]]:
    """The fit, and the parameters on its way by the number of steps done."""
    snapshots: list[tuple[int, Any]] = []
    fit = dxf.fit(
        model.flow,
        target.draw,
        key=key,
        num_steps=settings.num_steps,
        optimizer=model.optimizer,
        ema_decay=model.recipe.ema_decay,
        callback=lambda step, params: snapshots.append((step, params)),
    )
    return fit, snapshots


def _identify(model: Model, target: Target, seed: int, settings: Settings) -> Row:
    """The columns that tell one fit from all others."""
    return {
        "flow": model.name,
        "density": target.name,
        "seed": str(seed),
        "num_layers": str(settings.num_layers),
        "hidden_sizes": " ".join(map(str, settings.hidden_sizes)),
        "num_steps": str(settings.num_steps),
        "batch_size": str(settings.batch_size),
        "means": model.recipe.all_means(),
    }


def _score(model: Model, fit: dxf.Fit, target: Target, key: jax.Array, num: int) -> Row:
    """The columns that say how good a fit is, on `num` fresh draws, and what it cost."""
    x = target.density.sample(seed=key, sample_shape=(num,))
    scored = score(target.log_prob, lambda batch: model.flow.log_prob(fit.params, batch), x)
    return {
        "num_params": str(num_parameters(fit.params)),
        "kl": f"{scored.kl:.6f}",
        "kl_stderr": f"{scored.kl_stderr:.6f}",
        "nll": f"{scored.nll:.6f}",
        "entropy": f"{target.density.entropy():.6f}",
        "train_seconds": f"{fit.history.train_seconds:.2f}",
        "compile_seconds": f"{fit.history.compile_seconds:.2f}",
        "jax_version": jax.__version__,
        "device": device_name(),
    }


def _on_grid(model: Model, params: Any, target: Target) -> np.ndarray:
    return target.on_grid(lambda points: model.flow.log_prob(params, points))
