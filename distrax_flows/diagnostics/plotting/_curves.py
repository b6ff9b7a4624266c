"""Curves: densities on a line, calibration, the history of a fit."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from distrax_flows._core.checks import check_positive_int
from distrax_flows._core.types import ArrayLike
from distrax_flows.diagnostics._calibration import Calibration
from distrax_flows.diagnostics.plotting._figures import COLORS
from distrax_flows.training.results import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_calibration", "plot_density_1d", "plot_history"]


def plot_density_1d(
    ax: "Axes",
    log_prob: Callable[[jax.Array], jax.Array],
    low: float,
    high: float,
    *,
    x: Shaped[ArrayLike, "..."] | None = None,
    num: int = 400,
    **line: Any,
) -> None:
    """Plot a density on a line, over a histogram of samples if they are given.

    Args:
        ax: matplotlib axes.
        log_prob: maps points `[num, 1]` to log-densities `[num]`, such as `lambda x:
            flow.log_prob(params, x)`.
        low: lower end of the line.
        high: upper end.
        x: samples, of any shape. Those beyond the line count towards the total mass of one.
        num: number of points.
        **line: arguments of matplotlib's `plot`, such as `label=`.

    Raises:
        ValueError: `num` is not a positive integer.

    Example:
        >>> import distrax_flows as dxf, jax.numpy as jnp
        >>> figure, axes = dxf.diagnostics.plotting.panels(1, 1)
        >>> normal = lambda x: -0.5 * jnp.sum(x**2, -1) - 0.919
        >>> dxf.diagnostics.plotting.plot_density_1d(axes[0, 0], normal, -4, 4, label="normal")
    """
    points = np.linspace(low, high, check_positive_int("num", num))
    if x is not None:
        values = np.ravel(x)
        edges = np.linspace(low, high, 61)
        heights = np.histogram(values, edges)[0] / (values.size * np.diff(edges))
        ax.stairs(heights, edges, fill=True, color=COLORS[3], alpha=0.6)
    density = np.exp(np.asarray(log_prob(jnp.asarray(points[:, None], jnp.float32))))
    ax.plot(points, density, **({"color": COLORS[0], "linewidth": 1.5} | line))
    ax.set(xlim=(low, high), ylim=(0, None))
    _plain(ax)


def plot_calibration(
    ax: "Axes",
    calibration: Calibration,
    names: tuple[str, ...] | None = None,
    *,
    confidence: float = 0.95,
) -> None:
    """Plot coverage against level, within the band that calibrated curves stay in.

    Args:
        ax: matplotlib axes.
        calibration: from `diagnostics.calibration`.
        names: quantities to show; all if None.
        confidence: probability that a calibrated curve stays within the band.

    Raises:
        ValueError: a name is not one of the quantities.

    Example:
        >>> import distrax_flows as dxf, numpy as np
        >>> ranks = np.random.default_rng(0).integers(0, 101, (500, 1))
        >>> found = dxf.diagnostics.Calibration(ranks, 100, ("x[0]",))
        >>> figure, axes = dxf.diagnostics.plotting.panels(1, 1)
        >>> dxf.diagnostics.plotting.plot_calibration(axes[0, 0], found)
    """
    names = calibration.names if names is None else names
    missing = [name for name in names if name not in calibration.names]
    if missing:
        raise ValueError(f"`names` must be among {calibration.names}; got {missing[0]!r}.")
    num = calibration.num_samples + 1
    levels = np.arange(num + 1) / num
    low, high = calibration.band(levels, confidence)
    ax.fill_between(levels, low, high, color="0.88", linewidth=0)
    ax.plot([0, 1], [0, 1], color="0.5", linewidth=0.8)
    curves = calibration.coverage(levels)
    for index, name in enumerate(names):
        color, style = COLORS[index % 3], ("-", "--", ":", "-.")[index // 3 % 4]
        curve = curves[:, calibration.names.index(name)]
        ax.plot(levels, curve, style, color=color, linewidth=1.2, label=name)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="level", ylabel="coverage")
    if len(names) <= 12:
        ax.legend(fontsize=6, frameon=False)
    _plain(ax)


def plot_history(ax: "Axes", history: History, *, label: str | None = None) -> None:
    """Plot the loss of each step, smoothed, and the validation loss.

    The axis spans the losses after the first tenth of the steps: a first loss of a million would
    hide all others. For several fits at once, there is a line for each.

    Args:
        ax: matplotlib axes.
        history: `fit(...).history`.
        label: label of the validation losses, or of the training losses if there are none.

    Example:
        >>> import distrax_flows as dxf, jax
        >>> flow = dxf.transform(lambda: dxf.flows.nice(2, num_layers=1))
        >>> x = jax.random.normal(jax.random.key(0), (200, 2))
        >>> fitted = dxf.fit(flow, x, key=1, num_steps=20, progress=False)
        >>> figure, axes = dxf.diagnostics.plotting.panels(1, 1)
        >>> dxf.diagnostics.plotting.plot_history(axes[0, 0], fitted.history)
    """
    losses = np.atleast_2d(history.loss)
    validation = np.atleast_2d(history.validation_loss)
    num_steps = losses.shape[1]
    width = max(1, num_steps // 50)
    ends = np.arange(width, num_steps + 1)
    shown = []
    for loss in losses:
        finite = np.isfinite(loss)
        totals, counts = (
            np.cumsum(np.append(0, values)) for values in (np.where(finite, loss, 0), finite)
        )
        with np.errstate(invalid="ignore"):
            smooth = (totals[ends] - totals[ends - width]) / (counts[ends] - counts[ends - width])
        ax.plot(
            ends, smooth, color=COLORS[3], linewidth=1, label=None if validation.size else label
        )
        shown.append(smooth[ends > num_steps // 10])
    for loss in validation if validation.size else ():
        ax.plot(history.evaluated_steps, loss, color=COLORS[0], linewidth=1.5, label=label)
        shown.append(loss[np.asarray(history.evaluated_steps) > num_steps // 10])
    values = np.concatenate(shown)
    values = values[np.isfinite(values)]
    if values.size:
        low, high = values.min(), values.max()
        margin = 0.05 * (high - low) or 1.0
        ax.set_ylim(low - margin, high + margin)
    ax.set(xlabel="step", ylabel="loss, nats")
    _plain(ax)


def _plain(ax: "Axes") -> None:
    ax.tick_params(labelsize=7)
    ax.spines[["top", "right"]].set_visible(False)
