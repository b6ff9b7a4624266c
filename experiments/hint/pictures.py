"""Pictures of posteriors beside the exact ones, and of their credible intervals."""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes

from distrax_flows.diagnostics import plotting
from experiments._plane import write_in_corner
from experiments._table import Finished
from experiments.hint.problems import Problem
from experiments.hint.scores import LEVELS, kl

_KEY = jax.random.key(0)
_NUM_DRAWS = 100_000
_NUM_SCORED = 10_000
_BOUNDS = ((-3.6, 3.6), (-3.6, 3.6))
_MIDPOINTS = ((0.0, 0.0), (-1.0, 0.6), (0.5, -0.9))
_COLORS = {"exact": "0.6", "HINT": "#e66101", "RealNVP": "#5e3c99", "RealNVP, rotated": "#1b9e77"}


def draw_gaussian(path: Path, problem: Problem, posteriors: Sequence[Finished]) -> None:
    """Pairs of unknowns given one observation: samples of each posterior, and exact ellipses."""
    x, y = problem.draw(_KEY, 1)
    means, covariances = problem.posterior(y).moments()
    mean, covariance = np.asarray(means[0]), np.asarray(covariances[0])
    pairs = _most_correlated(covariance, num=3)
    figure, axes = plotting.panels(len(pairs), len(posteriors), size=2.0)
    for column, posterior in zip(axes.T, posteriors, strict=True):
        column[0].set_title(posterior.row["posterior"], fontsize=9)
        draws = posterior.result.estimate.sample(_KEY, _NUM_DRAWS, y)[:, 0]
        for ax, pair in zip(column, pairs, strict=True):
            center, block = mean[pair], covariance[np.ix_(pair, pair)]
            reach = 3.6 * np.sqrt(block.diagonal().max())
            (left, bottom), (right, top) = center - reach, center + reach
            highest = 1 / (2 * np.pi * np.sqrt(np.linalg.det(block)))
            plotting.plot_samples(
                ax, draws[:, pair], ((left, right), (bottom, top)), vmax=highest, num=60
            )
            for radius in (1, 2, 3):
                ax.plot(*_ellipse(center, block, radius), color="w", linewidth=0.7)
            ax.plot(*np.asarray(x)[0, pair], "+", color="c", markersize=9, markeredgewidth=1.5)
    for ax, (first, second) in zip(axes[:, 0], pairs, strict=True):
        ax.set_ylabel(f"unknowns {first + 1} and {second + 1}", fontsize=9)
    text = (
        "Posteriors given one observation, exact ellipses of 1, 2 and 3 deviations, and the truth"
    )
    figure.suptitle(text, fontsize=9)
    plotting.save_png(path, figure)


def draw_chord(path: Path, problem: Problem, posteriors: Sequence[Finished]) -> None:
    """For each of three midpoints: exact chords, and the posteriors of their first ends."""
    figure, axes = plotting.panels(len(_MIDPOINTS), 1 + len(posteriors), size=2.0)
    prior, _ = problem.draw(_KEY, _NUM_DRAWS)
    for row, midpoint in zip(axes, _MIDPOINTS, strict=True):
        y = jnp.array([midpoint])
        true = problem.posterior(y[0])
        ends = true.sample(_KEY, _NUM_SCORED)
        plotting.plot_samples(row[0], prior[:, :2], _BOUNDS)
        _draw_chords(row[0], np.asarray(ends[:15]), midpoint)
        density = plotting.density_grid(jax.jit(true.first(2).log_prob), _BOUNDS)
        plotting.plot_density(row[1], density, _BOUNDS)
        for ax, posterior in zip(row[2:], posteriors[1:], strict=True):
            draws = posterior.result.estimate.sample(_KEY, _NUM_DRAWS, y)[:, 0, :2]
            plotting.plot_samples(ax, draws, _BOUNDS, vmax=density.max())
            observations = jnp.broadcast_to(y, (_NUM_SCORED, 2))
            scored = kl(
                posteriors[0].result.estimate, posterior.result.estimate, ends, observations
            )
            write_in_corner(ax, f"KL {scored.kl:.2f}", size=8)
    axes[0, 0].set_title("prior, and chords\nwith this midpoint", fontsize=9)
    for ax, posterior in zip(axes[0, 1:], posteriors, strict=True):
        ax.set_title(f"one end of the chord,\n{posterior.row['posterior']}", fontsize=9)
    plotting.save_png(path, figure)


DRAW = {"gaussian": draw_gaussian, "chord": draw_chord}


def draw_calibration(path: Path, posteriors: Sequence[Finished]) -> None:
    """Coverage of the credible intervals less their level, a line per fit."""
    problems = list(dict.fromkeys(posterior.row["problem"] for posterior in posteriors))
    figure, axes = plotting.panels(1, len(problems), size=3.2)
    panel = dict(zip(problems, axes[0], strict=True))
    for posterior in posteriors:
        ax, label = panel[posterior.row["problem"]], posterior.row["posterior"]
        excess = 100 * (posterior.result.coverage - LEVELS)
        ax.plot(100 * LEVELS, excess, color=_COLORS[label], label=label, linewidth=1.2)
    reach = 1.1 * max(np.abs(ax.get_ylim()).max() for ax in axes[0])
    for problem, ax in panel.items():
        ax.axhline(0, color="k", linewidth=0.6)
        ax.set_ylim(-reach, reach)
        ax.set_title(problem, fontsize=10)
        ax.set_xlabel("level of the credible interval, %", fontsize=9)
        ax.tick_params(labelsize=8)
    axes[0, 0].set_ylabel("share of unknowns inside, less the level, %", fontsize=9)
    # Seeds share a colour and an entry.
    lines = dict(zip(*reversed(axes[0, 0].get_legend_handles_labels()), strict=True))
    axes[0, 0].legend(lines.values(), lines.keys(), fontsize=8, frameon=False)
    plotting.save_png(path, figure)


def _draw_chords(ax: Axes, ends: np.ndarray, midpoint: tuple[float, float]) -> None:
    for first, second in ends.reshape(-1, 2, 2):
        ax.plot(*np.stack([first, second], axis=-1), "o-", color="c", lw=0.5, markersize=1.5)
    ax.plot(*midpoint, "x", color="w", markersize=7)


def _most_correlated(covariance: np.ndarray, num: int) -> list[list[int]]:
    """Disjoint pairs of dimensions, the most correlated first."""
    deviation = np.sqrt(covariance.diagonal())
    correlation = np.abs(np.triu(covariance / np.outer(deviation, deviation), k=1))
    pairs = []
    for _ in range(num):
        first, second = divmod(int(correlation.argmax()), len(correlation))
        pairs.append([first, second])
        correlation[[first, second]] = correlation[:, [first, second]] = 0
    return pairs


def _ellipse(mean: np.ndarray, covariance: np.ndarray, radius: float) -> np.ndarray:
    """Points of the ellipse at `radius` standard deviations: `[2, N]`."""
    turn = np.linspace(0, 2 * np.pi, 200)
    circle = radius * np.stack([np.cos(turn), np.sin(turn)])
    return mean[:, None] + np.linalg.cholesky(covariance) @ circle
