"""Pictures of targets, of the fits to them, and of training."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from distrax_flows.diagnostics import plotting
from experiments.toy_densities.target import Target


class Fitted(NamedTuple):
    """A fitted flow, as a picture shows it.

    Attributes:
        label: name of the flow.
        density: `[num, num]`, on the grid of the target.
        kl: divergence from the target, in nats.
    """

    label: str
    density: np.ndarray
    kl: float


def draw_density(path: Path, target: Target, fits: Sequence[Fitted]) -> None:
    """One target: its samples, and each fit with its KL."""
    figure, axes = plotting.panels(1, 1 + len(fits), size=2.4)
    _draw_row(axes[0], target, fits)
    axes[0, 0].set_title(f"{target.name}\ntrue samples", fontsize=10)
    for ax, fit in zip(axes[0, 1:], fits, strict=True):
        ax.set_title(f"{fit.label}\nKL {fit.kl:.4f}", fontsize=10)
    plotting.save_png(path, figure)


def draw_overview(path: Path, rows: Sequence[tuple[Target, Sequence[Fitted]]]) -> None:
    """All targets: a row each, samples first, then the fits."""
    labels = ["true samples", *(fit.label for fit in rows[0][1])]
    figure, axes = plotting.panels(len(rows), len(labels), size=1.6, dpi=100)
    for ax, label in zip(axes[0], labels, strict=True):
        ax.set_title(label, fontsize=9)
    for row_axes, (target, fits) in zip(axes, rows, strict=True):
        _draw_row(row_axes, target, fits)
        row_axes[0].set_ylabel(target.name, fontsize=9)
        for ax, fit in zip(row_axes[1:], fits, strict=True):
            text = f"KL {fit.kl:.4f}"
            ax.text(0.97, 0.04, text, color="w", fontsize=7, ha="right", transform=ax.transAxes)
    plotting.save_png(path, figure)


def draw_training(
    path: Path, label: str, target: Target, frames: Sequence[tuple[int, np.ndarray]]
) -> None:
    """A fit as it goes, beside samples of the target: steps done and density, frame by frame."""
    images = []
    for step, density in frames:
        figure, axes = plotting.panels(1, 2, size=2.4, dpi=90)
        plotting.plot_samples(axes[0, 0], target.x, target.bounds, vmax=target.vmax)
        plotting.plot_density(axes[0, 1], density, target.bounds, vmax=target.vmax)
        axes[0, 0].set_title("true samples", fontsize=9)
        axes[0, 1].set_title(f"{label}, step {step:,}", fontsize=9)
        images.append(plotting.figure_image(figure))
    plotting.save_gif(path, images)


def _draw_row(axes: np.ndarray, target: Target, fits: Sequence[Fitted]) -> None:
    plotting.plot_samples(axes[0], target.x, target.bounds, vmax=target.vmax)
    for ax, fit in zip(axes[1:], fits, strict=True):
        plotting.plot_density(ax, fit.density, target.bounds, vmax=target.vmax)
