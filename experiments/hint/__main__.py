"""Entry point of the experiment; see the docstring of the package."""

import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np

import distrax_flows as dxf
from experiments._command import check, run
from experiments._common import cost_cells, machine_cells, use_compilation_cache
from experiments._summary import format_table, mean, select_fits
from experiments._table import Finished, Row, Table, as_row, cells_of
from experiments.hint.models import make_models
from experiments.hint.pictures import DRAW, draw_calibration
from experiments.hint.problems import PROBLEMS, Problem
from experiments.hint.scores import Scored, exact, score
from experiments.hint.settings import Settings

# The exact posterior has no sizes and no cost: its row lacks them.
COLUMNS = (
    "problem posterior num_layers seed hidden_sizes num_params num_steps batch_size learning_rate "
    "kl kl_stderr mean_error cov_error calibration_error train_seconds compile_seconds jax_version "
    "device"
)


def main(settings: Settings) -> None:
    """Runs the experiment."""
    check(settings, choices={"problems": PROBLEMS}, least={"num_pairs": 2, "num_draws": 4})
    table = Table(settings.output / "results.csv", COLUMNS)
    compute = functools.partial(fit, settings=settings)
    draw(table.fill(identities(settings), compute, "{posterior} on {problem}"), settings)
    print(summary(table.rows))


def identities(settings: Settings) -> list[Row]:
    """The cells that identify each posterior: the exact one first, then the flows."""
    rows = []
    for name in settings.problems:
        for seed in settings.seeds:
            rows.append(as_row(problem=name, posterior="exact", seed=seed))
            for num_layers in settings.num_layers:
                models = make_models(PROBLEMS[name](), num_layers, settings.hidden_size)
                for label, model in models.items():
                    row = as_row(
                        problem=name,
                        posterior=label,
                        num_layers=num_layers,
                        seed=seed,
                        hidden_sizes=(model.hidden_size, model.hidden_size),
                        num_params=model.num_params,
                    )
                    rows.append(row | cells_of(settings, "num_steps batch_size learning_rate"))
    return rows


def fit(row: Row, settings: Settings) -> tuple[Row, Scored]:
    """Fits a flow, unless the posterior is the exact one, and scores the posterior."""
    problem, key = PROBLEMS[row["problem"]](), jax.random.key(int(row["seed"]))
    true, cells = exact(problem), machine_cells()
    if row["posterior"] == "exact":
        estimate = true
    else:
        models = make_models(problem, int(row["num_layers"]), settings.hidden_size)
        fitted = dxf.fit(
            models[row["posterior"]].flow,
            batches(problem, settings.batch_size),
            key=jax.random.fold_in(key, 1),
            num_steps=settings.num_steps,
            optimizer=dxf.training.cosine_adam(settings.num_steps, settings.learning_rate),
        )
        estimate = models[row["posterior"]].estimate(fitted.params)
        cells |= cost_cells(fitted)
    # All posteriors of a seed are scored on the same samples.
    errors, coverage = score(problem, true, estimate, jax.random.fold_in(key, 2), settings)
    return cells | {name: f"{e:.6f}" for name, e in errors.items()}, Scored(estimate, coverage)


# Cached, so that all fits to a problem share compiled code.
@functools.cache
def batches(problem: Problem, size: int) -> Callable[[jax.Array], tuple[jax.Array, jax.Array]]:
    """A function from a key to a fresh batch of training data."""
    return lambda key: problem.draw(key, size)


def draw(fits: Sequence[Finished], settings: Settings) -> None:
    """The posteriors of the first seed, and the calibration of all.

    Both show the exact posterior, and flows of the last number of layers.
    """
    last = (None, str(settings.num_layers[-1]))
    shown = [fit for fit in fits if fit.row.get("num_layers") in last]
    for name in settings.problems:
        posteriors = select_fits(shown, problem=name, seed=str(settings.seeds[0]))
        DRAW[name](settings.output / f"{name}.png", PROBLEMS[name](), posteriors)
    draw_calibration(settings.output / "calibration.png", shown)


def summary(rows: Sequence[Row]) -> str:
    """A table of errors and cost, by problem, posterior and layers: means over the seeds."""
    errors = ("mean_error", "cov_error", "calibration_error")
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        name = f"{row['problem']}, {row['posterior']}"
        groups.setdefault((name, row.get("num_layers", "")), []).append(row)
    table = []
    for names, group in groups.items():
        divergences = [float(row["kl"]) for row in group]
        line = [
            *names,
            f"{np.mean(divergences):.4f}",
            f"{min(divergences):.4f} - {max(divergences):.4f}",
            *(f"{mean(group, error):.4f}" for error in errors),
            group[0].get("hidden_sizes", ""),
            group[0].get("num_params", ""),
            f"{mean(group, 'train_seconds'):.1f}" if "train_seconds" in group[0] else "",
        ]
        table.append(line)
    header = ["", "layers", "KL, nats", "of the seeds", *errors, "hidden", "parameters", "seconds"]
    return format_table(header, table)


if __name__ == "__main__":
    use_compilation_cache()
    run("experiments.hint", main, Settings)
