"""Pictures of the stages of a flow, and of fits on the line."""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matplotlib.axes import Axes

from distrax_flows.diagnostics import plotting
from experiments._table import Finished
from experiments.bernstein.fits import column_log_probs
from experiments.bernstein.stages import RANGE, Stages
from experiments.bernstein.targets import LINES, Line

_FILL, _CURVE, _SHADE = "#f1a340", "#5e3c99", "#d8d8d8"
_NUM_POINTS = 400  # of a curve
_TAIL = 2e-4  # of the samples, beyond each side of a panel


def draw_stages(path: Path, line: Line, stages: Stages, y: Float[Array, " N"]) -> None:
    """Samples and exact density after each stage, from data to base, above the map of the stage."""
    figure, (densities, maps) = plotting.panels(2, 4, size=2.5)
    low, high = np.quantile(y, [_TAIL, 1 - _TAIL]).tolist()
    places = [jnp.linspace(low, high, _NUM_POINTS)]
    density = jnp.exp(line.density.log_prob(places[0]))
    _histogram(densities[0], y, places[0], density)
    for ax, below, stage in zip(densities[1:], maps[1:], stages, strict=True):
        y = jnp.asarray(stage.forward(y))
        end, log_det = map(jnp.asarray, stage.forward_and_log_det(places[-1]))
        density *= jnp.exp(-log_det)
        _histogram(ax, y, end, density)
        _map(below, places[-1], end)
        places.append(end)
    _map(maps[0], places[0], places[-1])
    coefficients = stages.polynomial.coefficients
    nodes = np.linspace(*RANGE, len(coefficients))
    maps[2].plot(nodes, coefficients, "o-", color=_FILL, markersize=2.5, linewidth=0.8)
    z = jnp.linspace(-4, 4, _NUM_POINTS)
    normal = jnp.exp(jax.scipy.stats.norm.logpdf(z))
    densities[3].plot(z, normal, color="k", linestyle=":", linewidth=1.5, label="N(0, 1)")
    densities[3].legend(fontsize=7, frameon=False, handlelength=1.2, borderpad=0)
    degree = stages.polynomial.degree
    for ax, title in zip(
        [*densities, *maps],
        (
            "data",
            "after scale and shift",
            f"after the polynomial of degree {degree}",
            "after scale and shift: base",
            "map: from data to base",
            "map: scale and shift",
            "map: polynomial, coefficients",
            "map: scale and shift",
        ),
        strict=True,
    ):
        ax.set_title(title, fontsize=8)
        ax.tick_params(labelsize=7)
    plotting.save_png(path, figure)


def draw_degrees(path: Path, fits: Sequence[Finished]) -> None:
    """A row for each density, a column for each degree: exact and fitted."""
    degrees = sorted({int(fit.row["degree"]) for fit in fits})
    figure, axes = plotting.panels(len(LINES), len(degrees), size=2.4)
    by_fit = {(fit.row["density"], fit.row["degree"]): fit for fit in fits}
    for row_axes, line in zip(axes, LINES, strict=True):
        y = jnp.asarray(line.grid(_NUM_POINTS), jnp.float32)
        exact = jnp.exp(line.density.log_prob(y))
        shown = y[exact > 2e-3 * exact.max()]
        for ax, degree in zip(row_axes, degrees, strict=True):
            row, fitted = by_fit[line.name, str(degree)]
            density = jnp.exp(column_log_probs(fitted.flow, fitted.params, y[:, None])[:, 0])
            compare(ax, y, exact, density)
            kl = float(row["kl"])
            ax.set_title(f"{line.name}, degree {degree}\nKL {kl:.1e}", fontsize=8)
            ax.set(xlim=(shown[0], shown[-1]), ylim=(0, 1.2 * exact.max()))
    axes[0, 0].legend(fontsize=7, frameon=False, loc="upper left", handlelength=1.2)
    plotting.save_png(path, figure)


def compare(
    ax: Axes, y: Float[Array, " N"], exact: Float[Array, " N"], fitted: Float[Array, " N"]
) -> None:
    """The exact density as an area, the fitted one as a line."""
    ax.fill_between(y, exact, color=_FILL, linewidth=0, label="exact")
    ax.plot(y, fitted, color=_CURVE, linewidth=1.2, label="flow")
    ax.set(yticks=[])
    ax.tick_params(labelsize=7)


def _histogram(ax: Axes, y, places, density) -> None:
    """Histogram of samples, and their density at `places`."""
    ends = float(places[0]), float(places[-1])
    counts, edges = np.histogram(np.asarray(y), bins=80, range=ends)
    ax.stairs(counts / (len(y) * np.diff(edges)), edges, fill=True, color=_FILL)
    ax.plot(places, density, color=_CURVE, linewidth=1.2)
    ax.set(xlim=ends, ylim=(0, 1.25 * density.max()), yticks=[])


def _map(ax: Axes, start, end) -> None:
    """A map, from the positions of one panel to those of the next."""
    ax.plot(start, end, color=_CURVE, linewidth=1.5, zorder=3)
    ax.grid(color=_SHADE, linewidth=0.5)
    ax.set(xlim=(start[0], start[-1]), ylim=(end[0], end[-1]))
