"""Entry point of the experiment; see the docstring of the package."""

import functools
from collections.abc import Sequence

from experiments._command import check, run
from experiments._common import use_compilation_cache
from experiments._summary import format_rows, format_table, mean, select, select_fits
from experiments._table import Row, Table
from experiments.sbi.methods import METHODS
from experiments.sbi.pictures import draw_calibration, draw_posteriors
from experiments.sbi.recipes import Recipe
from experiments.sbi.references import NUM_OBSERVATIONS
from experiments.sbi.scores import calibrate, fit_identities, identities, score
from experiments.sbi.settings import Settings
from experiments.sbi.tasks import TASKS

_FIT = (
    f"num_simulations {' '.join(Recipe._fields)} num_params best_step validation_loss fit_seconds "
    "jax_version device"
)
COLUMNS = f"task method seed observation c2st sample_seconds {_FIT}"
CALIBRATION_COLUMNS = f"task seed p_coordinates p_hpd p_tarp {_FIT}"


def main(settings: Settings) -> None:
    """Runs the experiment."""
    choices = {
        "tasks": TASKS, "methods": METHODS, "observations": range(1, 1 + NUM_OBSERVATIONS),
    }  # fmt: skip
    check(settings, choices=choices, least={"weight_decay": 0, "num_simulations": 20})
    if "npe" in settings.methods:
        _calibrate(settings)
    if settings.wheel is None:
        print("No C2ST: `--wheel` names no reference posteriors.")
        return
    table = Table(
        settings.output / "results.csv",
        COLUMNS,
        keep_params=True,
        num_names=4,
        resume=settings.resume,
    )
    compute = functools.partial(score, settings=settings)
    title = "{task}, {method}, observation {observation}"
    scored = table.fill(identities(settings), compute, title)
    for method in settings.methods:
        shown = select_fits(scored, seed=str(settings.seeds[0]), method=method)
        if shown:
            draw_posteriors(settings.output / f"posteriors_{method}.png", shown)
    discrete = [task for task in settings.tasks if TASKS[task]().is_discrete]
    if "nle" in settings.methods and discrete:
        print(f"No likelihoods of {', '.join(discrete)}: their data are discrete.")
    print(summary([fit.row for fit in scored]))


def _calibrate(settings: Settings) -> None:
    path = settings.output / "calibration.csv"
    table = Table(path, CALIBRATION_COLUMNS, keep_params=True, resume=settings.resume)
    compute = functools.partial(calibrate, settings=settings)
    checked = table.fill(fit_identities(settings), compute, "{task}, seed {seed}")
    shown = select_fits(checked, seed=str(settings.seeds[0]))
    draw_calibration(settings.output / "calibration.png", shown)
    print(format_rows([c.row for c in checked], "task seed p_coordinates p_hpd p_tarp fit_seconds"))


def summary(rows: Sequence[Row]) -> str:
    """A table of the mean C2ST by task, method and seed."""
    table = []
    for task, method, seed in dict.fromkeys((r["task"], r["method"], r["seed"]) for r in rows):
        same = select(rows, task=task, method=method, seed=seed)
        published = f"{TASKS[task]().published_c2st:.3f}" if method == "npe" else ""
        table.append(
            [
                f"{task}, {method}, seed {seed}",
                str(len(same)),
                f"{mean(same, 'c2st'):.3f}",
                published,
                f"{mean(same, 'fit_seconds'):.0f}",
                f"{mean(same, 'sample_seconds'):.0f}",
            ]
        )
    header = ["mean over observations", "number", "C2ST", "published NPE", "fit, s", "samples, s"]
    return format_table(header, table)


if __name__ == "__main__":
    use_compilation_cache()
    run("experiments.sbi", main, Settings)
