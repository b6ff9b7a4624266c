"""Pictures of flows before and after training, of warped grids, and of completed points."""

import functools
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes

from distrax_flows.diagnostics import plotting
from experiments._plane import Target, write_in_corner
from experiments._summary import select_fits
from experiments._table import Finished
from experiments.nice_realnvp.inpainting import Completion
from experiments.nice_realnvp.models import BASES, LABELS

_NUM_SAMPLES = 100_000
_NUM_FAINT = 3_000
_NUM_LINES = 15  # of the grid, in each direction
_NUM_SHOWN = 12  # values of the known coordinate
_NUM_PATHS = 25
_POINTS = {"color": "cyan", "s": 3, "linewidths": 0, "alpha": 0.7}


def draw_flows(path: Path, target: Target, fits: Sequence[Finished]) -> None:
    """The density and its samples, beside those of each flow."""
    figure, axes = plotting.panels(3, 1 + len(fits), size=1.7, dpi=100)
    axes[0, 0].set_axis_off()
    target.window.plot_density(axes[1, 0], target.log_prob)
    target.window.plot_samples(axes[2, 0], target.x)
    axes[1, 0].set_title(f"{target.name}\ntrue density", fontsize=9)
    axes[2, 0].set_title("true samples", fontsize=9)
    for column, (row, fit) in zip(axes[:, 1:].T, fits, strict=True):
        for ax, params in zip(column, (fit.initial, fit.params), strict=False):
            target.window.plot_density(ax, functools.partial(fit.flow.log_prob, params))
        x = fit.flow.sample(fit.params, jax.random.key(0), (_NUM_SAMPLES,))
        target.window.plot_samples(column[2], x)
        column[0].set_title(f"{LABELS[row['model']]}\n{row['base']} base", fontsize=9)
        write_in_corner(column[1], f"KL {float(row['kl']):.3f}", size=8)
    for ax, label in zip(axes[:, 1], ("untrained", "trained", "samples"), strict=True):
        ax.set_ylabel(label, fontsize=9)
    plotting.save_png(path, figure)


def draw_grids(path: Path, target: Target, fits: Sequence[Finished]) -> None:
    """A regular grid of the latent space, mapped to the data: a row of flows per base.

    Lines of one hue have one latent coordinate in common.
    """
    bases = list(dict.fromkeys(fit.row["base"] for fit in fits))
    rows = [select_fits(fits, base=base) for base in bases]
    figure, axes = plotting.panels(len(rows), 1 + len(rows[0]), size=2.4, dpi=100)
    for row_axes, row in zip(axes, rows, strict=True):
        row_axes[0].set_ylabel(f"{row[0].row['base']} base", fontsize=9)
        _draw_grid(row_axes[0], target, row[0], row[0].result.initial)
        for ax, fit in zip(row_axes[1:], row, strict=True):
            _draw_grid(ax, target, fit, fit.result.params)
    labels = ["before training", *(LABELS[fit.row["model"]] for fit in rows[0])]
    for ax, label in zip(axes[0], labels, strict=True):
        ax.set_title(label, fontsize=9)
    plotting.save_png(path, figure)


def draw_inpainting(
    path: Path, target: Target, fit: Finished, completions: Sequence[Completion]
) -> None:
    """For each lost coordinate: the start, the path and the end of the points."""
    figure, axes = plotting.panels(len(completions), 3, size=2.6, dpi=100)
    log_prob = functools.partial(fit.result.flow.log_prob, fit.result.params)
    for row_axes, completion in zip(axes, completions, strict=True):
        start, _, end = row_axes
        for ax, step in ((start, 0), (end, -1)):
            target.window.plot_density(ax, log_prob)
            ax.scatter(*completion.path[step, :_NUM_SHOWN].reshape(-1, 2).T, **_POINTS)
        _draw_paths(row_axes, target, completion)
        log_p = {
            name: f"mean log p {float(completion.row[f'log_p_{name}']):.2f}"
            for name in ("start", "completed", "draws")
        }
        start.set_title(f"{completion.row['lost']} lost: random\n{log_p['start']}", fontsize=9)
        end.set_title(f"completed: {log_p['completed']}\ndraws: {log_p['draws']}", fontsize=9)
    plotting.save_png(path, figure)


def _draw_grid(ax: Axes, target: Target, fit: Finished, params) -> None:
    reach = BASES[fit.row["base"]].reach
    along = jnp.linspace(-reach, reach, 400)
    lines = jnp.linspace(-reach, reach, _NUM_LINES)
    ax.scatter(*target.x[:_NUM_FAINT].T, color="0.75", s=1, linewidths=0)
    for axis, cmap in enumerate(("cool", "autumn")):
        z = jnp.stack(jnp.broadcast_arrays(lines[:, None], along[None]), axis=-1)
        x, _ = fit.result.flow.forward(params, z if axis == 0 else z[..., ::-1])
        for line, position in zip(np.asarray(x), np.linspace(0, 1, _NUM_LINES), strict=True):
            ax.plot(*line.T, color=colormaps[cmap](position), linewidth=0.8)
    bounds = target.window.bounds
    ax.set(xlim=bounds[0], ylim=bounds[1], aspect="equal", xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(False)


def _draw_paths(axes: Sequence[Axes], target: Target, completion: Completion) -> None:
    """The lost coordinate step by step, at the known value nearest the middle of the window.

    Dashed lines mark that value in the other panels. The shade is the true density given it.
    """
    start, way, end = axes
    lost, known = completion.lost, 1 - completion.lost
    values = completion.path[0, :_NUM_SHOWN, 0, known]
    chosen = int(np.abs(values - np.mean(target.window.bounds[known])).argmin())
    paths = completion.path[:, chosen, :_NUM_PATHS, lost]
    points = np.full((target.window.num, 2), values[chosen])
    low, high = target.window.bounds[lost]
    points[:, lost] = low + (high - low) * (np.arange(target.window.num) + 0.5) / target.window.num
    profile = np.exp(target.log_prob(jnp.asarray(points, jnp.float32)))
    steps = np.arange(len(paths))
    upright = lost == 0  # the lost coordinate lies along the x-axis, as in the other panels
    way.imshow(
        profile[None, :] if upright else profile[:, None],
        extent=(low, high, 0, steps[-1]) if upright else (0, steps[-1], low, high),
        origin="lower", aspect="auto", vmin=0, cmap="magma", interpolation="bilinear",
    )  # fmt: skip
    for line in paths.T:
        way.plot(*((line, steps) if upright else (steps, line)), color="cyan", linewidth=0.4)
    way.set(xticks=[], yticks=[], box_aspect=1)
    way.set_title(f"ascent of {_NUM_PATHS} points\nat the dashed line, over p", fontsize=9)
    (way.set_ylabel if upright else way.set_xlabel)("step", fontsize=8)
    for ax in (start, end):
        mark = ax.axhline if upright else ax.axvline
        mark(values[chosen], color="w", linewidth=0.8, linestyle="--")
