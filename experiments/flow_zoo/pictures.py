"""A sheet of all flows fitted to one target."""

from collections.abc import Sequence
from pathlib import Path

from distrax_flows.diagnostics import plotting
from experiments.flow_zoo.fits import Finished
from experiments.toy_densities.target import Target

_COLUMNS = 6


def draw_sheet(path: Path, target: Target, fits: Sequence[Finished]) -> None:
    """The true density first, then each fit with its name and KL, in the same colours."""
    columns = min(_COLUMNS, 1 + len(fits))
    figure, axes = plotting.panels(-(-(1 + len(fits)) // columns), columns, size=1.6, dpi=120)
    true, *others = axes.flat
    plotting.plot_density(true, target.on_grid(target.log_prob), target.bounds, vmax=target.vmax)
    true.set_title(f"{target.name}, true", fontsize=6)
    for ax in others[len(fits) :]:
        ax.remove()
    for ax, fit in zip(others, fits, strict=False):
        plotting.plot_density(ax, fit.on_grid(), target.bounds, vmax=target.vmax)
        ax.set_title(fit.model.name, fontsize=6)
        text = f"KL {float(fit.row['kl']):.3f}"
        ax.text(0.97, 0.04, text, color="w", fontsize=7, ha="right", transform=ax.transAxes)
    plotting.save_png(path, figure)
