"""Scores of posteriors: C2ST from references, and calibration."""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from distrax_flows import diagnostics
from experiments._common import machine_cells
from experiments._table import Row, as_row
from experiments.sbi.methods import METHODS, fit_posterior
from experiments.sbi.references import read_reference
from experiments.sbi.settings import Settings
from experiments.sbi.tasks import TASKS

NUM_SHOWN = 2_000  # samples of a posterior in pictures


def identities(settings: Settings) -> list[Row]:
    """The cells that identify each observation of each fit."""
    # Observations come first: a run that is interrupted has some of every task.
    return [
        as_row(task=task, method=method, seed=seed, observation=number)
        | _recipe_cells(task, method, settings)
        for number in settings.observations
        for method in settings.methods
        for task in settings.tasks
        if method != "nle" or not TASKS[task]().is_discrete
        for seed in settings.seeds
    ]


def fit_identities(settings: Settings) -> list[Row]:
    """The cells that identify each fit of posteriors of all observations."""
    return [
        as_row(task=task, seed=seed) | _recipe_cells(task, "npe", settings)
        for task in settings.tasks
        for seed in settings.seeds
    ]


def score(row: Row, settings: Settings) -> tuple[Row, Any]:
    """Compares the posterior of an observation with its reference; also returns samples of it."""
    assert settings.wheel is not None
    reference = read_reference(settings.wheel, row["task"], int(row["observation"]))
    infer = METHODS[row["method"]]
    found = infer(row["task"], int(row["seed"]), jnp.asarray(reference.observation), settings)
    start = time.perf_counter()
    samples = found.sample(jax.random.key(int(row["observation"])), len(reference.posterior))
    samples = np.asarray(samples)
    seconds = time.perf_counter() - start
    test = diagnostics.c2st(reference.posterior, samples)
    shown = {"samples": samples[:NUM_SHOWN], "reference": reference.posterior[:NUM_SHOWN]}
    cells = as_row(c2st=f"{test.accuracy:.4f}", sample_seconds=f"{seconds:.1f}")
    return cells | found.cells | machine_cells(), {"posterior": shown}


def calibrate(row: Row, settings: Settings) -> tuple[Row, Any]:
    """Measures the calibration on new simulations; also returns the ranks."""
    found = fit_posterior(row["task"], int(row["seed"]), settings)
    theta, x = TASKS[row["task"]]().sample(
        jax.random.key(1_000 + int(row["seed"])), settings.num_checked
    )
    calibration = diagnostics.calibration(
        found.flow, {}, theta, x, key=0, num_samples=200, batch_size=2_000
    )
    *coordinates, hpd, tarp = calibration.p_values
    cells = as_row(
        p_coordinates=f"{min(1.0, len(coordinates) * min(coordinates)):.4f}",
        p_hpd=f"{hpd:.4f}",
        p_tarp=f"{tarp:.4f}",
    )
    kept = {"ranks": calibration.ranks, "num_samples": np.array(calibration.num_samples)}
    return cells | found.cells | machine_cells(), {"calibration": kept}


def _recipe_cells(task: str, method: str, settings: Settings) -> Row:
    recipe = settings.recipe_for(task, method)
    return as_row(num_simulations=settings.num_simulations, **recipe._asdict())
