"""The whole experiment; the package's docstring says what it does."""

import itertools
from collections.abc import Iterator

import jax
from tqdm import tqdm

from experiments._command import run
from experiments._common import device_name, use_compilation_cache
from experiments._results import Results, Row
from experiments.tabular.datasets import Splits, load
from experiments.tabular.fits import (
    COLUMNS,
    IDENTITY,
    finished_flow,
    finished_gaussian,
    make_models,
)
from experiments.tabular.maf_sets import MAF_SETS
from experiments.tabular.pictures import draw_set
from experiments.tabular.settings import Settings, check
from experiments.tabular.tables import beside_published, gains, scores


def main(settings: Settings) -> None:
    """Runs the experiment.

    Raises:
        ImportError: the package that reads a file is missing.
        ValueError: a setting is too small, or names nothing; data are not there, or unfit; the
            table to resume has other columns.
    """
    check(settings)
    print(f"JAX {jax.__version__} on {device_name()}")
    results = Results(settings.output, COLUMNS, IDENTITY, resume=settings.resume)
    rows, remarks = [], []
    total = len(settings.datasets) * len(settings.seeds) * len(settings.flows)
    with tqdm(total=total, unit="fit", disable=None) as bar:
        for name in settings.datasets:
            found, remark = _run_set(name, settings, results, bar)
            rows += found
            remarks += remark
    print(scores(rows), gains(rows), *remarks, sep="\n\n")


def _run_set(
    name: str, settings: Settings, results: Results, bar: tqdm
) -> tuple[list[Row], list[str]]:
    """The rows of a set, whose picture it draws, and what to say of them beside the tables."""
    by_seed = _splits(name, settings)
    _, first = start = next(by_seed)
    models = make_models(first, settings)
    finished = []
    for seed, splits in itertools.chain([start], by_seed):
        finished.append(finished_gaussian(splits, seed, results))
        for model in models:
            bar.set_description(f"{model.name} on {splits.name}")
            finished.append(finished_flow(model, splits, seed, settings, results))
            bar.update()
    draw_set(settings.output / f"{first.name}.png", first, finished)
    rows = [fit.row for fit in finished]
    return rows, beside_published(first, rows)


def _splits(name: str, settings: Settings) -> Iterator[tuple[int, Splits]]:
    """The data by seed; the five sets, which are split once and for all, are read once."""
    splits = None
    for seed in settings.seeds:
        if splits is None or name not in MAF_SETS:
            splits = load(name, settings.data_dir, seed)
        yield seed, splits


if __name__ == "__main__":
    use_compilation_cache()
    run("experiments.tabular", main, Settings)
