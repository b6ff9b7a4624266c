"""Pictures of posteriors and of their calibration."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from distrax_flows.diagnostics import Calibration, plotting
from experiments._summary import mean
from experiments._table import Finished

_NUM_OBSERVATIONS = 3  # shown of each task


def draw_posteriors(path: Path, fits: Sequence[Finished]) -> None:
    """Two parameters of up to three posteriors of each task: the reference, and the flow below."""
    tasks = list(dict.fromkeys(fit.row["task"] for fit in fits))
    numbers = list(dict.fromkeys(fit.row["observation"] for fit in fits))[:_NUM_OBSERVATIONS]
    figure, axes = plotting.panels(2 * len(numbers), len(tasks), size=1.7)
    for column, task in zip(axes.T, tasks, strict=True):
        same = [fit for fit in fits if fit.row["task"] == task]
        shown = [fit for fit in same if fit.row["observation"] in numbers]
        column[0].set_title(f"{task}\nC2ST {mean([f.row for f in same], 'c2st'):.3f}", fontsize=8)
        for fit, pair in zip(shown, column.reshape(-1, 2), strict=True):
            kept = fit.result["posterior"]
            bounds = plotting.sample_bounds(kept["reference"][:, :2])
            for ax, name in zip(pair, ("reference", "samples"), strict=True):
                plotting.plot_samples(ax, kept[name][:, :2], bounds, num=60)
    for row, ax in enumerate(axes[:, 0]):
        ax.set_ylabel((f"reference {numbers[row // 2]}", "flow")[row % 2], fontsize=8)
    plotting.save_png(path, figure)


def draw_calibration(path: Path, fits: Sequence[Finished]) -> None:
    """Coverage by level for each task: parameters, highest density and TARP."""
    num_columns = min(3, len(fits))
    figure, axes = plotting.panels(-(-len(fits) // num_columns), num_columns, size=2.6)
    for ax in axes.flat[len(fits) :]:
        ax.remove()
    for ax, fit in zip(axes.flat, fits, strict=False):
        kept = fit.result["calibration"]
        # The last two first, so that they look alike in all panels.
        ranks = np.roll(np.asarray(kept["ranks"]), 2, axis=1)
        # Legends leave out names that begin with an underscore.
        others = [f"_x[{d}]" for d in range(1, ranks.shape[1] - 2)]
        names = ("hpd", "tarp", "parameters", *others)
        plotting.plot_calibration(ax, Calibration(ranks, int(kept["num_samples"]), names))
        ax.set_title(fit.row["task"], fontsize=9)
    plotting.save_png(path, figure)
