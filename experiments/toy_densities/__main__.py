"""Entry point of the experiment; see the docstring of the package."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

import distrax_flows as dxf
from experiments._command import check, quick_means, run
from experiments._common import cost_cells, machine_cells, score, use_compilation_cache
from experiments._plane import Fitted, LogProb, draw_overview, make_target, planar_densities
from experiments._summary import format_table, mean, select, select_fits
from experiments._table import Finished, Row, Table, as_row, cells_of
from experiments.toy_densities.pictures import draw_density, draw_training
from experiments.toy_densities.recipes import EMA_DECAY, RECIPES

COLUMNS = (
    "flow density seed num_layers hidden_sizes num_params num_steps batch_size kl kl_stderr nll "
    "entropy train_seconds compile_seconds jax_version device means"
)


@quick_means(
    densities=("banana", "gaussian_blobs"), seeds=(0,), num_steps=500, num_layers=2,
    hidden_sizes=(16, 16), num_draws=10_000, grid_size=100,
)  # fmt: skip
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Flows fitted to toy densities: a table, pictures, and a GIF of training."""

    # Flows to fit; there are `glow` and `hint` too.
    flows: tuple[str, ...] = ("maf", "realnvp", "nsf_coupling")
    # Densities to fit them to, of `distrax_flows.densities.names()`.
    densities: tuple[str, ...] = (
        "banana", "gaussian_blobs", "energy1", "energy2", "energy3", "energy4",
    )  # fmt: skip
    num_steps: int = 5_000  # Training steps of each fit.
    batch_size: int = 128  # Fresh samples of each step.
    seeds: tuple[int, ...] = (0,)  # A fit for each; pictures show the first.
    num_layers: int = 8  # Layers of each flow.
    hidden_sizes: tuple[int, ...] = (64, 64)  # Hidden units of each network.
    num_draws: int = 100_000  # Fresh samples that score a fit.
    grid_size: int = 200  # Points along each side of a picture.
    gif_flow: str = "nsf_coupling"  # Flow whose training is shown, if it is among the flows.
    gif_density: str = "gaussian_blobs"  # Density on which it is, if it is among the densities.
    output: Path = Path("figures/toy_densities")  # Folder to write into.
    resume: bool = False  # Keep the rows of `results.csv`, and do the fits that are missing.
    quick: bool = False  # Small flows, few steps, one seed and the first two densities.


def main(settings: Settings) -> None:
    """Runs the experiment."""
    flows, planar = list(RECIPES), planar_densities()
    choices = {"flows": flows, "gif_flow": flows, "densities": planar, "gif_density": planar}
    check(settings, choices=choices)
    path = settings.output / "results.csv"
    table = Table(path, COLUMNS, keep_params=True, resume=settings.resume)
    compute = functools.partial(fit, settings=settings)
    fits = table.fill(identities(settings), compute, "{flow} on {density}")
    draw(fits, settings)
    print(summary([fit.row for fit in fits], settings))


def identities(settings: Settings) -> list[Row]:
    """The cells that identify each fit."""
    return [
        as_row(flow=flow, density=density, seed=seed)
        | cells_of(settings, "num_layers hidden_sizes num_steps batch_size")
        | as_row(means=f"{RECIPES[flow].helped_by}; EMA {EMA_DECAY}")
        for density in settings.densities
        for seed in settings.seeds
        for flow in settings.flows
    ]


def fit(row: Row, settings: Settings) -> tuple[Row, Any]:
    """Fits a flow; returns its score and cost, and its parameters."""
    name, target = row["flow"], make_target(row["density"], settings.batch_size, settings.grid_size)
    flow = make_flow(name, settings.num_layers, settings.hidden_sizes)
    train_key, score_key = jax.random.split(jax.random.key(int(row["seed"])))
    snapshots: list[tuple[int, LogProb]] = []
    fitted = dxf.fit(
        flow,
        target.draw,
        key=train_key,
        num_steps=settings.num_steps,
        ema_decay=EMA_DECAY,
        callback=lambda step, params: snapshots.append((step, log_density(flow, params))),
    )
    shown = as_row(flow=settings.gif_flow, density=settings.gif_density, seed=settings.seeds[0])
    if shown.items() <= row.items():
        draw_training(settings.output / "training.gif", RECIPES[name].label, target, snapshots)
    x = target.density.sample(seed=score_key, sample_shape=(settings.num_draws,))
    scored = score(target.log_prob, log_density(flow, fitted.params), x)
    scored = scored._replace(entropy=target.density.entropy())
    return scored.cells() | cost_cells(fitted) | machine_cells(), fitted.params


# Cached, so that all fits of a flow share compiled code.
@functools.cache
def make_flow(name: str, num_layers: int, hidden_sizes: tuple[int, ...]) -> dxf.Flow:
    """The flow of that name and size."""
    return dxf.transform(
        lambda: RECIPES[name].build(
            2, num_layers=num_layers, hidden_sizes=hidden_sizes, standardize=True
        )
    )


def log_density(flow: dxf.Flow, params: Any) -> LogProb:
    """The log-density of a flow with these parameters."""
    return functools.partial(flow.log_prob, params)


def draw(fits: Sequence[Finished], settings: Settings) -> None:
    """A picture of each density with the fits of the first seed, and one of all."""
    rows = []
    for name in settings.densities:
        shown = []
        for row, params in select_fits(fits, density=name, seed=str(settings.seeds[0])):
            flow = make_flow(row["flow"], settings.num_layers, settings.hidden_sizes)
            label, log_prob = RECIPES[row["flow"]].label, log_density(flow, params)
            shown.append(Fitted(label, log_prob, float(row["kl"])))
        target = make_target(name, settings.batch_size, settings.grid_size)
        draw_density(settings.output / f"{name}.png", target, shown)
        plot_first = functools.partial(target.window.plot_samples, x=target.x)
        rows.append((name, target.window, plot_first, shown))
    draw_overview(settings.output / "overview.png", "true samples", rows)


def summary(rows: Sequence[Row], settings: Settings) -> str:
    """A table of KL, flow by density, and cost: means over the seeds."""
    table = []
    for flow in settings.flows:
        of_flow = select(rows, flow=flow)
        kls = [mean(select(of_flow, density=name), "kl") for name in settings.densities]
        costs = f"{mean(of_flow, 'num_params'):,.0f}", f"{mean(of_flow, 'train_seconds'):.1f}"
        table.append([flow, *(f"{kl:.4f}" for kl in kls), *costs])
    header = ["KL(p || q), nats", *settings.densities, "parameters", "seconds"]
    return format_table(header, table)


if __name__ == "__main__":
    use_compilation_cache()
    run("experiments.toy_densities", main, Settings)
