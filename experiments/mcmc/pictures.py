"""Pictures of samples and of effective sample sizes."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import jax
import numpy as np
from matplotlib.axes import Axes

from distrax_flows.diagnostics import plotting
from experiments._summary import mean, select, select_fits
from experiments._table import Finished
from experiments.mcmc.targets import TARGETS

_TITLES = {
    "reference": "truth",
    "nuts": "NUTS",
    "neutra": "with a flow",
    "adapted": "with an adapted flow",
}
_NUM_EXACT = 2_000


def draw_samples(path: Path, runs: Sequence[Finished]) -> None:
    """Two coordinates of samples: the truth, each method, and z of the flow.

    Args:
        path: file to write.
        runs: references, and a run of each method for each target.
    """
    targets = _in_order(TARGETS, runs, "target")
    methods = _in_order(_TITLES, runs, "method", "reference")
    titles = [_TITLES[method] for method in methods]
    flow = next((method for method in ("adapted", "neutra") if method in methods), None)
    titles += [] if flow is None else ["its coordinates z"]
    figure, axes = plotting.panels(len(targets), len(titles), size=1.9)
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=9)
    for line, name in zip(axes, targets, strict=True):
        kept = {run.row["method"]: run.result["run"] for run in select_fits(runs, target=name)}
        truth = kept["reference"]["x"] if "reference" in kept else _exact(name)
        window = np.quantile(truth, [0.005, 0.995], axis=0)
        for ax, method in zip(line, methods, strict=False):
            _plot_points(ax, truth if method == "reference" else kept[method]["x"], window)
        if flow is not None:
            _plot_points(line[-1], kept[flow]["z"], np.array([[-3.0, -3.0], [3.0, 3.0]]))
        target = TARGETS[name]()
        across, up = (target.names[d] for d in target.shown)
        line[0].set_xlabel(across, fontsize=8)
        line[0].set_ylabel(f"{name}: {up}", fontsize=8)
    plotting.save_png(path, figure)


def draw_ess(path: Path, runs: Sequence[Finished]) -> None:
    """Effective samples per 1,000 gradients: bars of means over seeds, and a dot for each seed."""
    targets = _in_order(TARGETS, runs, "target")
    methods = _in_order(_TITLES, runs, "method")
    columns = {"ess_per_1000": "sampling", "ess_per_1000_all": "fit and warm-up included"}
    figure, axes = plotting.panels(1, 2, size=3.2)
    width = 0.8 / len(methods)
    for ax, (column, title) in zip(axes[0], columns.items(), strict=True):
        for i, method in enumerate(methods):
            for j, target in enumerate(targets):
                same = select([run.row for run in runs], target=target, method=method)
                place = j + (i - (len(methods) - 1) / 2) * width
                label = _TITLES[method] if j == 0 else None
                color = plotting.COLORS[i]
                ax.bar(place, mean(same, column), 0.9 * width, color=color, label=label)
                values = [float(row[column]) for row in same]
                ax.plot([place] * len(values), values, ".", color="k", markersize=3)
        ax.set_yscale("log")
        ax.set_title(title, fontsize=9)
        ax.set_xticks(range(len(targets)), [name.replace("_", "\n") for name in targets])
        ax.tick_params(labelsize=8)
    axes[0, 0].set_ylabel("effective samples per 1,000 gradients", fontsize=8)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(methods), fontsize=8)
    plotting.save_png(path, figure)


def _in_order(
    names: Iterable[str], runs: Sequence[Finished], column: str, *others: str
) -> list[str]:
    """Those of the names that occur in a column, or among the others."""
    occurring = {run.row[column] for run in runs}.union(others)
    return [name for name in names if name in occurring]


def _exact(name: str) -> np.ndarray:
    """Two coordinates of exact samples of a target."""
    target = TARGETS[name]()
    assert target.sample is not None
    x = target.sample(jax.random.key(0), _NUM_EXACT)
    return np.asarray(x)[:, list(target.shown)]


def _plot_points(ax: Axes, x: np.ndarray, window: np.ndarray) -> None:
    """Plots samples, `[N, 2]`, in a window of low and high corners, `[2, 2]`, with some margin."""
    margin = 0.15 * (window[1] - window[0])
    low, high = window[0] - margin, window[1] + margin
    ax.plot(*x.T, ".", markersize=1.5, color=plotting.COLORS[0], alpha=0.5)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    ax.tick_params(labelsize=6)
