"""Fits to images, and their scores."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import distrax_flows as dxf
from experiments._common import cost_cells, machine_cells
from experiments._table import Finished, Row, as_row
from experiments.images.datasets import Images
from experiments.images.recipes import Recipe, make_flow, recipe_for
from experiments.images.settings import Settings

_EVALUATED = 256  # images together
ROUND_TRIPS = 96  # images that go to the base and back, also for pictures: they share compiled code


def identities(images: Images, settings: Settings) -> list[Row]:
    """The cells that identify each fit to these images."""
    return [
        as_row(
            flow=flow,
            dataset=images.name,
            seed=seed,
            **recipe_of(flow, images, settings)._asdict(),
        )
        for seed in settings.seeds
        for flow in settings.flows
    ]


def recipe_of(flow: str, images: Images, settings: Settings) -> Recipe:
    """The recipe of a flow on these images."""
    return settings.adapt(recipe_for(images.name, flow))


def flow_of(name: str, images: Images, settings: Settings) -> dxf.Flow:
    """The flow of that name for these images."""
    return make_flow(name, images.shape, images.num_levels, recipe_of(name, images, settings))


def fit(name: str, images: Images, seed: int, settings: Settings) -> tuple[Row, Any]:
    """Fits a flow; returns its scores and cost, and its parameters."""
    recipe, folder = recipe_of(name, images, settings), settings.checkpoints
    if folder is not None:
        folder = folder / f"{images.name}-{name}-{seed}"
    flow = flow_of(name, images, settings)
    fitted = dxf.fit(
        flow,
        images.train,
        key=jax.random.key(seed),
        num_steps=recipe.num_steps,
        batch_size=min(recipe.batch_size, len(images.train)),
        validation=images.validation,
        patience=recipe.patience,
        eval_every=recipe.eval_every,
        ema_decay=recipe.ema_decay,
        optimizer=dxf.training.cosine_adam(
            recipe.num_steps,
            recipe.learning_rate,
            # The first steps of Adam are as long as the rate, and add up over wide convolutions.
            warmup_steps=recipe.num_steps // 20,
            weight_decay=recipe.weight_decay,
        ),
        checkpoint_dir=folder,
        resume=folder is not None,
    )
    history = fitted.history
    best = int(np.argmin(history.validation_loss))
    bits = dxf.diagnostics.bits_per_dim(
        flow,
        fitted.params,
        images.test,
        key=0,
        num_samples=settings.num_noises,
        batch_size=_EVALUATED,
    )
    cells = as_row(
        bits_per_dim=f"{bits.elbo:.4f}",
        stderr=f"{bits.elbo_stderr:.4f}",
        importance_weighted=f"{bits.importance_weighted:.4f}",
        best_step=history.evaluated_steps[best],
        last_step=history.evaluated_steps[-1],
        changed_pixels=_changed_pixels(flow, fitted.params, images.test),
    )
    return cells | cost_cells(fitted) | machine_cells(), fitted.params


def as_finished(fit: Finished, images: Images, settings: Settings) -> Finished:
    """The row of a fit, with its flow and parameters."""
    return Finished(fit.row, (flow_of(fit.row["flow"], images, settings), fit.result))


def _changed_pixels(flow: dxf.Flow, params: Any, images: np.ndarray) -> int:
    """The number of pixels that the round trip to the base and back does not return exactly."""
    levels = jnp.asarray(np.resize(images, (ROUND_TRIPS, *images.shape[1:])), jnp.float32)
    z, _ = flow.inverse(params, levels, key=0)
    back, _ = flow.forward(params, z, key=0)
    return int(jnp.sum(back != levels))
