"""Plots of flows: densities, samples, corner plots, calibration, histories.

Functions draw into axes of matplotlib, which they import only when they make figures:

    figure, axes = panels(1, 2)
    bounds = sample_bounds(x)
    plot_samples(axes[0, 0], x, bounds)
    plot_density(axes[0, 1], density_grid(lambda x: flow.log_prob(params, x), bounds), bounds)
    save_png("density.png", figure)
"""

from distrax_flows.diagnostics.plotting._corner import corner
from distrax_flows.diagnostics.plotting._curves import (
    plot_calibration,
    plot_density_1d,
    plot_history,
)
from distrax_flows.diagnostics.plotting._figures import (
    COLORS,
    figure_image,
    panels,
    save_gif,
    save_png,
)
from distrax_flows.diagnostics.plotting._layers import plot_grid, plot_layers
from distrax_flows.diagnostics.plotting._plane import (
    Bounds,
    density_grid,
    plot_density,
    plot_samples,
    sample_bounds,
)
from distrax_flows.diagnostics.plotting._slices import plot_slices

__all__ = [
    "COLORS",
    "Bounds",
    "corner",
    "density_grid",
    "figure_image",
    "panels",
    "plot_calibration",
    "plot_density",
    "plot_density_1d",
    "plot_grid",
    "plot_history",
    "plot_layers",
    "plot_samples",
    "plot_slices",
    "sample_bounds",
    "save_gif",
    "save_png",
]
