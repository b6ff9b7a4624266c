"""Tables of log-likelihoods, by flow and data set, and beside published ones."""

import math
from collections.abc import Callable, Sequence

from experiments._summary import format_table, mean_and_stderr, select, with_stderr
from experiments._table import Row
from experiments.tabular import published
from experiments.tabular.datasets import Splits
from experiments.tabular.fits import GAUSSIAN
from experiments.tabular.maf_sets import MAF_SETS


def scores(rows: Sequence[Row]) -> str:
    """Mean test log-likelihoods, flow by data set: means over seeds, and their standard errors."""
    return _flow_by_set("test log-likelihood, nats", rows, lambda row: float(row["test"]))


def gains(rows: Sequence[Row]) -> str:
    """Gains of flows over the Gaussian of the same rows: means and standard errors."""
    gaussians = {
        (row["dataset"], row["seed"]): float(row["test"]) for row in rows if row["flow"] == GAUSSIAN
    }
    return _flow_by_set(
        "gain over the Gaussian, nats",
        [row for row in rows if row["flow"] != GAUSSIAN],
        lambda row: float(row["test"]) - gaussians[row["dataset"], row["seed"]],
    )


def beside_published(splits: Splits, rows: Sequence[Row]) -> list[str]:
    """A table of published and measured figures of a set, best first; none for other sets."""
    if splits.name not in MAF_SETS:
        return []
    table = []
    for known in published.of(splits.name):
        error = math.nan if known.error is None else known.error
        table.append((known.mean, [known.model, with_stderr(known.mean, error), known.source]))
    for flow, values in _by_flow(rows, splits.name, lambda row: float(row["test"])).items():
        mean, stderr = mean_and_stderr(values)
        here = f"here, {len(values)} seeds" if len(values) > 1 else "here"
        table.append((mean, [flow, with_stderr(mean, stderr), here]))
    table.sort(key=lambda entry: -entry[0])
    header = [f"{splits.name}: test log-likelihood, nats", "", ""]
    text = format_table(header, [cells for _, cells in table])
    found, wanted = tuple(map(len, splits[1:])), MAF_SETS[splits.name].num_rows
    if found != wanted:
        text += (
            f"\nThese are other rows: {found} train, validate and test, of the paper {wanted}. "
            "The figures do not compare."
        )
    return [text]


def _flow_by_set(title: str, rows: Sequence[Row], value: Callable[[Row], float]) -> str:
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    columns = [_by_flow(rows, name, value) for name in datasets]
    table = [
        [flow, *(with_stderr(*mean_and_stderr(column[flow])) for column in columns)]
        for flow in columns[0]
    ]
    return format_table([title, *datasets], table)


def _by_flow(
    rows: Sequence[Row], dataset: str, value: Callable[[Row], float]
) -> dict[str, list[float]]:
    """The values of each flow on a set, one per seed."""
    values: dict[str, list[float]] = {}
    for row in select(rows, dataset=dataset):
        values.setdefault(row["flow"], []).append(value(row))
    return values
