"""Runs of NUTS, with and without a flow, and their scores."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

import distrax_flows as dxf
from distrax_flows.interfaces.blackjax import adapt_flow
from experiments._common import machine_cells, num_parameters
from experiments._table import Row, as_row, cells_of
from experiments.mcmc.recipes import RECIPES, Recipe, make_flow
from experiments.mcmc.sampling import Chains, bulk_ess, r_hat, run_nuts
from experiments.mcmc.settings import Settings
from experiments.mcmc.targets import TARGETS, Moments, Target

_NUM_SHOWN = 2_000  # samples of a run in pictures


class Coordinates(NamedTuple):
    """Coordinates z that NUTS samples in."""

    log_density: Partial  # of z
    to_x: Callable[[jax.Array], jax.Array]  # maps z to the target's own
    cells: Row  # of the fit, if there was one


def reference_identities(settings: Settings) -> list[Row]:
    """The cells that identify the references of the targets without exact moments."""
    return [
        as_row(target=target, method="reference", seed=0)
        | cells_of(settings, "num_chains num_warmup")
        | as_row(num_draws=settings.num_reference_draws)
        for target in settings.targets
        if TARGETS[target]().moments is None
    ]


def identities(settings: Settings) -> list[Row]:
    """The cells that identify all other runs."""
    rows = []
    for target in settings.targets:
        for method in settings.methods:
            fit = {}
            if method != "nuts":
                fit = cells_of(RECIPES[target], "num_layers hidden_sizes order")
                fit |= cells_of(settings, "num_steps num_samples learning_rate ema_decay")
            if method == "adapted":
                fit |= cells_of(settings, "num_rounds num_round_draws num_round_steps")
            run = cells_of(settings, "num_chains num_warmup num_draws")
            for seed in settings.seeds:
                rows.append(as_row(target=target, method=method, seed=seed) | run | fit)
    return rows


def sample(row: Row, settings: Settings, references: Mapping[str, Moments]) -> tuple[Row, Any]:
    """Runs NUTS, in double precision: `theta - mu` cancels in the neck of eight schools.

    Args:
        row: the cells that identify the run.
        settings: settings.
        references: moments of the targets without exact ones; a reference needs none.

    Returns:
        Its other cells; and its moments and some of its samples, as `{"run": {name: array}}`.
    """
    target = TARGETS[row["target"]]()
    fit_key, start_key, key = jax.random.split(jax.random.key(int(row["seed"])), 3)
    coordinates = _coordinates(row, target, fit_key, settings)
    with jax.enable_x64(True):
        chains = run_nuts(
            jax.tree.map(lambda array: jnp.asarray(array, float), coordinates.log_density),
            jax.random.normal(start_key, (settings.num_chains, target.size)),
            key,
            num_warmup=settings.num_warmup,
            num_draws=int(row["num_draws"]),
        )
        x = np.asarray(coordinates.to_x(jnp.asarray(chains.samples)))
        scored = x[..., list(target.scored)]
        cells = _scores(scored, chains, coordinates.cells)
    found = Moments(scored.mean(axis=(0, 1)), scored.std(axis=(0, 1)))
    truth = target.moments or references.get(row["target"])
    if truth is not None:
        cells["mean_error"] = f"{_largest((found.mean - truth.mean) / truth.scale):.4f}"
        cells["sd_error"] = f"{_largest(found.scale / truth.scale - 1):.4f}"
    return cells | machine_cells(), {"run": _kept(x, chains.samples, target) | vars(found)}


def _coordinates(row: Row, target: Target, key: jax.Array, settings: Settings) -> Coordinates:
    """The coordinates of a method."""
    if row["method"] in ("neutra", "adapted"):
        recipe, adapts = RECIPES[row["target"]], row["method"] == "adapted"
        return _fitted_coordinates(recipe, target, key, settings, adapts)
    straighten = target.straighten
    if row["method"] == "nuts" or straighten is None:
        return Coordinates(Partial(target.log_density), lambda z: z, {})

    def log_density(z: jax.Array) -> jax.Array:
        x, log_det = straighten(z)
        return target.log_density(x) + log_det

    return Coordinates(Partial(log_density), lambda z: straighten(z)[0], {})


def _fitted_coordinates(
    recipe: Recipe, target: Target, key: jax.Array, settings: Settings, adapts: bool
) -> Coordinates:
    """The base of a flow that is fitted to a target, and perhaps then to samples of NUTS on it."""
    flow = make_flow(recipe, target.size)
    fitted = dxf.fit_to_density(
        flow,
        target.log_density,
        key=key,
        num_steps=settings.num_steps,
        num_samples=settings.num_samples,
        optimizer=dxf.training.cosine_adam(settings.num_steps, settings.learning_rate),
        ema_decay=settings.ema_decay,
    )
    params, history = fitted.params, fitted.history
    cells = as_row(
        fit_gradients=settings.num_steps * settings.num_samples,
        num_params=num_parameters(params),
        fit_seconds=f"{history.train_seconds:.2f}",
        compile_seconds=f"{history.compile_seconds:.2f}",
    )
    if adapts:
        start = time.perf_counter()
        adapted = adapt_flow(
            flow,
            target.log_density,
            key=jax.random.fold_in(key, 1),
            params=params,
            num_rounds=settings.num_rounds,
            num_samples=settings.num_round_draws,
            num_fit_steps=settings.num_round_steps,
            optimizer=dxf.training.cosine_adam(
                settings.num_round_steps, settings.learning_rate / 3
            ),
            ema_decay=settings.ema_decay,
        )
        params = adapted.params
        seconds = history.train_seconds + time.perf_counter() - start
        cells |= as_row(
            fit_gradients=int(cells["fit_gradients"]) + adapted.num_gradients,
            fit_seconds=f"{seconds:.2f}",
        )

    def log_density(params: Any, z: jax.Array) -> jax.Array:
        return dxf.pull_back(flow, params, target.log_density)(z)

    return Coordinates(Partial(log_density, params), lambda z: flow.forward(params, z)[0], cells)


def _scores(x: np.ndarray, chains: Chains, fit: Row) -> Row:
    """Cells: effective sample sizes of scored samples, `[C, N, S]`, and costs, fit included."""
    ess, ess_squares = (bulk_ess(y).min() for y in (x, (x - np.median(x, axis=(0, 1))) ** 2))
    least = min(ess, ess_squares)
    total = chains.gradients + chains.warmup_gradients + int(fit.get("fit_gradients", 0))
    compile_seconds = chains.compile_seconds + float(fit.get("compile_seconds", 0))
    return fit | as_row(
        ess=f"{ess:.1f}",
        ess_squares=f"{ess_squares:.1f}",
        min_ess=f"{least:.1f}",
        ess_per_1000=f"{1_000 * least / chains.gradients:.3f}",
        ess_per_1000_all=f"{1_000 * least / total:.3f}",
        divergences=chains.num_divergent,
        r_hat=f"{r_hat(x):.4f}",
        gradients=chains.gradients,
        warmup_gradients=chains.warmup_gradients,
        sample_seconds=f"{chains.seconds:.2f}",
        compile_seconds=f"{compile_seconds:.2f}",
    )


def _kept(x: np.ndarray, z: np.ndarray, target: Target) -> dict[str, np.ndarray]:
    """Two coordinates of samples from all over the run, for pictures."""
    flat = (a.reshape(-1, a.shape[-1])[:, list(target.shown)] for a in (x, z))
    return {name: a[:: -(-len(a) // _NUM_SHOWN)] for name, a in zip("xz", flat, strict=True)}


def _largest(errors: np.ndarray) -> float:
    """The error that is farthest from zero."""
    return float(errors[np.abs(errors).argmax()])
