"""Picture of the samples of flows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from distrax_flows.diagnostics import plotting
from experiments._table import Finished
from experiments.log_z.targets import TARGETS


def draw_samples(path: Path, fits: Sequence[Finished]) -> None:
    """Two dimensions of samples of each flow, and crosses at the modes of its target."""
    figure, axes = plotting.panels(1, len(fits), size=2.6)
    for ax, fit in zip(axes[0], fits, strict=True):
        target = TARGETS[fit.row["target"]]()
        x = np.asarray(fit.result["samples"]["x"])
        ax.plot(*x.T, ".", markersize=1.5, color=plotting.COLORS[0], alpha=0.5)
        if target.modes is not None:
            ax.plot(*target.modes[:, :2].T, "+", color=plotting.COLORS[1], markersize=5)
        low, high = np.quantile(x, [0.005, 0.995], axis=0)
        window = np.stack([low, high]) + 0.15 * np.outer([-1, 1], high - low)
        ax.set(xlim=window[:, 0], ylim=window[:, 1])
        ax.tick_params(labelsize=6)
        ess = 100 * float(fit.row["ess"])
        name = fit.row["target"].replace("_", " ")
        ax.set_title(f"{name}\neffective samples {ess:.0f} %", fontsize=9)
        across, up = target.shown
        ax.set_xlabel(f"x[{across}]", fontsize=8)
        ax.set_ylabel(f"x[{up}]", fontsize=8)
    plotting.save_png(path, figure)
