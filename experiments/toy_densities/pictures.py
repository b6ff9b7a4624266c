"""Pictures of the fits to a target, and of training."""

from collections.abc import Sequence
from pathlib import Path

from distrax_flows.diagnostics import plotting
from experiments._plane import Fitted, LogProb, Target


def draw_density(path: Path, target: Target, fits: Sequence[Fitted]) -> None:
    """One target: its samples, and each fit with its KL."""
    figure, (axes,) = plotting.panels(1, 1 + len(fits), size=2.4)
    target.window.plot_samples(axes[0], target.x)
    axes[0].set_title(f"{target.name}\ntrue samples", fontsize=10)
    for ax, fit in zip(axes[1:], fits, strict=True):
        target.window.plot_density(ax, fit.log_prob)
        ax.set_title(f"{fit.label}\nKL {fit.kl:.4f}", fontsize=10)
    plotting.save_png(path, figure)


def draw_training(
    path: Path, label: str, target: Target, frames: Sequence[tuple[int, LogProb]]
) -> None:
    """A fit during training, beside samples of the target: step and density of each frame."""
    images = []
    for step, log_prob in frames:
        figure, axes = plotting.panels(1, 2, size=2.4, dpi=90)
        target.window.plot_samples(axes[0, 0], target.x)
        target.window.plot_density(axes[0, 1], log_prob)
        axes[0, 0].set_title("true samples", fontsize=9)
        axes[0, 1].set_title(f"{label}, step {step:,}", fontsize=9)
        images.append(plotting.figure_image(figure))
    plotting.save_gif(path, images)
