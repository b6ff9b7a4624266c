"""Plots of how a flow transforms the plane."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from distrax_flows._core.checks import check_positive_int
from distrax_flows._core.types import ArrayLike
from distrax_flows.diagnostics.plotting._figures import COLORS
from distrax_flows.diagnostics.plotting._plane import plot_samples, sample_bounds
from distrax_flows.functional._trace import LayerTrace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_grid", "plot_layers"]


def plot_grid(
    ax: "Axes",
    forward: Callable[[jax.Array], jax.Array],
    *,
    reach: float = 3.0,
    num_lines: int = 13,
    num_points: int = 200,
) -> None:
    """Plot the image of a square grid in base space.

    Args:
        ax: matplotlib axes.
        forward: maps points of the base `[N, 2]` to the data, such as `lambda z:
            flow.forward(params, z)[0]`.
        reach: half the side of the square around the origin.
        num_lines: number of lines in each direction.
        num_points: number of points of a line.

    Raises:
        ValueError: a number is not a positive integer.

    Example:
        >>> import distrax_flows as dxf, jax.numpy as jnp
        >>> figure, axes = dxf.diagnostics.plotting.panels(1, 1)
        >>> dxf.diagnostics.plotting.plot_grid(axes[0, 0], dxf.Rotation(jnp.array(0.5)).forward)
    """
    check_positive_int("num_lines", num_lines)
    check_positive_int("num_points", num_points)
    at = np.linspace(-reach, reach, num_lines)
    along = np.linspace(-reach, reach, num_points)
    down = np.stack(np.meshgrid(at, along, indexing="ij"), axis=-1)
    lines = np.concatenate([down, down[..., ::-1]])
    points = forward(jnp.asarray(lines.reshape(-1, 2), jnp.float32))
    image = np.asarray(points).reshape(lines.shape)
    for index, line in enumerate(image):
        color = COLORS[0] if index < num_lines else COLORS[1]
        ax.plot(*line.T, color=color, linewidth=0.6)
    ax.set_aspect("equal")
    ax.tick_params(labelsize=7)
    ax.spines[["top", "right"]].set_visible(False)


def plot_layers(
    axes: Sequence["Axes"] | np.ndarray,
    layers: Sequence[LayerTrace],
    color_by: Shaped[ArrayLike, " N"] | Float[np.ndarray, " N"] | None = None,
) -> None:
    """Plot 2-D samples at the input and after each layer.

    Args:
        axes: matplotlib axes, one more than there are layers.
        layers: `flow.trace(params, x)` of samples `[N, 2]`, or of samples of the base with
            `inverse=False`.
        color_by: `[N]`, angles that colour the points, on a circle of colours, so that the eye can
            follow them; if None, a histogram is shown.

    Raises:
        ValueError: there are not as many axes, or events are not pairs.

    Example:
        >>> import distrax_flows as dxf
        >>> flow = dxf.transform(lambda: dxf.flows.maf(2, num_layers=2))
        >>> params = flow.init_without_data(0)
        >>> layers = flow.trace(params, flow.sample(params, 1, (1000,)))
        >>> figure, axes = dxf.diagnostics.plotting.panels(1, 1 + len(layers))
        >>> dxf.diagnostics.plotting.plot_layers(axes[0], layers)
    """
    panels = list(np.ravel(np.asarray(axes, dtype=object)))
    if not layers or len(panels) != len(layers) + 1:
        raise ValueError(
            f"`axes` must hold one more than there are layers, {len(layers) + 1}; got "
            f"{len(panels)}."
        )
    stages = [layers[0].x, *(layer.y for layer in layers)]
    # Layers of a stack have one name, and their index.
    names = (layer.name.removesuffix(" > Layer").split(" > ")[-1] for layer in layers)
    titles = ["", *names]
    for ax, stage, title in zip(panels, stages, titles, strict=True):
        points = np.asarray(stage)
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(
                f"`layers` must map samples [N, 2]; got {title or 'x'}={points.shape}."
            )
        bounds = sample_bounds(points)
        if color_by is None:
            plot_samples(ax, points, bounds)
        else:
            colors = np.asarray(color_by)
            ax.scatter(*points.T, c=colors, s=2, cmap="twilight", linewidths=0)
            ax.set(xlim=bounds[0], ylim=bounds[1], aspect="equal", xticks=[], yticks=[])
        ax.set_title(title, fontsize=7)
