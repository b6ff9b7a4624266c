"""Samples that end where the density they are to have goes on."""

import warnings

import jax
import numpy as np

from distrax_flows.flow import Flow, Params
from distrax_flows.training._objectives import LogDensityFn

__all__ = ["warn_of_ends"]

_MIN_SAMPLES = 1_000
_MIN_TAIL = 25
# The outer half of an exponential tail of 50 samples is 5.5 times as wide as its inner half, of
# more samples even wider; that of a tail that was cut is as wide. One in thirty of the former falls
# below 3. Only then the densities are evaluated.
_ABRUPT = 3.0
# The median over the tail of log p at the mirror images of samples, less that at the samples. For
# an exponential tail of 50 samples it is -7.6, and 1e-7 of them lie above -1.5; for a tail that was
# cut it is above that where beyond the end a hundredth of all mass is missing.
_DROP = -1.5
_LEAST_STEP = 0.01  # beyond the end, of the interquartile range: samples may pile up on one number


def warn_of_ends(
    flow: Flow,
    params: Params,
    log_density: LogDensityFn,
    x: jax.Array,
    context: jax.Array | None = None,
) -> None:
    """Warn if samples of a flow end abruptly where the density does not.

    The flow has no samples there, so that neither reverse KL nor importance weights tell. Nothing
    is said where the flow's own density is zero, or not defined, beyond the end: there its support
    ends by choice.

    Args:
        flow: the flow.
        params: its parameters.
        log_density: what it is to approximate.
        x: `[S, ..., D]`, samples of it; nothing is looked at if they are traced, or fewer than
            a thousand.
        context: `[..., C]` or None.
    """
    if isinstance(x, jax.core.Tracer) or len(x) < _MIN_SAMPLES:
        return
    x = np.asarray(x)
    args = () if context is None else (context,)
    ends = []
    for sign in (1, -1):
        half = max(_MIN_TAIL, len(x) // 100)
        rows = np.argsort(-sign * x, axis=0)[: 2 * half]
        distance = np.abs(np.take_along_axis(x, rows[:1], 0) - np.take_along_axis(x, rows, 0))
        abrupt = distance[half - 1] <= _ABRUPT * (distance[-1] - distance[half - 1])
        for d in np.flatnonzero(abrupt.reshape(-1, x.shape[-1]).any(axis=0)):
            outermost = np.take_along_axis(x, rows[..., d, None], 0)
            end = outermost[0, ..., d]
            beyond = outermost.copy()
            least = _LEAST_STEP * np.subtract(*np.quantile(x[..., d], [0.75, 0.25], axis=0))
            beyond[..., d] = end + sign * np.maximum(distance[..., d], least)
            with np.errstate(invalid="ignore"):
                drop = np.subtract(log_density(beyond, *args), log_density(outermost, *args))
                outside = ~np.isfinite(flow.log_prob(params, beyond, context))
                drop = np.median(np.where(outside, -np.inf, drop), axis=0)
            if (abrupt[..., d] & (drop > _DROP)).any():
                where = end[abrupt[..., d] & (drop > _DROP)].flat[0]
                ends.append(f"those of dimension {d} at {where:.4g}")
    if ends:
        warnings.warn(
            f"Samples of the flow end where `log_density` goes on: {', '.join(ends)}. What is "
            "beyond is missing, in `evidence` as well. Let the flow reach beyond the interval of "
            "its splines, by `families.chain(families.affine(), families.spline())`, a wider "
            "range, or `standardize=True`; or choose another support.",
            stacklevel=3,
        )
