"""The whole experiment; the package's docstring says what it does."""

from collections.abc import Sequence

import jax
import numpy as np
from tqdm import tqdm

from experiments._command import run
from experiments._common import device_name, format_table, use_compilation_cache
from experiments._results import Row, write_table
from experiments.hint.fits import (
    COLUMNS,
    finished_exact,
    finished_fit,
    make_optimizer,
    make_task,
)
from experiments.hint.pictures import DRAW, draw_calibration
from experiments.hint.problems import PROBLEMS
from experiments.hint.settings import Settings, check


def main(settings: Settings) -> None:
    """Runs the experiment.

    Raises:
        ValueError: a setting is too small, holds no value, or names no problem.
    """
    check(settings)
    print(f"JAX {jax.__version__} on {device_name()}")
    tasks = [make_task(PROBLEMS[name](), settings) for name in settings.problems]
    optimizer = make_optimizer(settings)
    finished = []
    total = sum(len(task.models) for task in tasks) * len(settings.seeds)
    with tqdm(total=total, unit="fit", disable=None) as bar:
        for task in tasks:
            for seed in settings.seeds:
                finished.append(finished_exact(task, seed, settings))
                for model in task.models:
                    bar.set_description(f"{model.label} on {task.problem.name}")
                    finished.append(finished_fit(task, model, optimizer, seed, settings))
                    rows = [posterior.row for posterior in finished]
                    write_table(settings.output / "results.csv", COLUMNS, rows)
                    bar.update()
    # The pictures show the exact posterior, and flows of the last number of layers.
    last = (None, str(settings.num_layers[-1]))
    shown = [posterior for posterior in finished if posterior.row.get("num_layers") in last]
    for task in tasks:
        name = task.problem.name
        wanted = {"problem": name, "seed": str(settings.seeds[0])}
        posteriors = [posterior for posterior in shown if wanted.items() <= posterior.row.items()]
        DRAW[name](settings.output / f"{name}.png", task.problem, posteriors)
    draw_calibration(settings.output / "calibration.png", shown)
    print(summary([posterior.row for posterior in finished]))


def summary(rows: Sequence[Row]) -> str:
    """A table of errors and cost, by problem, posterior and layers: means over the seeds."""
    errors = ("mean_error", "cov_error", "calibration_error")
    groups = {}
    for row in rows:
        name = ", ".join((row["problem"], row["posterior"]))
        groups.setdefault((name, row.get("num_layers", "")), []).append(row)
    table = []
    for (name, num_layers), group in groups.items():
        divergences = [float(row["kl"]) for row in group]
        table.append(
            [
                name,
                num_layers,
                f"{np.mean(divergences):.4f}",
                f"{min(divergences):.4f} - {max(divergences):.4f}",
                *(f"{np.mean([float(row[error]) for row in group]):.4f}" for error in errors),
                group[0].get("hidden_sizes", ""),
                group[0].get("num_params", ""),
                f"{np.mean([float(row.get('train_seconds', 0)) for row in group]):.1f}",
            ]
        )
    header = ["", "layers", "KL, nats", "of the seeds", *errors, "hidden", "parameters", "seconds"]
    return format_table(header, table)


if __name__ == "__main__":
    use_compilation_cache()
    run("experiments.hint", main, Settings)
