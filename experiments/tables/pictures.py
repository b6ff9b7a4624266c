"""Pictures of the experiment with tables."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

import distrax_flows as dxf
from distrax_flows.diagnostics import plotting
from experiments._table import Row
from experiments.tables.baselines import ESTIMATORS

_COLORS = {"kde": "#0072b2", "gmm": "#e69f00", "gaussian": "0.5"}
_LIMIT = 5.0  # nats; larger gains are arrowheads there


def draw_gains(path: Path, rows: Sequence[Row]) -> None:
    """Gains of `fit_table` in nats per row, one panel a table, with two standard errors.

    Gains beyond the panel are arrowheads.
    """
    names = list(dict.fromkeys(row["dataset"] for row in rows))
    figure, axes = plotting.panels(1, len(names), size=2.0)
    for ax, name in zip(axes.flat, names, strict=True):
        for place, estimator in enumerate(ESTIMATORS):
            found = [row for row in rows if row["dataset"] == name]
            gains = np.array([float(row[f"gain_{estimator}"]) for row in found])
            errors = np.array([float(row[f"gain_{estimator}_stderr"]) for row in found])
            offsets = place + 0.12 * (np.arange(len(found)) - (len(found) - 1) / 2)
            is_shown, color = (gains >= -1) & (gains <= _LIMIT), _COLORS[estimator]
            ax.errorbar(
                *(y[is_shown] for y in (offsets, gains, 2 * errors)), fmt="o", color=color, ms=4
            )
            for is_beyond, end, marker in ((gains > _LIMIT, _LIMIT, "^"), (gains < -1, -1, "v")):
                ends = np.full(is_beyond.sum(), end)
                ax.plot(offsets[is_beyond], ends, marker, color=color, ms=5)
        ax.axhline(0.0, color="0.6", linewidth=0.8)
        ax.set_xticks(range(len(ESTIMATORS)), ESTIMATORS, fontsize=7)
        ax.set_xlim(-0.5, len(ESTIMATORS) - 0.5)
        ax.set_ylim(-1.3, _LIMIT + 0.3)
        ax.set_title(name.replace("_", " "), fontsize=8)
    axes.flat[0].set_ylabel("gain of fit_table, nats per row", fontsize=8)
    plotting.save_png(path, figure)


def draw_table(path: Path, density: dxf.TableDensity, table: pd.DataFrame) -> None:
    """Data beside samples."""
    plotting.save_png(path, density.plot(table))
