"""Entry point of the experiment; see the docstring of the package."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import distrax_flows as dxf
from experiments._command import check, quick_means, run
from experiments._common import cost_cells, machine_cells, score, use_compilation_cache
from experiments._plane import Fitted, make_target, planar_densities
from experiments._summary import format_table, known, mean, select, select_fits
from experiments._table import Finished, Row, Table, as_row, cells_of
from experiments.benchmarks._timing import milliseconds
from experiments.flow_zoo.pictures import draw_sheet
from experiments.flow_zoo.zoo import ZOO

COLUMNS = (
    "flow density seed num_layers hidden_sizes learning_rate num_params num_steps batch_size kl "
    "kl_stderr nll entropy disagreement train_seconds compile_seconds log_prob_ms sample_ms "
    "jax_version device"
)
_NUM_TIMED = 10_000  # rows; also the batch size of scores and pictures, to compile once


@quick_means(
    num_steps=500, num_layers=2, hidden_sizes=(16, 16), num_draws=10_000, grid_size=100, repeats=3
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Every flow of the library on two densities, at one budget: a table and a sheet of each."""

    flows: tuple[str, ...] = tuple(ZOO)  # Flows to fit.
    # Densities to fit them to, of `distrax_flows.densities.names()`.
    densities: tuple[str, ...] = ("moons", "gaussian_blobs")
    num_steps: int = 5_000  # Training steps of each fit.
    batch_size: int = 128  # Fresh samples of each step.
    seed: int = 0  # Of the fits and of the samples that score them.
    num_layers: int = 8  # Layers of each flow; four times as many where layers are thin.
    hidden_sizes: tuple[int, ...] = (64, 64)  # Hidden units of each network.
    num_draws: int = 100_000  # Fresh samples that score a fit.
    grid_size: int = 150  # Points along each side of a panel.
    repeats: int = 7  # Timed calls of `log_prob` and of `sample`, each of 10,000 rows.
    output: Path = Path("figures/flow_zoo")  # Folder to write into.
    resume: bool = False  # Keep the fits of `results.csv`, do those that are missing, and time all.
    quick: bool = False  # Small flows and few steps.


def main(settings: Settings) -> None:
    """Runs the experiment."""
    check(settings, choices={"flows": ZOO, "densities": planar_densities()})
    path = settings.output / "results.csv"
    table = Table(path, COLUMNS, keep_params=True, resume=settings.resume)
    rows = identities(settings)
    fits = table.fill(rows, functools.partial(fit, settings=settings), "{flow} on {density}")
    print("timing ...")
    fits = [
        table.add(identity, *fit)
        for identity, fit in zip(rows, with_times(fits, settings), strict=True)
    ]
    draw(fits, settings)
    print(summary([fit.row for fit in fits], settings))


def identities(settings: Settings) -> list[Row]:
    """The cells that identify each fit."""
    return [
        as_row(
            flow=flow,
            density=density,
            seed=settings.seed,
            num_layers=ZOO[flow].layers(settings.num_layers),
            hidden_sizes=settings.hidden_sizes,
            learning_rate=ZOO[flow].learning_rate,
        )
        | cells_of(settings, "num_steps batch_size")
        for flow in settings.flows
        for density in settings.densities
    ]


def fit(row: Row, settings: Settings) -> tuple[Row, Any]:
    """Fits a flow; returns its score and cost, and its parameters."""
    target = make_target(row["density"], settings.batch_size, settings.grid_size)
    flow = make_flow(row["flow"], settings.num_layers, settings.hidden_sizes)
    train_key, key = jax.random.split(jax.random.key(settings.seed))
    fitted = dxf.fit(
        flow,
        target.draw,
        key=train_key,
        num_steps=settings.num_steps,
        optimizer=dxf.training.cosine_adam(settings.num_steps, ZOO[row["flow"]].learning_rate),
    )
    x = target.density.sample(seed=key, sample_shape=(settings.num_draws,))
    scored = score(target.log_prob, functools.partial(flow.log_prob, fitted.params), x)
    scored = scored._replace(entropy=target.density.entropy())
    # Both directions of the flow must give the same density: one samples, the other evaluates.
    samples, log_prob = flow.sample_and_log_prob(fitted.params, key, (_NUM_TIMED,))
    disagreement = jnp.max(jnp.abs(flow.log_prob(fitted.params, samples) - log_prob))
    others = {"disagreement": f"{disagreement:.1e}"}
    return scored.cells() | others | cost_cells(fitted) | machine_cells(), fitted.params


# Cached, so that all fits of a flow share compiled code.
@functools.cache
def make_flow(name: str, num_layers: int, hidden_sizes: tuple[int, ...]) -> dxf.Flow:
    """The flow of that name, of the size in the settings."""
    entry = ZOO[name]
    return dxf.transform(
        lambda: entry.build(
            2, num_layers=entry.layers(num_layers), hidden_sizes=hidden_sizes, standardize=True
        )
    )


def with_times(fits: Sequence[Finished], settings: Settings) -> list[Finished]:
    """The fits with the times of `log_prob` and `sample` in their rows.

    All are timed in turn with nothing else running, even if they are from an earlier run.
    """
    calls = {}
    for i, (row, params) in enumerate(fits):
        flow = make_flow(row["flow"], settings.num_layers, settings.hidden_sizes)
        x = make_target(row["density"], settings.batch_size, settings.grid_size).x[:_NUM_TIMED]
        calls[i, "log_prob_ms"] = functools.partial(flow.log_prob, params, x)
        calls[i, "sample_ms"] = functools.partial(
            flow.sample, params, jax.random.key(0), (_NUM_TIMED,)
        )
    times = milliseconds(calls, settings.repeats)
    return [
        Finished(
            row | {c: f"{np.median(times[i, c]):.2f}" for c in ("log_prob_ms", "sample_ms")}, params
        )
        for i, (row, params) in enumerate(fits)
    ]


def draw(fits: Sequence[Finished], settings: Settings) -> None:
    """A sheet of each density."""
    for name in settings.densities:
        shown = []
        for row, params in select_fits(fits, density=name):
            flow = make_flow(row["flow"], settings.num_layers, settings.hidden_sizes)
            log_prob = functools.partial(flow.log_prob, params)
            shown.append(Fitted(row["flow"], log_prob, float(row["kl"])))
        target = make_target(name, settings.batch_size, settings.grid_size)
        draw_sheet(settings.output / f"{name}.png", target, shown)


def summary(rows: Sequence[Row], settings: Settings) -> str:
    """A table of KL, flow by density, and costs: means over the densities.

    A flow is compiled once, for its first density, which gives its compile time. Its disagreement
    is the largest difference between its log-densities by sampling and by evaluation.
    """
    table = []
    for name in settings.flows:
        same = select(rows, flow=name)
        line = [
            name,
            *(f"{float(row['kl']):.4f} ± {float(row['kl_stderr']):.4f}" for row in same),
            f"{max(float(row['disagreement']) for row in same):.0e}",
            f"{int(same[0]['num_params']):,}",
            f"{mean(same, 'train_seconds'):.1f}",
            f"{max(known(same, 'compile_seconds')):.1f}",
            f"{mean(same, 'log_prob_ms'):.1f}",
            f"{mean(same, 'sample_ms'):.1f}",
        ]
        table.append(line)
    costs = ["disagreement", "parameters", "train s", "compile s", "log_prob ms", "sample ms"]
    return format_table(["KL(p || q), nats", *settings.densities, *costs], table)


if __name__ == "__main__":
    use_compilation_cache()
    run("experiments.flow_zoo", main, Settings)
