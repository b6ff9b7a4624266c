"""Picture of the regressions."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes

from distrax_flows.diagnostics import plotting
from experiments._table import Finished
from experiments.bernstein import targets
from experiments.bernstein.fits import Fitted, pit, quantiles

_BOUNDS = ((-1.0, 1.0), (-4.5, 5.5))
_NUM_SHOWN = 4_000  # samples
_SLICES = (-0.8, 0.0, 0.8)  # covariates
_WIDTHS = (0.7, 0.9, 1.4, 0.9, 0.7)  # of the lines of the quantiles
_FILL, _COLORS = "#f1a340", ("#5e3c99", "#1b9e77")


def draw_regressions(path: Path, finished: Sequence[Finished], y: jax.Array, x: jax.Array) -> None:
    """Conditional densities with their quantiles, three slices of them, and PIT histograms.

    Responses `y` and covariates `x`, each `[N, 1]`, are held out.
    """
    fits = {row["flow"]: fitted for row, fitted in finished}
    figure, (maps, curves) = plotting.panels(2, 2 + len(fits), size=2.6)
    exact = plotting.density_grid(
        jax.jit(lambda points: targets.log_prob(points[:, 1], points[:, 0])), _BOUNDS
    )
    maps[0].scatter(x[:_NUM_SHOWN], y[:_NUM_SHOWN], s=1.5, color="k", alpha=0.4, linewidths=0)
    vmax = 0.7 * exact.max()  # the narrow ridges take most of the range
    plotting.plot_density(maps[1], exact, _BOUNDS, vmax=vmax)
    for ax, fitted in zip(maps[2:], fits.values(), strict=True):
        density = plotting.density_grid(
            lambda points, fitted=fitted: fitted.flow.log_prob(
                fitted.params, points[:, 1:], points[:, :1]
            ),
            _BOUNDS,
        )
        plotting.plot_density(ax, density, _BOUNDS, vmax=vmax)
    grid = np.linspace(-0.999, 0.999, 201)
    true = targets.quantiles(grid)
    for ax, color in ((maps[0], _FILL), (maps[1], "w")):
        _draw_quantiles(ax, grid, true, color)
    for ax, fitted in zip(maps[2:], fits.values(), strict=True):
        _draw_quantiles(ax, grid, true, "#6fd0ff", linestyle=":")
        _draw_quantiles(ax, grid, quantiles(fitted, grid), "w")
    low, *_, high = (f"{100 * level:.0f}" for level in targets.LEVELS)
    titles = [f"data\nexact quantiles, {low} to {high} %", "exact density\nand quantiles"]
    for row, _ in finished:
        titles.append(f"{row['flow']}: KL {float(row['kl']):.4f}\ndotted: exact quantiles")
    for ax, title in zip(maps, titles, strict=True):
        ax.set_title(title, fontsize=8)
        ax.set(
            xlim=_BOUNDS[0], ylim=_BOUNDS[1], aspect="auto", xticks=[-1, 0, 1], yticks=[-4, 0, 4]
        )
    for ax, covariate in zip(curves[:-1], _SLICES, strict=True):
        _draw_slice(ax, fits, covariate)
    _draw_pit(curves[-1], {name: pit(fitted, y, x) for name, fitted in fits.items()})
    for ax in (*maps, *curves):
        ax.tick_params(labelsize=7)
    plotting.save_png(path, figure)


def _draw_quantiles(
    ax: Axes, x: np.ndarray, y: np.ndarray, color: str, linestyle: str = "-"
) -> None:
    """Quantiles at `LEVELS`, the median broadest."""
    for line, width in zip(y, _WIDTHS, strict=True):
        ax.plot(x, line, color=color, linewidth=width, linestyle=linestyle)


def _draw_slice(ax: Axes, fits: Mapping[str, Fitted], covariate: float) -> None:
    """The exact density at one covariate as an area, the fitted ones as lines."""
    y = jnp.linspace(*_BOUNDS[1], 400)
    x = jnp.full_like(y, covariate)
    exact = jnp.exp(targets.log_prob(y, x))
    ax.fill_between(y, exact, color=_FILL, linewidth=0, label="exact")
    for (name, fitted), color in zip(fits.items(), _COLORS, strict=True):
        density = jnp.exp(fitted.flow.log_prob(fitted.params, y[:, None], x[:, None]))
        ax.plot(y, density, color=color, linewidth=1.2, label=name)
    ax.set_title(f"density at x = {covariate}", fontsize=8)
    ax.set(xlim=_BOUNDS[1], ylim=(0, 1.3 * exact.max()), yticks=[])
    ax.legend(fontsize=6.5, frameon=False, handlelength=1.2)


def _draw_pit(ax: Axes, values: Mapping[str, np.ndarray]) -> None:
    """Histograms of the flow's CDF at the responses: flat if the flow is correct."""
    ax.axhline(1, color="k", linestyle=":", linewidth=1)
    for (name, value), color in zip(values.items(), _COLORS, strict=True):
        density, edges = np.histogram(value, bins=40, range=(0, 1), density=True)
        ax.stairs(density, edges, color=color, linewidth=1.2, label=name)
    ax.set_title("PIT of held-out draws", fontsize=8)
    ax.set(xlim=(0, 1), ylim=(0, 2), yticks=[0, 1, 2])
    ax.legend(fontsize=6.5, frameon=False, handlelength=1.2, loc="upper right")
