"""Fits to a density, and their estimates of its normaliser."""

import functools
import time
from typing import Any

import jax
import numpy as np
import optax

import distrax_flows as dxf
from experiments._common import machine_cells, num_parameters
from experiments._table import Row, as_row
from experiments.log_z.recipes import DIVERGENCES, RECIPES
from experiments.log_z.settings import Settings
from experiments.log_z.targets import TARGETS, Target

EMA_DECAY = 0.999
_NUM_SHOWN = 2_000


def identities(settings: Settings) -> list[Row]:
    """The cells that identify each fit."""
    return [
        as_row(
            target=name,
            divergence=settings.divergence or RECIPES[name].divergence,
            seed=seed,
            num_layers=settings.num_layers or RECIPES[name].num_layers,
            hidden_sizes=settings.hidden_sizes or RECIPES[name].hidden_sizes,
            num_steps=settings.num_steps or RECIPES[name].num_steps,
            num_samples=settings.num_samples,
            learning_rate=RECIPES[name].learning_rate,
            annealing=RECIPES[name].annealing,
            num_draws=settings.num_draws,
            num_repeats=settings.num_repeats,
        )
        for name in settings.targets
        for seed in settings.seeds
    ]


def fit(row: Row, settings: Settings) -> tuple[Row, Any]:
    """Fits a flow; returns its scores and cost, and samples of it."""
    recipe, target = RECIPES[row["target"]], TARGETS[row["target"]]()
    num_steps = int(row["num_steps"])
    hidden_sizes = settings.hidden_sizes or recipe.hidden_sizes
    flow = _make_flow(row["target"], int(row["num_layers"]), hidden_sizes)
    annealing = None
    if recipe.annealing and row["divergence"] != "fab":
        annealing = optax.linear_schedule(0.01, 1.0, round(recipe.annealing * num_steps))
    init_key, start_key, key, score_key = jax.random.split(jax.random.key(int(row["seed"])), 4)
    start = time.perf_counter()
    points = recipe.reach * jax.random.normal(start_key, (1_000, target.size))
    fitted = dxf.fit_to_density(
        flow,
        target.log_density,
        divergence=DIVERGENCES[row["divergence"]],
        key=key,
        num_steps=num_steps,
        num_samples=settings.num_samples,
        annealing=annealing,
        params=flow.init(init_key, points),
        ema_decay=EMA_DECAY,
        optimizer=dxf.training.cosine_adam(num_steps, recipe.learning_rate),
    )
    seconds = time.perf_counter() - start
    cells = scores(flow, fitted.params, target, score_key, settings)
    x = np.asarray(flow.sample(fitted.params, score_key, (settings.num_draws,)))
    cells |= as_row(
        modes=target.count_modes(x),
        num_params=num_parameters(fitted.params),
        fit_seconds=f"{seconds:.1f}",
    )
    return cells | machine_cells(), {"samples": {"x": x[:_NUM_SHOWN, list(target.shown)]}}


# Cached, so that fits of all seeds share compiled code.
@functools.lru_cache
def _make_flow(name: str, num_layers: int, hidden_sizes: tuple[int, ...]) -> dxf.Flow:
    build = RECIPES[name].build
    return dxf.transform(lambda: build(num_layers=num_layers, hidden_sizes=hidden_sizes))


def scores(flow: dxf.Flow, params: Any, target: Target, key: jax.Array, settings: Settings) -> Row:
    """The cells of repeated estimates of log Z, with and without annealing."""
    estimate = functools.partial(
        dxf.diagnostics.evidence,
        flow,
        params,
        target.log_density,
        num_samples=settings.num_draws,
    )
    keys = jax.random.split(key, settings.num_repeats)
    plain = [estimate(key=key) for key in keys]
    annealed = [estimate(key=key, annealing=dxf.Annealing(4)) for key in keys]
    cells = as_row(
        ess=f"{np.mean([found.ess for found in plain]) / settings.num_draws:.4f}",
        pareto_k=f"{np.median([found.pareto_k for found in plain]):.3f}",
        annealed_ess=f"{np.mean([found.ess for found in annealed]) / settings.num_draws:.4f}",
    )
    for name, found in (("log_z", plain), ("annealed", annealed)):
        errors = np.array([float(each.log_z) for each in found]) - target.log_z
        cells |= as_row(
            **{
                f"{name}_error": f"{np.abs(errors).mean():.5f}",
                f"{name}_bias": f"{errors.mean():.5f}",
            }
        )
    return cells
