"""A sheet of all flows fitted to one target."""

from collections.abc import Sequence
from pathlib import Path

from distrax_flows.diagnostics import plotting
from experiments._plane import Fitted, Target, write_in_corner

_COLUMNS = 6


def draw_sheet(path: Path, target: Target, fits: Sequence[Fitted]) -> None:
    """The true density first, then each fit with its name and KL, in the same colours."""
    columns = min(_COLUMNS, 1 + len(fits))
    figure, axes = plotting.panels(-(-(1 + len(fits)) // columns), columns, size=1.6, dpi=120)
    true, *others = axes.flat
    target.window.plot_density(true, target.log_prob)
    true.set_title(f"{target.name}, true", fontsize=6)
    for ax in others[len(fits) :]:
        ax.remove()
    for ax, fit in zip(others, fits, strict=False):
        target.window.plot_density(ax, fit.log_prob)
        ax.set_title(fit.label, fontsize=6)
        write_in_corner(ax, f"KL {fit.kl:.3f}")
    plotting.save_png(path, figure)
