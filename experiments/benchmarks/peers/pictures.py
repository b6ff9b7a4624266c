"""Picture of the ratios."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from experiments.benchmarks.peers.settings import MEASURES

COLORS = {
    "unrolled": "black",
    "bare": "0.6",
    "flowjax": "tab:blue",
    "zuko": "tab:orange",
    "distrax": "tab:green",
}


def draw_ratios(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Time of each library over ours, a panel for each measure, a line for each flow and size."""
    labels = list(dict.fromkeys(f"{row['flow']}, {row['size']}" for row in rows))
    figure = Figure(figsize=(12, 1.5 + 0.32 * len(labels)), layout="constrained")
    panels = figure.subplots(1, len(MEASURES), sharey=True)
    for axes, measure in zip(panels, MEASURES, strict=True):
        for library, color in COLORS.items():
            of_this = [r for r in rows if r["measure"] == measure and r["library"] == library]
            y = [labels.index(f"{row['flow']}, {row['size']}") for row in of_this]
            ratio, low, high = (
                np.array([float(row[name]) for row in of_this])
                for name in ("ratio", "ratio_q25", "ratio_q75")
            )
            axes.errorbar(
                ratio, y, xerr=[ratio - low, high - ratio], fmt="o", color=color, label=library
            )
        axes.axvline(1, color="black", lw=1)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda ratio, _: f"{ratio:g}")
        axes.set_title(measure)
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(labels)), labels)
    panels[0].invert_yaxis()
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(COLORS)
    )
    figure.supxlabel("time over ours: right of 1, ours is faster")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
