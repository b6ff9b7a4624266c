"""Picture of the autoencoders: bounds, reconstructions, and samples beside data."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int
from matplotlib.axes import Axes

import distrax_flows as dxf
from distrax_flows.diagnostics import plotting
from experiments._digits import MAX_LEVEL, SIDE, draw_digits
from experiments._summary import mean_and_stderr, select
from experiments._table import Row

_SHAPE = (8, 6)  # of mosaics of samples, down and across
_NUM_RECONSTRUCTED = 16  # images
_BOUNDS = {"elbo": ("#e66101", "ELBO"), "importance_weighted": ("#5e3c99", "importance-weighted")}


class Autoencoder(NamedTuple):
    """A fitted autoencoder."""

    flow: dxf.Flow
    params: Any
    decode_mean: Callable[[Any, jax.Array], jax.Array]  # maps parameters and latents to mean levels

    def sample(self, num: int) -> np.ndarray:
        """Decoded samples of the prior, always the same."""
        return np.asarray(self.flow.sample(self.params, jax.random.key(0), (num,)))

    def reconstruct(self, x: Int[np.ndarray, "N 64"]) -> np.ndarray:
        """Mean levels of pixels, given a sample of each image's posterior."""
        z, _ = self.flow.inverse(self.params, x, key=0)
        return np.asarray(self.decode_mean(self.params, z))


def draw_overview(
    path: Path,
    test: Int[np.ndarray, "N 64"],
    rows: Sequence[Row],
    autoencoders: Mapping[str, Autoencoder],
) -> None:
    """Bounds of all fits, and reconstructions and samples of one autoencoder per posterior."""
    figure, _ = plotting.panels(1, 1)
    figure.clear()
    figure.set_size_inches(1.8 * (1 + len(autoencoders)), 6.0)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.3, 1))[:, 0]
    bounds, reconstructions = above.subplots(1, 2, width_ratios=(1, 1.25))
    _draw_bounds(bounds, rows, list(autoencoders))
    some = test[:_NUM_RECONSTRUCTED]
    images = [some, *(model.reconstruct(some) for model in autoencoders.values())]
    names = ", ".join(autoencoders)
    title = f"test images, and their reconstructions by\n{names}"
    draw_digits(reconstructions, _as_images(images), title, 0, MAX_LEVEL)
    num = _SHAPE[0] * _SHAPE[1]
    shown = {"test images": test[-num:]}
    shown |= {f"samples, {name}": model.sample(num) for name, model in autoencoders.items()}
    panels = below.subplots(1, len(shown), squeeze=False)[0]
    for ax, (title, pixels) in zip(panels, shown.items(), strict=True):
        draw_digits(ax, _as_images(pixels.reshape(*_SHAPE, -1)), title, 0, MAX_LEVEL)
    plotting.save_png(path, figure)


def _as_images(pixels: Any) -> np.ndarray:
    pixels = np.asarray(pixels, float)
    return pixels.reshape(*pixels.shape[:-1], SIDE, SIDE)


def _draw_bounds(ax: Axes, rows: Sequence[Row], names: Sequence[str]) -> None:
    """Means over seeds with standard errors, and a point for each seed."""
    for bound, (color, label) in _BOUNDS.items():
        for i, name in enumerate(names):
            values = [float(row[bound]) for row in select(rows, posterior=name)]
            mean, stderr = mean_and_stderr(values)
            ax.plot([i + 0.2] * len(values), values, ".", color=color, alpha=0.4, markersize=5)
            ax.errorbar(
                i, mean, stderr, color=color, marker="o", capsize=4, markersize=4,
                label=label if i == 0 else None,
            )  # fmt: skip
    ax.set_xticks(range(len(names)), [name.replace("_", "\n") for name in names], fontsize=8)
    ax.set_xlim(-0.5, len(names) - 0.5)
    ax.margins(y=0.2)
    ax.tick_params(axis="y", labelsize=7)
    ax.grid(axis="y", linewidth=0.3)
    ax.legend(fontsize=7, frameon=False, ncols=2, loc="upper center")
    ax.set_title("bounds of the test log-likelihood, nats per image", fontsize=8)
    ax.set_xlabel("mean and standard error over seeds; small: a seed each", fontsize=7)
