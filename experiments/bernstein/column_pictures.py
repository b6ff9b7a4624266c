"""Picture of a flow of independent columns."""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from mpl_toolkits.mplot3d import Axes3D

from distrax_flows.diagnostics import plotting
from experiments._table import Finished
from experiments.bernstein.fits import Fitted, column_log_probs, draw_lines
from experiments.bernstein.line_pictures import compare
from experiments.bernstein.targets import COLUMNS

_VIEWS = ((-5.5, 5.5), (0.0, 8.0), (-1.2, 1.2))
_NUM_SHOWN = 2_000  # samples
_NUM_POINTS = 60  # along each side of a surface
_CMAP = "magma"


def draw_columns(path: Path, fits: Sequence[Finished], key: jax.Array) -> None:
    """Samples in three dimensions, the joint density of two columns, and all marginals."""
    fitted: Fitted = fits[0].result  # the same for all columns
    figure, _ = plotting.panels(1, 1)
    figure.clear()
    figure.set_size_inches(10.5, 5.6)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.2, 1))[:, 0]
    spaces = above.subplots(1, 4, subplot_kw={"projection": "3d"})
    data_key, sample_key = jax.random.split(key)
    data = draw_lines(COLUMNS, data_key, _NUM_SHOWN)
    samples = fitted.flow.sample(fitted.params, sample_key, (_NUM_SHOWN,))
    _scatter(spaces[0], data, "data")
    _scatter(spaces[1], samples, "samples of the flow")
    y = _grid(_NUM_POINTS)
    exact, density = _densities(fitted, y)
    vmax = 1.05 * float(jnp.max(exact[:, 0]) * jnp.max(exact[:, 1]))
    _surface(spaces[2], y, exact, vmax, "exact density of two columns")
    _surface(spaces[3], y, density, vmax, "fitted density")
    y = _grid(400)
    exact, density = _densities(fitted, y)
    panels = below.subplots(1, len(COLUMNS))
    for d, (ax, column, (row, _)) in enumerate(zip(panels, COLUMNS, fits, strict=True)):
        compare(ax, y[:, d], exact[:, d], density[:, d])
        kind = type(column.support).__name__.lower()
        support = "" if kind == "real" else f", support {kind}"
        ax.set_title(f"{column.name}{support}: KL {float(row['kl']):.1e}", fontsize=8)
        ax.set(xlim=_VIEWS[d], ylim=(0, 1.25 * exact[:, d].max()))
    panels[0].legend(fontsize=7, frameon=False, loc="upper left", handlelength=1.2)
    plotting.save_png(path, figure)


def _grid(num: int) -> jax.Array:
    """Centres of equal cells of each column's window, `[num, D]`."""
    fractions = (np.arange(num) + 0.5) / num
    return jnp.asarray(
        np.stack([low + (high - low) * fractions for low, high in _VIEWS], -1), jnp.float32
    )


def _densities(fitted: Fitted, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Exact and fitted densities of the columns, each `[N, D]`."""
    exact = jnp.stack([line.density.log_prob(y[:, d]) for d, line in enumerate(COLUMNS)], -1)
    return jnp.exp(exact), jnp.exp(column_log_probs(fitted.flow, fitted.params, y))


def _scatter(ax: Axes3D, y: jax.Array, title: str) -> None:
    points = np.asarray(y)
    ax.scatter(*points.T, s=2, c=points[:, 1], cmap=_CMAP, vmin=-1, vmax=7, linewidths=0)
    ax.set(xlim=_VIEWS[0], ylim=_VIEWS[1], zlim=_VIEWS[2])
    _label(ax, title)


def _surface(ax: Axes3D, y: jax.Array, density: jax.Array, vmax: float, title: str) -> None:
    """The joint density of the first two columns: a product, as they are independent."""
    joint = np.asarray(density[None, :, 0] * density[:, None, 1])
    first, second = np.meshgrid(y[:, 0], y[:, 1])
    ax.plot_surface(
        first, second, joint, cmap=_CMAP, vmin=0, vmax=vmax, rcount=60, ccount=60, linewidth=0
    )
    ax.set(xlim=_VIEWS[0], ylim=_VIEWS[1], zlim=(0, vmax))
    ax.zaxis.set_ticklabels([])
    _label(ax, title)


def _label(ax: Axes3D, title: str) -> None:
    ax.set_title(title, fontsize=8, y=1.03)
    ax.set_xlabel(COLUMNS[0].name, fontsize=7, labelpad=-8)
    ax.set_ylabel(COLUMNS[1].name, fontsize=7, labelpad=-8)
    ax.tick_params(labelsize=6, pad=-3)
    ax.view_init(elev=35, azim=-55)
