"""Time, memory and compile time of a flow by its depth, its dimensions and the batch.

    python -m experiments.benchmarks.scaling
    python -m experiments.benchmarks.scaling --flows maf --quick --output /tmp/scaling

One size varies while the others are fixed. For each, the slope of a straight line through the
logarithms is printed: 0 is a cost that does not grow, 1 one that grows in proportion. `scaling.csv`
in the output folder has a row for each flow, size and measure; `scaling.png` is the picture.

Memory is what XLA reserves for temporary values of the compiled function.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

import distrax_flows as dxf
from experiments._command import check, quick_means, run
from experiments._summary import format_table, select
from experiments._table import Row, Table, as_row, progress

MEASURES = ("train step", "log_prob", "sample")
COSTS = ("compile_s", "run_ms", "memory_mb")
COLUMNS = "flow varied size measure compile_s run_ms memory_mb"
TITLES = {"compile_s": "compiling, s", "run_ms": "running, ms", "memory_mb": "memory, MB"}


@quick_means(
    flows=("realnvp",), depths=(1, 2), event_sizes=(2, 4), batch_sizes=(1, 10), hidden_sizes=(8,),
    repeats=1,
)  # fmt: skip
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Costs of flows as one of their sizes grows."""

    # Builders of `distrax_flows.flows`.
    flows: tuple[str, ...] = ("realnvp", "maf", "nsf_coupling", "nsf_autoregressive")
    depths: tuple[int, ...] = (1, 4, 16, 32, 64)  # Layers.
    event_sizes: tuple[int, ...] = (2, 16, 64, 256, 1024)  # Dimensions.
    batch_sizes: tuple[int, ...] = (1, 100, 10_000, 1_000_000)  # Rows.
    depth: int = 4  # Layers where another size varies.
    event_size: int = 8  # Dimensions where another size varies.
    batch_size: int = 100  # Rows where another size varies.
    hidden_sizes: tuple[int, ...] = (64, 64)  # Hidden units of each network.
    repeats: int = 5  # Calls of which the median is taken.
    max_memory_gb: float = 8.0  # A call that would take more is left out.
    output: Path = Path("figures/benchmarks")  # Folder to write into.
    quick: bool = False  # One flow, two sizes each.


def main(settings: Settings) -> None:
    """Measures, prints the slopes, and writes table and picture."""
    check(settings, choices={"flows": dxf.flows.__all__})
    varied = {
        "depth": settings.depths,
        "event_size": settings.event_sizes,
        "batch_size": settings.batch_sizes,
    }
    rows = [
        as_row(flow=flow, varied=what, size=size)
        for flow in settings.flows
        for what, sizes in varied.items()
        for size in sizes
    ]
    table = Table(settings.output / "scaling.csv", COLUMNS)
    for row in progress(rows, "{flow}, {varied} {size}", "size"):
        for found in measure(row["flow"], row["varied"], int(row["size"]), settings):
            table.add(found)
    draw(settings.output / "scaling.png", table.rows)
    print(format_table(["flow", "varied", "measure", *COSTS], slopes(table.rows)))


def measure(name: str, what: str, value: int, settings: Settings) -> list[Row]:
    """Costs of one flow at one size."""
    sizes = dataclasses.replace(settings, **{what: value})
    build = getattr(dxf.flows, name)
    flow = dxf.transform(
        lambda: build(sizes.event_size, num_layers=sizes.depth, hidden_sizes=sizes.hidden_sizes)
    )
    x = jax.random.normal(jax.random.key(0), (sizes.batch_size, sizes.event_size))
    params = flow.init(jax.random.key(1), x[:1])

    def loss(params, x):
        return -flow.log_prob(params, x).mean()

    functions: dict[str, Callable] = {
        "train step": jax.value_and_grad(loss),
        "log_prob": flow.log_prob,
        "sample": lambda params, x: flow.sample(params, jax.random.key(2), (len(x),)),
    }
    rows = []
    for measured in MEASURES:
        start = time.perf_counter()
        compiled = jax.jit(functions[measured]).lower(params, x).compile()
        compile_s = time.perf_counter() - start
        analysis = compiled.memory_analysis()
        memory = analysis.temp_size_in_bytes / 2**20 if analysis is not None else float("nan")
        run_ms = float("nan")
        if not memory >= 1024 * settings.max_memory_gb:
            run_ms = median_ms(lambda run=compiled: run(params, x), settings.repeats)
        costs = (f"{cost:.4g}" for cost in (compile_s, run_ms, memory))
        row = as_row(flow=name, varied=what, size=value, measure=measured)
        rows.append(row | dict(zip(COSTS, costs, strict=True)))
    return rows


def median_ms(call: Callable[[], Any], repeats: int) -> float:
    """Median time of a call, after one that is not timed."""
    times = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times[1:]))


def slopes(rows: list[Row]) -> list[list[str]]:
    """Slopes of the logarithms of all costs, over the upper half of the sizes."""
    table = []
    for key in dict.fromkeys((row["flow"], row["varied"], row["measure"]) for row in rows):
        same = select(rows, flow=key[0], varied=key[1], measure=key[2])
        same = same[(len(same) - 1) // 2 :]
        line = [*key]
        for cost in COSTS:
            x, y = (np.log([max(float(row[c]), 1e-3) for row in same]) for c in ("size", cost))
            line.append(f"{np.polyfit(x, y, 1)[0]:.2f}" if np.isfinite(y).all() else "")
        table.append(line)
    return table


def draw(path: Path, rows: list[Row]) -> None:
    """Costs of a train step and of sampling, by size: a row for each cost."""
    varied = list(dict.fromkeys(row["varied"] for row in rows))
    figure = Figure(figsize=(10, 8), layout="constrained")
    panels = figure.subplots(len(COSTS), len(varied), squeeze=False, sharex="col", sharey="row")
    for i, cost in enumerate(COSTS):
        for j, what in enumerate(varied):
            axes = panels[i, j]
            for color, name in enumerate(dict.fromkeys(row["flow"] for row in rows)):
                for measured, style in (("train step", "-"), ("sample", ":")):
                    line = select(rows, flow=name, varied=what, measure=measured)
                    axes.plot(
                        [int(row["size"]) for row in line],
                        [float(row[cost]) for row in line],
                        style + "o", color=f"C{color}", ms=3, label=f"{name}, {measured}",
                    )  # fmt: skip
            axes.set(xscale="log", yscale="log")
            axes.grid(alpha=0.3)
            if i == len(COSTS) - 1:
                axes.set_xlabel(what.replace("_", " "))
            if j == 0:
                axes.set_ylabel(TITLES[cost])
    figure.legend(
        *panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4,
        fontsize="small",
    )  # fmt: skip
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    run("experiments.benchmarks.scaling", main, Settings)
