"""Entry point of the experiment; see the docstring of the package."""

import functools
from collections.abc import Sequence

from experiments._command import check, run
from experiments._common import use_compilation_cache
from experiments._summary import format_table, mean, select, select_fits
from experiments._table import Row, Table
from experiments.mnf import classifier, regression
from experiments.mnf.images import DATASETS
from experiments.mnf.networks import NETWORKS
from experiments.mnf.pictures import draw_classifiers, draw_regressions
from experiments.mnf.settings import Settings

REGRESSION_COLUMNS = (
    "part network seed regression_units prior_scale regression_steps num_members num_chains "
    "num_warmup num_draws num_params loss nll_data nll_gap width_data width_gap mean_distance "
    "scale_distance r_hat num_divergent train_seconds compile_seconds"
)
CLASSIFIER_COLUMNS = (
    "dataset network seed num_members dropout_rate channels hidden_size num_steps batch_size "
    "learning_rate prior_scale num_params loss error nll ece entropy entropy_rotated "
    "entropy_patches auroc_patches train_seconds compile_seconds"
)
PARTS = ("regression", "classifier")


def main(settings: Settings) -> None:
    """Runs the experiment."""
    choices = {"parts": PARTS, "networks": NETWORKS, "dataset": DATASETS}
    check(settings, choices=choices, least={"num_chains": 2})
    if settings.dropout_rate >= 1:
        raise ValueError(f"`dropout_rate` must be less than 1; got {settings.dropout_rate}.")
    if "regression" in settings.parts:
        run_regressions(settings)
    if "classifier" in settings.parts:
        run_classifiers(settings)


def run_regressions(settings: Settings) -> None:
    """Fills the table of the regression, draws it and prints it."""
    path = settings.output / "regression.csv"
    table = Table(path, REGRESSION_COLUMNS, keep_params=True, resume=settings.resume)
    first, *others = regression.identities(settings)
    compute = functools.partial(regression.fit, settings=settings)
    (nuts,) = table.fill([first], functools.partial(compute, reference=None), "{network}")
    curves = regression.Curves(**nuts.result["curves"])
    fits = table.fill(others, functools.partial(compute, reference=curves), "{network}")
    shown = select_fits([nuts, *fits], seed=str(settings.seeds[0]))
    draw_regressions(settings.output / "regression.png", shown)
    columns = "nll_data nll_gap width_data width_gap mean_distance scale_distance train_seconds"
    print(summary([fit.row for fit in (nuts, *fits)], columns))


def run_classifiers(settings: Settings) -> None:
    """Fills the table of the classifiers, draws them and prints it."""
    path = settings.output / "results.csv"
    table = Table(path, CLASSIFIER_COLUMNS, keep_params=True, resume=settings.resume)
    compute = functools.partial(classifier.fit, settings=settings)
    fits = table.fill(classifier.identities(settings), compute, "{network} on {dataset}")
    draw_classifiers(settings.output / f"{settings.dataset}.png", fits)
    columns = (
        "error nll ece entropy entropy_rotated entropy_patches auroc_patches num_params "
        "train_seconds"
    )
    print(summary([fit.row for fit in fits], columns))


def summary(rows: Sequence[Row], columns: str) -> str:
    """A table of the means over the seeds, by network."""
    names = columns.split()
    lines = []
    for network in dict.fromkeys(row["network"] for row in rows):
        same = select(rows, network=network)
        cells = [f"{mean(same, name):.4g}" if same[0].get(name) else "" for name in names]
        lines.append([network, *cells])
    return format_table(["", *names], lines)


if __name__ == "__main__":
    use_compilation_cache()
    run("experiments.mnf", main, Settings)
