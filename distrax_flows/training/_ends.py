"""Samples that end where the density they are to have goes on."""

import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

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
    if isinstance(x, Tracer) or len(x) < _MIN_SAMPLES:
        return
    samples, args = np.asarray(x), () if context is None else (context,)
    ends = []
    for sign, d in itertools.product((1, -1), range(samples.shape[-1])):
        tail, mirrored, abrupt = _tail(samples, sign, d)
        if not abrupt.any():
            continue
        with np.errstate(invalid="ignore"):
            drop = np.subtract(log_density(mirrored, *args), log_density(tail, *args))
            outside = ~np.isfinite(flow.log_prob(params, mirrored, context))
            drop = np.median(np.where(outside, -np.inf, drop), axis=0)
        goes_on = abrupt & (drop > _DROP)
        if goes_on.any():
            ends.append(f"those of dimension {d} at {np.asarray(tail[0, ..., d])[goes_on][0]:.4g}")
    if ends:
        warnings.warn(
            f"Samples of the flow end where `log_density` goes on: {', '.join(ends)}. What is "
            "beyond is missing, in `evidence` as well. Let the flow reach beyond the interval of "
            "its splines, by `families.chain(families.affine(), families.spline())`, a wider "
            "range, or `standardize=True`; or choose another support.",
            stacklevel=3,
        )


def _tail(x: np.ndarray, sign: int, d: int) -> tuple[jax.Array, jax.Array, np.ndarray]:
    """The samples with the outermost values of a dimension, to one side, the outermost one first.

    Returns them, `[T, ..., D]`, their mirror images at that outermost value, and whether they end
    abruptly there, `[...]`.
    """
    half = max(_MIN_TAIL, len(x) // 100)
    rows = np.argsort(-sign * x[..., d], axis=0)[: 2 * half]
    tail = np.take_along_axis(x, rows[..., None], axis=0)
    distance = np.abs(tail[0, ..., d] - tail[..., d])
    abrupt = distance[half - 1] <= _ABRUPT * (distance[-1] - distance[half - 1])
    mirrored = tail.copy()
    least = _LEAST_STEP * np.subtract(*np.quantile(x[..., d], [0.75, 0.25], axis=0))
    mirrored[..., d] = tail[0, ..., d] + sign * np.maximum(distance, least)
    return jnp.asarray(tail), jnp.asarray(mirrored), abrupt
