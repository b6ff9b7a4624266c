"""The picture of all targets and fits."""

from collections.abc import Sequence
from pathlib import Path

import jax

from distrax_flows.diagnostics import plotting
from experiments.energies.fits import Finished


def draw_overview(path: Path, rows: Sequence[Sequence[Finished]], grid_size: int) -> None:
    """A row for each target: its density, then its fits, with both divergences of each."""
    labels = ["target", *(fit.model.recipe.label for fit in rows[0])]
    figure, axes = plotting.panels(len(rows), len(labels), size=1.6, dpi=100)
    for ax, label in zip(axes[0], labels, strict=True):
        ax.set_title(label, fontsize=9)
    for row_axes, fits in zip(axes, rows, strict=True):
        target = fits[0].model.target
        bounds = target.bounds
        density = plotting.density_grid(jax.jit(target.log_prob), bounds, grid_size)
        vmax = density.max()
        plotting.plot_density(row_axes[0], density, bounds, vmax=vmax)
        row_axes[0].set_ylabel(target.name.upper(), fontsize=9)
        for ax, fit in zip(row_axes[1:], fits, strict=True):
            fitted = plotting.density_grid(fit.log_prob, bounds, grid_size)
            plotting.plot_density(ax, fitted, bounds, vmax=vmax)
            text = f"KL {float(fit.row['reverse_kl']):.4f}"
            ax.text(0.97, 0.04, text, color="w", fontsize=7, ha="right", transform=ax.transAxes)
    plotting.save_png(path, figure)
