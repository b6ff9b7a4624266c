"""Picture of the samples of flows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from distrax_flows.diagnostics import plotting
from experiments._table import Finished
from experiments.log_z.targets import TARGETS


def draw_samples(path: Path, fits: Sequence[Finished]) -> None:
    """Two dimensions of samples of each flow, and crosses at the modes of its target."""
    figure, axes = plotting.panels(1, len(fits), size=3)
    for ax, fit in zip(axes[0], fits, strict=True):
        target = TARGETS[fit.row["target"]]()
        x = np.asarray(fit.result["samples"]["x"])
        bounds = plotting.sample_bounds(x)
        plotting.plot_samples(ax, x, bounds, num=80)
        if target.modes is not None:
            ax.plot(*target.modes[:, :2].T, "+", color=plotting.COLORS[1], markersize=4)
        ess = 100 * float(fit.row["ess"])
        ax.set_title(f"{fit.row['target'].replace('_', ' ')}\nESS {ess:.0f} %", fontsize=9)
    plotting.save_png(path, figure)
