"""Entry point of the experiment; see the docstring of the package."""

import functools
from collections.abc import Sequence

from experiments._command import check, run
from experiments._common import use_compilation_cache
from experiments._summary import format_rows, format_table, mean, select, select_fits
from experiments._table import Row, Table
from experiments.sbi.fits import calibrate, fit_identities, identities, score
from experiments.sbi.pictures import draw_calibration, draw_posteriors
from experiments.sbi.settings import Settings
from experiments.sbi.tasks import TASKS

_RECIPE = (
    "num_simulations num_layers hidden_sizes num_bins learning_rate weight_decay ema_decay "
    "batch_size num_steps eval_every patience num_params best_step validation_loss fit_seconds "
    "jax_version device"
)
COLUMNS = f"task seed observation c2st {_RECIPE}"
CALIBRATION_COLUMNS = f"task seed p_coordinates p_hpd p_tarp {_RECIPE}"


def main(settings: Settings) -> None:
    """Runs the experiment."""
    check(settings, choices={"tasks": TASKS}, least={"weight_decay": 0, "num_simulations": 20})
    seed, output = str(settings.seeds[0]), settings.output
    path = output / "calibration.csv"
    table = Table(path, CALIBRATION_COLUMNS, keep_params=True, resume=settings.resume)
    compute = functools.partial(calibrate, settings=settings)
    checked = table.fill(fit_identities(settings), compute, "{task}, seed {seed}")
    draw_calibration(output / "calibration.png", select_fits(checked, seed=seed))
    print(format_rows([c.row for c in checked], "task seed p_coordinates p_hpd p_tarp fit_seconds"))
    if settings.wheel is None:
        print("No C2ST: `--wheel` names no reference posteriors.")
        return
    table = Table(output / "results.csv", COLUMNS, keep_params=True, resume=settings.resume)
    compute = functools.partial(score, settings=settings)
    scored = table.fill(identities(settings), compute, "{task}, observation {observation}")
    draw_posteriors(output / "posteriors.png", select_fits(scored, seed=seed))
    print(summary([fit.row for fit in scored]))


def summary(rows: Sequence[Row]) -> str:
    """A table of the mean C2ST by task and seed."""
    table = []
    for task, seed in dict.fromkeys((row["task"], row["seed"]) for row in rows):
        same = select(rows, task=task, seed=seed)
        published = f"{TASKS[task]().published_c2st:.3f}"
        table.append(
            [f"{task}, seed {seed}", f"{mean(same, 'c2st'):.3f}", published, same[0]["fit_seconds"]]
        )
    return format_table(["mean over observations", "C2ST", "published NPE", "fit seconds"], table)


if __name__ == "__main__":
    use_compilation_cache()
    run("experiments.sbi", main, Settings)
