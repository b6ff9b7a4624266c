"""Entry point of the comparison; see the docstring of the package."""

import importlib.util
from collections.abc import Sequence

import numpy as np

from experiments._command import check, run
from experiments._common import machine_cells
from experiments._summary import format_table, select
from experiments._table import Row, Table, as_row, progress
from experiments.benchmarks._timing import milliseconds
from experiments.benchmarks.peers.contestants import Contestant, make
from experiments.benchmarks.peers.pictures import draw_ratios
from experiments.benchmarks.peers.settings import (
    FLOWS,
    LARGE,
    LIBRARIES,
    MEASURES,
    SIZES,
    Settings,
    Size,
)
from experiments.benchmarks.peers.starts import measure_starts

COLUMNS = (
    "flow size measure library num_params median_ms q25_ms q75_ms ratio ratio_q25 ratio_q75 rounds "
    "compile_s memory_mb jax_version device"
)


def main(settings: Settings) -> None:
    """Runs the comparison."""
    check_settings(settings)
    sizes = {str(size): size for size in (*SIZES, LARGE)}
    shown = SIZES[:1] if settings.quick else SIZES
    rows = [as_row(flow=flow, size=str(size)) for size in shown for flow in settings.flows]
    if "maf" in settings.flows and not settings.quick:
        rows.append(as_row(flow="maf", size=str(LARGE)))
    table = Table(settings.output / "peers.csv", COLUMNS)
    for row in progress(rows, "{flow} {size}", "flow"):
        for found in compare(row["flow"], sizes[row["size"]], settings):
            table.add(row | found)
    draw_ratios(settings.output / "peers.png", table.rows)
    print(summary(table.rows))


def check_settings(settings: Settings) -> None:
    """Raises an error for settings that are out of range, and for libraries that are missing."""
    check(settings, choices={"flows": FLOWS, "libraries": LIBRARIES}, least={"seconds": 0})
    if "ours" not in settings.libraries:
        raise ValueError(
            f"`libraries` must hold 'ours', which ratios refer to; got {settings.libraries}."
        )
    if settings.min_rounds > settings.max_rounds:
        raise ValueError(
            f"`min_rounds` must be at most `max_rounds`; got {settings.min_rounds=}, "
            f"{settings.max_rounds=}."
        )
    for library in set(settings.libraries) & {"flowjax", "zuko"}:
        if importlib.util.find_spec(library) is None:
            raise ModuleNotFoundError(
                f"{library} is not installed: `pip install -e '.[bench]'`, or leave it out of "
                "`--libraries`."
            )


def compare(flow: str, size: Size, settings: Settings) -> list[Row]:
    """Rows of one flow at one size."""
    made = {library: make(library, flow, size) for library in settings.libraries}
    contestants = {library: one for library, one in made.items() if one is not None}
    starts = {}
    if settings.starts:
        starts = {library: measure_starts(library, flow, size) for library in contestants}
    rows = []
    for measure in MEASURES:
        times = time_in_turn(contestants, measure, settings)
        for library, contestant in contestants.items():
            # The limit is no exception: its ratio, too, is its time over ours.
            ratio = np.quantile(times[library] / times["ours"], [0.25, 0.5, 0.75])
            milli = np.quantile(times[library], [0.25, 0.5, 0.75])
            row = as_row(
                measure=measure,
                library=library,
                num_params=contestant.num_params,
                median_ms=f"{milli[1]:.3f}",
                q25_ms=f"{milli[0]:.3f}",
                q75_ms=f"{milli[2]:.3f}",
                ratio=f"{ratio[1]:.3f}",
                ratio_q25=f"{ratio[0]:.3f}",
                ratio_q75=f"{ratio[2]:.3f}",
                rounds=len(times[library]),
            )
            start = starts.get(library, {}).get(measure, {})
            row |= {name: f"{cost:.2f}" for name, cost in start.items()}
            rows.append(row | machine_cells())
    return rows


def time_in_turn(
    contestants: dict[str, Contestant], measure: str, settings: Settings
) -> dict[str, np.ndarray]:
    """Milliseconds of a measure, in as many rounds as there is time for."""
    calls = {library: one.calls[measure] for library, one in contestants.items()}
    trial = milliseconds(calls, repeats=1)
    seconds = 2 * sum(float(times[0]) for times in trial.values()) / 1e3  # half is not timed
    rounds = int(np.clip(settings.seconds / seconds, settings.min_rounds, settings.max_rounds))
    return milliseconds(calls, rounds)


def summary(rows: Sequence[Row]) -> str:
    """Our milliseconds, and for every other library the ratio with its quartiles."""
    libraries = list(dict.fromkeys(row["library"] for row in rows if row["library"] != "ours"))
    table = []
    for ours in select(rows, library="ours"):
        line = {name: ours[name] for name in ("flow", "size", "measure")}
        ratios = {
            row["library"]: f"{row['ratio']} ({row['ratio_q25']} - {row['ratio_q75']})"
            for row in select(rows, **line)
        }
        cells = [ratios.get(name, "") for name in libraries]
        table.append([", ".join(line.values()), ours["median_ms"], *cells])
    return format_table(["flow, size, measure", "ours, ms", *libraries], table)


if __name__ == "__main__":
    run("experiments.benchmarks.peers", main, Settings)
