"""Pictures of images and of what flows make of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes

import distrax_flows as dxf
from distrax_flows.diagnostics import plotting
from experiments._summary import select
from experiments._table import Finished, Row
from experiments.images.datasets import Images
from experiments.images.fits import ROUND_TRIPS

_TEMPERATURES = (0.5, 0.7, 0.85, 1.0)
_ACROSS = 16


def draw_scores(path: Path, rows: Sequence[Row], images: Images) -> None:
    """Bits per dimension of each flow: a dot for each seed, and the mean; tighter bounds beside."""
    names = sorted(
        dict.fromkeys(row["flow"] for row in rows),
        key=lambda name: np.mean([float(row["bits_per_dim"]) for row in select(rows, flow=name)]),
    )
    figure, axes = plotting.panels(1, 1, size=4.0, dpi=100)
    ax = axes[0, 0]
    for column, color, label in (
        ("bits_per_dim", "#e66101", "bound"),
        ("importance_weighted", "#5e3c99", "importance-weighted bound"),
    ):
        for i, name in enumerate(names):
            values = [float(row[column]) for row in select(rows, flow=name)]
            ax.plot(values, [i] * len(values), ".", color=color, alpha=0.5)
            ax.plot(np.mean(values), i, "D", color=color, label=label if i == 0 else None)
    ax.set_yticks(range(len(names)), [name.replace("_", " ") for name in names], fontsize=8)
    ax.invert_yaxis()
    ax.grid(axis="x", alpha=0.3)
    ax.set_title(f"{images.name}: bits per dimension, test images", fontsize=9)
    ax.legend(fontsize=7)
    plotting.save_png(path, figure)


def draw_samples(path: Path, fits: Sequence[Finished], images: Images) -> None:
    """Training images, and samples of each flow, best first."""
    fits = sorted(fits, key=lambda fit: float(fit.row["bits_per_dim"]))
    num = 2 * _ACROSS
    figure, axes = plotting.panels(len(fits) + 1, 1, size=1.0, dpi=120)
    figure.set_size_inches(8, 1.25 * (len(fits) + 1))
    _draw(axes[0, 0], images.train[:num], images, "training images")
    for ax, (row, (flow, params)) in zip(axes[1:, 0], fits, strict=True):
        x = flow.sample(params, jax.random.key(0), (num,))
        _draw(ax, x, images, f"{row['flow'].replace('_', ' ')}, {row['bits_per_dim']} bits")
    plotting.save_png(path, figure)


def draw_flow(path: Path, fit: Finished, images: Images) -> None:
    """Samples at several temperatures, interpolations, and samples beside training images."""
    row, (flow, params) = fit
    noise = flow.sample_base(params, jax.random.key(0), (_ACROSS,))
    z = [temperature * noise for temperature in _TEMPERATURES]
    z.append(_interpolations(flow, params, images))
    shown, _ = flow.forward(params, jnp.concatenate(z), key=0)
    of_temperatures, between = np.split(np.asarray(shown), [len(_TEMPERATURES) * _ACROSS])
    x = np.asarray(flow.sample(params, jax.random.key(0), (2 * _ACROSS,)))[:_ACROSS]
    parts = {
        f"temperatures {', '.join(map(str, _TEMPERATURES))}": of_temperatures,
        "between two test images": between,
        "samples, and the nearest training images": np.concatenate([x, _nearest(x, images)]),
    }
    figure, axes = plotting.panels(len(parts), 1, size=1.0, dpi=120)
    figure.set_size_inches(8, 5.5)
    axes[0, 0].get_gridspec().set_height_ratios([len(part) for part in parts.values()])
    for ax, (title, part) in zip(axes[:, 0], parts.items(), strict=True):
        _draw(ax, part, images, title)
    figure.suptitle(f"{row['flow'].replace('_', ' ')} on {images.name}", fontsize=9)
    plotting.save_png(path, figure)


def _interpolations(flow: dxf.Flow, params: Any, images: Images) -> jax.Array:
    """Latents between two pairs of test images, on straight lines."""
    levels = np.resize(images.test, (ROUND_TRIPS, *images.shape))
    z, _ = flow.inverse(params, jnp.asarray(levels, jnp.float32), key=0)
    fractions = jnp.linspace(0.0, 1.0, _ACROSS).reshape(-1, *[1] * (z.ndim - 1))
    lines = [z[None, i] + fractions * (z[None, i + 1] - z[None, i]) for i in (0, 2)]
    return jnp.concatenate(lines)


def _nearest(x: np.ndarray, images: Images) -> np.ndarray:
    """The training image nearest to each, by Euclidean distance."""
    train = images.train.reshape(len(images.train), -1).astype(np.float32)
    distances = [((train - image.reshape(-1)) ** 2).sum(axis=-1) for image in x]
    return images.train[np.argmin(distances, axis=-1)]


def _draw(ax: Axes, x: Any, images: Images, title: str) -> None:
    """Images as one picture, 16 across."""
    height, width, channels = images.shape
    x = np.asarray(x, np.float32).reshape(-1, _ACROSS, height, width, channels)
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), constant_values=images.num_levels // 2)
    tiled = x.swapaxes(1, 2).reshape(-1, _ACROSS * (width + 2), channels) / (images.num_levels - 1)
    ax.imshow(tiled if channels == 3 else tiled[..., 0], cmap="gray_r", vmin=0, vmax=1)
    ax.set_axis_off()
    ax.set_title(title, fontsize=8)
