"""The whole comparison; the package's docstring says what it does."""

import importlib.util
from collections.abc import Sequence

import jax
import numpy as np
from tqdm import tqdm

from experiments._command import run
from experiments._common import device_name, format_table
from experiments._results import write_table
from experiments.benchmarks._timing import milliseconds
from experiments.benchmarks.peers.contestants import Contestant, make
from experiments.benchmarks.peers.pictures import draw_ratios
from experiments.benchmarks.peers.settings import MEASURES, Settings, Size, rows
from experiments.benchmarks.peers.starts import MEASURED, measure_starts

COLUMNS: tuple[str, ...] = (
    "flow", "size", "measure", "library", "num_params", "median_ms", "q25_ms", "q75_ms",
    "ratio", "ratio_q25", "ratio_q75", "rounds", "compile_s", "memory_mb", "jax_version", "device",
)  # fmt: skip


def main(settings: Settings) -> None:
    """Runs the comparison.

    Raises:
        ValueError: a flow or library is not there, or a count is out of range.
        ModuleNotFoundError: a library is not installed.
    """
    pairs = rows(settings)
    for library in set(settings.libraries) & {"flowjax", "zuko"}:
        if importlib.util.find_spec(library) is None:
            raise ModuleNotFoundError(
                f"{library} is not installed: `pip install -e '.[bench]'`, or leave it out of "
                "`--libraries`."
            )
    print(f"JAX {jax.__version__} on {device_name()}")
    table: list[dict[str, str]] = []
    with tqdm(total=len(pairs), unit="flow", disable=None) as bar:
        for flow, size in pairs:
            bar.set_description(f"{flow} {size}")
            table += compare(flow, size, settings)
            write_table(settings.output / "peers.csv", COLUMNS, table)
            bar.update()
    draw_ratios(settings.output / "peers.png", table)
    print(summary(table))


def compare(flow: str, size: Size, settings: Settings) -> list[dict[str, str]]:
    """Rows of one flow at one size."""
    made = {library: make(library, flow, size) for library in settings.libraries}
    contestants = {library: one for library, one in made.items() if one is not None}
    starts = {}
    if settings.starts:
        starts = {library: measure_starts(library, flow, size) for library in contestants}
    table = []
    for measure in MEASURES:
        times = time_in_turn(contestants, measure, settings)
        for library, contestant in contestants.items():
            # The limit is shown as it is: its ratio, too, is its time over ours.
            ratio = np.quantile(times[library] / times["ours"], [0.25, 0.5, 0.75])
            milli = np.quantile(times[library], [0.25, 0.5, 0.75])
            start = starts.get(library, {}).get(measure, {})
            row = {
                "flow": flow,
                "size": str(size),
                "measure": measure,
                "library": library,
                "num_params": str(contestant.num_params),
                "median_ms": f"{milli[1]:.3f}",
                "q25_ms": f"{milli[0]:.3f}",
                "q75_ms": f"{milli[2]:.3f}",
                "ratio": f"{ratio[1]:.3f}",
                "ratio_q25": f"{ratio[0]:.3f}",
                "ratio_q75": f"{ratio[2]:.3f}",
                "rounds": str(len(times[library])),
                "compile_s": f"{start['compile_s']:.2f}" if measure in MEASURED and start else "",
                "memory_mb": f"{start['memory_mb']:.1f}" if "memory_mb" in start else "",
                "jax_version": jax.__version__,
                "device": device_name(),
            }
            table.append(row)
    return table


def time_in_turn(
    contestants: dict[str, Contestant], measure: str, settings: Settings
) -> dict[str, np.ndarray]:
    """Milliseconds of a measure, as many rounds as there is time for."""
    calls = {library: one.calls[measure] for library, one in contestants.items()}
    trial = milliseconds(calls, repeats=1)
    seconds = 2 * sum(float(times[0]) for times in trial.values()) / 1e3  # half is not timed
    rounds = int(np.clip(settings.seconds / seconds, settings.min_rounds, settings.max_rounds))
    return milliseconds(calls, rounds)


def summary(table: Sequence[dict[str, str]]) -> str:
    """Our milliseconds, and for every other library the ratio with its quartiles."""
    libraries = list(dict.fromkeys(row["library"] for row in table if row["library"] != "ours"))
    lines = {}
    for row in table:
        line = lines.setdefault((row["flow"], row["size"], row["measure"]), {})
        line[row["library"]] = (
            row["median_ms"]
            if row["library"] == "ours"
            else f"{row['ratio']} ({row['ratio_q25']} - {row['ratio_q75']})"
        )
    header = ["flow, size, measure", "ours, ms", *libraries]
    cells = [
        [", ".join(key), *(line.get(name, "") for name in ("ours", *libraries))]
        for key, line in lines.items()
    ]
    return format_table(header, cells)


if __name__ == "__main__":
    run("experiments.benchmarks.peers", main, Settings)
