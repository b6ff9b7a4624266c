"""Detection of samples that end where their target density continues."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from distrax_flows._core.types import ArrayLike
from distrax_flows._core.warn import warn
from distrax_flows.functional._log_density import LogDensityFn
from distrax_flows.functional.flow import Flow, Params

__all__ = ["warn_of_ends"]

_MIN_SAMPLES = 1_000
_MIN_TAIL = 25
# In an exponential tail of 50 samples, the outer half is 5.5 times as wide as the inner half; with
# more samples, even wider. In a truncated tail, it is equally wide. One in thirty exponential tails
# falls below 3. Only then are the densities evaluated.
_ABRUPT = 3.0
# The median over the tail of log p at the mirror images of samples, minus that at the samples. For
# an exponential tail of 50 samples it is -7.6, and 1e-7 of them lie above -1.5. For a truncated
# tail it is above that if a hundredth of all mass is missing beyond the end.
_DROP = -1.5
_LEAST_STEP = 0.01  # step beyond the end, in interquartile ranges: samples may share one value


def warn_of_ends(
    flow: Flow,
    params: Params,
    log_density: LogDensityFn,
    x: jax.Array,
    context: ArrayLike | None = None,
) -> None:
    """Warn if samples of a flow end abruptly where the density does not.

    The flow has no samples there, so neither reverse KL nor importance weights notice. There is no
    warning where the flow's own density is zero, or not defined, beyond the end: there its support
    ends by choice.

    Args:
        flow: the flow.
        params: its parameters.
        log_density: its target.
        x: `[S, ..., *event_shape]`, samples of the flow; ignored if they are traced or fewer than a
            thousand.
        context: `[..., C]` or None.
    """
    if isinstance(x, Tracer) or len(x) < _MIN_SAMPLES:
        return
    if flow.draws_random_numbers(params, context):
        return  # its density is not known, and integers end where they do
    args = () if context is None else (context,)
    event_shape = flow.event_shape
    batch_shape = x.shape[: x.ndim - len(event_shape)]
    samples = np.asarray(x).reshape(*batch_shape, -1)
    ends = []
    for sign, d in itertools.product((1, -1), range(samples.shape[-1])):
        tail, mirrored, abrupt = _tail(samples, sign, d)
        if not abrupt.any():
            continue
        tail_shape = tail.shape[:-1]
        tail, mirrored = (rows.reshape(*rows.shape[:-1], *event_shape) for rows in (tail, mirrored))
        with np.errstate(invalid="ignore"):
            drop = np.subtract(log_density(mirrored, *args), log_density(tail, *args))
            outside = ~np.isfinite(flow.log_prob(params, mirrored, context))
            drop = np.median(np.where(outside, -np.inf, drop), axis=0)
        continues = abrupt & (drop > _DROP)
        if continues.any():
            outermost = np.asarray(tail).reshape(*tail_shape, -1)[0, ..., d][continues][0]
            ends.append(f"those of dimension {d} at {outermost:.4g}")
    if ends:
        warn(
            f"Samples of the flow end where `log_density` continues: {', '.join(ends)}. The mass "
            "beyond is missing, also from `evidence`. Let the flow reach beyond the interval of "
            "its splines, by `families.chain(families.affine(), families.spline())`, a wider "
            "range, or `standardize=True`; or choose another support."
        )


def _tail(x: np.ndarray, sign: int, d: int) -> tuple[jax.Array, jax.Array, np.ndarray]:
    """Return the outermost samples of a dimension on one side, the outermost one first.

    Also returns their mirror images at that outermost value, both `[T, ..., D]`, and whether they
    end abruptly there, `[...]`.
    """
    half = max(_MIN_TAIL, len(x) // 100)
    rows = np.argsort(-sign * x[..., d], axis=0)[: 2 * half]
    tail = np.take_along_axis(x, rows[..., None], axis=0)
    distance = np.abs(tail[0, ..., d] - tail[..., d])
    abrupt = distance[half - 1] <= _ABRUPT * (distance[-1] - distance[half - 1])
    mirrored = tail.copy()
    least = _LEAST_STEP * np.subtract(*np.quantile(x[..., d], [0.75, 0.25], axis=0))
    mirrored[..., d] = tail[0, ..., d] + sign * np.maximum(distance, least)
    return jnp.asarray(tail), jnp.asarray(mirrored), np.asarray(abrupt)
