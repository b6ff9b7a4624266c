"""Pictures of the regressions and of the classifiers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from distrax_flows.diagnostics import plotting
from experiments._table import Finished
from experiments.mnf import regression
from experiments.mnf.classifier import ANGLES, QUANTILES

_FILL, _EDGE = "#f1a340", "#5e3c99"
_COLORS = {
    "deterministic": "0.5",
    "dropout": "#1b9e77",
    "ensemble": "#2b8cbe",
    "mean-field": "#5e3c99",
    "MNF": "#e66101",
}


def draw_regressions(path: Path, finished: Sequence[Finished]) -> None:
    """The 90 % band of the function of each posterior; dotted, that of NUTS."""
    rows = regression.draw_rows(0, regression.NUM_ROWS)
    grid = regression.GRID
    figure, axes = plotting.panels(1, len(finished), size=2.7)
    edges = finished[0].result["curves"]["quantiles"]
    for ax, (row, result) in zip(axes[0], finished, strict=True):
        low, middle, high = result["curves"]["quantiles"]
        ax.fill_between(grid, low, high, color=_FILL, alpha=0.5, linewidth=0)
        ax.plot(grid, middle, color="#b35806", linewidth=1.2)
        ax.plot(grid, regression.true_function(grid), "--", color="0.3", linewidth=0.9)
        if row["network"] != regression.REFERENCE:
            for edge in (edges[0], edges[2]):
                ax.plot(grid, edge, ":", color=_EDGE, linewidth=1.2)
        ax.plot(rows.x[:, 0], rows.y[:, 0], "k.", markersize=3)
        ax.set_title(
            f"{row['network']}\nwidth in the gap {float(row['width_gap']):.2f}", fontsize=9
        )
        ax.set(xlim=(grid[0], grid[-1]), ylim=(-2.6, 2.6), xticks=[-2, 0, 2], yticks=[-2, 0, 2])
        ax.tick_params(labelsize=8)
    plotting.save_png(path, figure)


def draw_classifiers(path: Path, finished: Sequence[Finished]) -> None:
    """Entropy and error of rotated images, entropy of patches, and scores of test images.

    Curves are means over the seeds; points are seeds.
    """
    figure, (top, bottom) = plotting.panels(2, 2, size=3.3)
    (rotated, wrong), (patches, scores) = top, bottom
    for name in dict.fromkeys(row["network"] for row, _ in finished):
        color = _COLORS[name]
        seeds = [result["curves"] for row, result in finished if row["network"] == name]

        def mean(of, seeds=seeds):
            return np.mean([seed[of] for seed in seeds], axis=0)

        rotated.plot(ANGLES, mean("entropy"), color=color, label=name)
        wrong.plot(ANGLES, 100 * mean("error"), color=color)
        patches.plot(mean("entropy_patches"), 100 * QUANTILES, color=color)
        patches.plot(mean("entropy_test"), 100 * QUANTILES, color=color, linestyle=":")
        rows = [row for row, _ in finished if row["network"] == name]
        nll, ece = (np.array([float(row[of]) for row in rows]) for of in ("nll", "ece"))
        scores.plot(nll, 100 * ece, "o", color=color)
    scores.set(xlim=(0, None), ylim=(0, None))
    rotated.legend(fontsize=7.5, frameon=False)
    titles = {
        rotated: ("entropy of predictions", "rotation, degrees", "nats"),
        wrong: ("error", "rotation, degrees", "%"),
        patches: ("patches; dotted: test images", "entropy of the prediction, nats", "share, %"),
        scores: ("test images", "negative log-likelihood, nats", "calibration error, %"),
    }
    for ax, (title, x_label, y_label) in titles.items():
        ax.set_title(title, fontsize=9)
        ax.set_xlabel(x_label, fontsize=8)
        ax.set_ylabel(y_label, fontsize=8)
        ax.tick_params(labelsize=8)
    for ax in top:
        ax.set_xticks(range(0, 181, 45))
    plotting.save_png(path, figure)
