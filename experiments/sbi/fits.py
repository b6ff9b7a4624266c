"""Fits of posteriors, and their scores."""

import functools
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import distrax_flows as dxf
from distrax_flows import diagnostics, flows
from experiments._common import machine_cells, num_parameters
from experiments._table import Row, as_row, cells_of
from experiments.sbi.references import NUM_OBSERVATIONS, read_reference
from experiments.sbi.settings import Settings
from experiments.sbi.tasks import TASKS

NUM_SHOWN = 2_000  # samples of a posterior in pictures

_RECIPE = (
    "num_simulations num_layers hidden_sizes num_bins learning_rate weight_decay ema_decay "
    "batch_size num_steps eval_every patience"
)


class Posterior(NamedTuple):
    """A flow of parameters given data, fitted to simulations."""

    flow: dxf.Flow
    params: Any
    cells: Row


def identities(settings: Settings) -> list[Row]:
    """The cells that identify each observation of each fit."""
    # The first three cells name the files of samples.
    return [
        as_row(task=fit["task"], seed=fit["seed"], observation=number) | fit
        for fit in fit_identities(settings)
        for number in range(1, NUM_OBSERVATIONS + 1)
    ]


def fit_identities(settings: Settings) -> list[Row]:
    """The cells that identify each fit."""
    return [
        as_row(task=task, seed=seed) | cells_of(settings, _RECIPE)
        for task in settings.tasks
        for seed in settings.seeds
    ]


# Cached, so that all observations share it.
@functools.cache
def fit(task_name: str, seed: int, settings: Settings) -> Posterior:
    """Fits the posterior of a task to simulations from its prior."""
    task = TASKS[task_name]()
    start = time.perf_counter()
    data_key, key = jax.random.split(jax.random.key(seed))
    theta, x = task.sample(data_key, settings.num_simulations)

    def make(context: jax.Array):
        return flows.nsf_autoregressive(
            theta.shape[-1],
            num_bins=settings.num_bins,
            num_layers=settings.num_layers,
            hidden_sizes=settings.hidden_sizes,
            context=context,
            standardize=True,
            support=task.support,
        )

    flow = dxf.transform(make)
    fitted = dxf.fit(
        flow,
        theta,
        context=x,
        key=key,
        num_steps=settings.num_steps,
        batch_size=min(settings.batch_size, settings.num_simulations // 2),
        validation=0.1,
        patience=settings.patience,
        eval_every=settings.eval_every,
        ema_decay=settings.ema_decay,
        optimizer=dxf.training.cosine_adam(
            settings.num_steps, settings.learning_rate, weight_decay=settings.weight_decay
        ),
    )
    history = fitted.history
    cells = as_row(
        best_step=history.evaluated_steps[int(np.argmin(history.validation_loss))],
        validation_loss=f"{np.min(history.validation_loss):.4f}",
        num_params=num_parameters(fitted.params),
        fit_seconds=f"{time.perf_counter() - start:.1f}",
    )
    return Posterior(flow, fitted.params, cells)


def score(row: Row, settings: Settings) -> tuple[Row, Any]:
    """Compares the posterior of an observation with its reference; also returns samples of it."""
    assert settings.wheel is not None
    found = fit(row["task"], int(row["seed"]), settings)
    reference = read_reference(settings.wheel, row["task"], int(row["observation"]))
    samples = found.flow.sample(
        found.params,
        jax.random.key(int(row["observation"])),
        (len(reference.posterior),),
        jnp.asarray(reference.observation),
        batch_size=2_000,
    )
    test = diagnostics.c2st(reference.posterior, np.asarray(samples))
    shown = {
        "samples": np.asarray(samples[:NUM_SHOWN]),
        "reference": reference.posterior[:NUM_SHOWN],
    }
    cells = as_row(c2st=f"{test.accuracy:.4f}") | found.cells | machine_cells()
    return cells, {"posterior": shown}


def calibrate(row: Row, settings: Settings) -> tuple[Row, Any]:
    """Measures the calibration on new simulations; also returns the ranks."""
    found = fit(row["task"], int(row["seed"]), settings)
    theta, x = TASKS[row["task"]]().sample(
        jax.random.key(1_000 + int(row["seed"])), settings.num_checked
    )
    calibration = diagnostics.calibration(
        found.flow, found.params, theta, x, key=0, num_samples=200, batch_size=2_000
    )
    *coordinates, hpd, tarp = calibration.p_values
    cells = as_row(
        p_coordinates=f"{min(1.0, len(coordinates) * min(coordinates)):.4f}",
        p_hpd=f"{hpd:.4f}",
        p_tarp=f"{tarp:.4f}",
    )
    kept = {"ranks": calibration.ranks, "num_samples": np.array(calibration.num_samples)}
    return cells | found.cells | machine_cells(), {"calibration": kept}
