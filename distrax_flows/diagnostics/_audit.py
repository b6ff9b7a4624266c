"""Audit of a trained flow."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Float, Shaped

from distrax_flows._core.checks import check_positive, check_positive_int
from distrax_flows._core.keys import as_key
from distrax_flows._core.types import ArrayLike
from distrax_flows.functional.flow import Flow, Params, events_of

__all__ = ["Audit", "audit"]

_UNLIKELY = 1e-6  # probability of more events outside of the range of as many samples
_FEW = 1e-3  # share of samples that may have the value of the outermost one


class Audit(NamedTuple):
    """Errors of a trained flow; `print` shows them, and what is wrong.

    All errors are relative where the value exceeds 1. They are the worst over all events and
    samples.

    Attributes:
        round_trip: of `forward(inverse(x))` for the data.
        round_trip_of_samples: of `forward(inverse(y))` for samples y.
        log_det: sum of the log-dets of both directions, which should be zero.
        log_prob: `log_prob(y)` minus the log-density that `sample_and_log_prob` returned with y.
        impossible: share of the data without a finite log-density.
        outside: `[*event_shape]`, share of the data beyond all samples, in each dimension: mass
            that the flow does not reach.
        at_ends: `[*event_shape]`, share of samples that have the very value of the outermost one:
            mass that rounding has moved to the end of a support or a spline.
        problems: what is wrong, in words; empty if nothing is.
    """

    round_trip: float
    round_trip_of_samples: float
    log_det: float
    log_prob: float
    impossible: float
    outside: Float[np.ndarray, "..."]
    at_ends: Float[np.ndarray, "..."]
    problems: tuple[str, ...]

    def __str__(self) -> str:
        numbers = self._asdict()
        problems = numbers.pop("problems")
        lines = [f"{name:24}{np.max(value):.2g}" for name, value in numbers.items()]
        return "\n".join(
            [*lines, *(f"* {problem}" for problem in problems or ["no problem found"])]
        )


def audit(
    flow: Flow,
    params: Params,
    x: Shaped[ArrayLike, "N ..."],
    context: Shaped[ArrayLike, "N C"] | None = None,
    *,
    key: jax.Array | int,
    num_samples: int = 10_000,
    tolerance: float = 1e-3,
    batch_size: int | None = None,
) -> Audit:
    """Check the numerics of a trained flow on data, and whether it reaches them.

    It compares both directions with each other, and the range of samples with that of the data.
    Whether the density is right is up to `calibration` and held-out likelihoods.

    Args:
        flow: the flow; its layers draw no random numbers.
        params: its parameters.
        x: `[N, *event_shape]`, data, best held out.
        context: `[N, C]` or None.
        key: random key, or an integer seed.
        num_samples: number of samples, of rows of the context in turn if there is one.
        tolerance: errors above it are problems.
        batch_size: number of events at a time, if memory is short; see `Flow`.

    Raises:
        ValueError: `x` is not a non-empty batch of events, `num_samples` is not a positive integer,
            `tolerance` not above 0, or the flow has integer events or random layers.

    Example:
        >>> import distrax_flows as dxf, jax
        >>> flow = dxf.transform(lambda: dxf.flows.nsf_coupling(2, num_layers=2))
        >>> x = jax.random.normal(jax.random.key(0), (1000, 2))
        >>> params = flow.init(jax.random.key(1), x)
        >>> dxf.diagnostics.audit(flow, params, x, key=2).problems
        ()
    """
    check_positive_int("num_samples", num_samples)
    check_positive("tolerance", tolerance)
    events = events_of(flow, context)
    if events.is_discrete:
        raise ValueError("`flow` must have real events; flows of integers have noise in each pass.")
    if np.ndim(x) != 1 + len(events.shape) or np.shape(x)[0] == 0:
        raise ValueError(f"`x` must be a non-empty batch of events; got {np.shape(x)=}.")
    x = jnp.asarray(x)
    log_p = flow.log_prob(params, x, context, batch_size=batch_size)
    y_context = context
    shape: tuple[int, ...] = (num_samples,)
    if context is not None:
        y_context, shape = jnp.asarray(np.resize(context, (num_samples, *context.shape[1:]))), ()
    y, log_q = flow.sample_and_log_prob(
        params, as_key(key), shape, y_context, batch_size=batch_size
    )
    possible = np.isfinite(log_p)
    trip = _round_trip(flow, params, x[possible], _rows(context, possible), batch_size)
    trip_of_samples = _round_trip(flow, params, y, y_context, batch_size)
    again = flow.log_prob(params, y, y_context, batch_size=batch_size)
    errors = {
        "round_trip": trip[0],
        "round_trip_of_samples": trip_of_samples[0],
        "log_det": _worse(trip[1], trip_of_samples[1]),
        "log_prob": _relative(again - log_q, log_q),
    }
    values, samples = (np.asarray(a).reshape(len(a), -1) for a in (x, y))
    low, high = samples.min(axis=0), samples.max(axis=0)
    outside = ((values < low) | (values > high)).mean(axis=0)
    at_ends = np.maximum((samples == low).mean(axis=0), (samples == high).mean(axis=0))
    at_ends = np.where(at_ends * num_samples > 1, at_ends, 0)
    impossible = float(1 - possible.mean())
    problems = [
        f"`{name}` is {error:.2g}, above the tolerance of {tolerance:.2g}: {_REMEDY}"
        for name, error in errors.items()
        if not error <= tolerance
    ]
    if impossible:
        problems.append(
            f"{impossible:.2%} of the data have no finite log-density: they lie outside of the "
            "support, or a layer overflows; `flow.trace` shows where."
        )
    far = outside > _plausible_share(len(x), num_samples)
    if far.any():
        d = int(np.argmax(outside))
        problems.append(
            f"{outside[d]:.2%} of the data lie beyond all samples in dimension {d}, which end at "
            f"{low[d]:.4g} and {high[d]:.4g}. Let the flow reach beyond the interval of its "
            "splines, by `families.chain(families.affine(), families.spline())`, a wider range, or "
            "`standardize=True`; or choose another support."
        )
    if (at_ends > _FEW).any():
        d = int(np.argmax(at_ends))
        problems.append(
            f"{at_ends[d]:.2%} of the samples have the value of the outermost one in dimension "
            f"{d}: rounding moved them there. Transform the data, such as by their logarithm, or "
            "use float64."
        )
    return Audit(
        **errors,
        impossible=impossible,
        outside=outside.reshape(events.shape),
        at_ends=at_ends.reshape(events.shape),
        problems=tuple(problems),
    )


_REMEDY = "layers are steep there. Bound their scales, standardise the data, or use float64."


def _round_trip(flow, params, x, context, batch_size) -> tuple[float, float]:
    """Return the worst errors of `forward(inverse(x))` and of the sum of log-dets."""
    if len(x) == 0:
        return 0.0, 0.0
    z, log_det = flow.inverse(params, x, context, batch_size=batch_size)
    back, log_det_back = flow.forward(params, z, context, batch_size=batch_size)
    return _relative(back - x, x), _relative(log_det + log_det_back, log_det)


def _relative(error: jax.Array, value: jax.Array) -> float:
    """Return the worst error, NaN if there is one; relative where the value exceeds 1."""
    return float(jnp.max(jnp.abs(error) / jnp.maximum(1, jnp.abs(value))))


def _worse(first: float, second: float) -> float:
    return float(np.maximum(first, second))  # NaN if one is


def _rows(context, chosen):
    return None if context is None else jnp.asarray(context)[chosen]


def _plausible_share(num_events: int, num_samples: int) -> float:
    """Return the share of events that may lie beyond as many samples of the same distribution.

    The mass beyond the samples is Beta(2, S - 1); the largest mass that is not too unlikely, and
    the number of events given it.
    """
    mass = scipy.special.betaincinv(2, max(num_samples - 1, 1), 1 - _UNLIKELY)
    counts = np.arange(num_events + 1)
    most = np.argmax(scipy.special.bdtrc(counts, num_events, mass) < _UNLIKELY)
    return most / num_events
