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
    """Numerical errors of a trained flow, and a list of problems.

    All errors are relative where the value exceeds 1. They are the worst over all events and
    samples.

    Attributes:
        round_trip: error of `forward(inverse(x))` for the data.
        round_trip_of_samples: error of `forward(inverse(y))` for samples y.
        log_det: sum of the log-dets of both directions, which should be zero.
        log_prob: `log_prob(y)` minus the log-density that `sample_and_log_prob` returned with y.
        impossible: fraction of events with a non-finite log-density.
        outside: `[*event_shape]`, fraction of events outside the range of the samples, per
            dimension.
        at_ends: `[*event_shape]`, fraction of samples exactly at the smallest or largest value, per
            dimension; a sign of rounding at the end of a support or spline.
        problems: descriptions of all problems found; empty if there are none.
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
    """Check a trained flow for numerical errors, and whether its samples cover the data.

    It compares both directions with each other, and the range of samples with that of the data.
    `calibration` and held-out likelihoods tell whether the density is right. On a circle, an event
    at the cut may come back at the other end, which counts as an error.

    Args:
        flow: the flow, without random layers or integer events.
        params: its parameters.
        x: `[N, *event_shape]`, data, preferably held out.
        context: `[N, C]` or None.
        key: random key, or an integer seed.
        num_samples: number of samples, spread evenly over the rows of the context, if there is one.
        tolerance: largest error that is not a problem.
        batch_size: number of events at a time, to save memory; see `Flow`.

    Raises:
        ValueError: `x` is not a non-empty batch of events, `num_samples` is not a positive integer,
            `tolerance` is not above 0, `context` has another number of rows, or the flow has
            integer events or random layers.

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
    if events.has_noise:
        raise ValueError("`flow` must have real events; flows of integers have noise in each pass.")
    if np.ndim(x) != 1 + len(events.shape) or np.shape(x)[0] == 0:
        raise ValueError(f"`x` must be a non-empty batch of events; got {np.shape(x)=}.")
    if context is not None and np.shape(context)[:-1] != np.shape(x)[:1]:
        raise ValueError(
            f"`context` must have a row for each event; got {np.shape(context)=} for events "
            f"of shape {np.shape(x)}."
        )
    x = jnp.asarray(x)
    sample_shape, y_context = (num_samples,), context
    if context is not None:
        chosen = np.arange(num_samples) * len(x) // num_samples
        sample_shape, y_context = (), jnp.asarray(context)[chosen]
    y, log_q = flow.sample_and_log_prob(
        params, as_key(key), sample_shape, y_context, batch_size=batch_size
    )
    possible = np.isfinite(flow.log_prob(params, x, context, batch_size=batch_size))
    trip = _round_trip(flow, params, x[possible], _rows(context, possible), batch_size)
    trip_of_samples = _round_trip(flow, params, y, y_context, batch_size)
    again = flow.log_prob(params, y, y_context, batch_size=batch_size)
    errors = {
        "round_trip": trip[0],
        "round_trip_of_samples": trip_of_samples[0],
        "log_det": float(np.maximum(trip[1], trip_of_samples[1])),  # NaN if one is
        "log_prob": _relative(again - log_q, log_q),
    }
    problems = [
        f"`{name}` is {error:.2g}, above the tolerance of {tolerance:.2g}: layers are steep there. "
        "Bound their scales, standardise the data, or use float64."
        for name, error in errors.items()
        if not error <= tolerance
    ]
    if not possible.all():
        problems.append(
            f"{(~possible).sum()} of {len(x)} events have no finite log-density: they lie outside "
            "of the support, or a layer overflows; `flow.trace` shows where."
        )
    outside, at_ends, more = _compare_ranges(np.asarray(x), np.asarray(y))
    return Audit(
        **errors,
        impossible=float(1 - possible.mean()),
        outside=outside,
        at_ends=at_ends,
        problems=(*problems, *more),
    )


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


def _compare_ranges(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return `outside` and `at_ends` of data x and samples y, and the problems that they show."""
    low, high = y.min(axis=0), y.max(axis=0)
    outside = ((x < low) | (x > high)).mean(axis=0)
    at_ends = np.maximum((y == low).mean(axis=0), (y == high).mean(axis=0))
    at_ends = np.where(at_ends * len(y) > 1, at_ends, 0)
    problems = []
    if (outside > _plausible_share(len(x), len(y))).any():
        entry = np.unravel_index(np.argmax(outside), outside.shape)
        problems.append(
            f"{round(outside[entry] * len(x))} of {len(x)} events lie beyond all samples in "
            f"{_name(entry)}, which end at {low[entry]:.4g} and {high[entry]:.4g}. Let the flow "
            "reach beyond the interval of its splines, by `families.chain(families.affine(), "
            "families.spline())`, a wider range, or `standardize=True`; or choose another support."
        )
    if (at_ends > _FEW).any():
        entry = np.unravel_index(np.argmax(at_ends), at_ends.shape)
        problems.append(
            f"{at_ends[entry]:.2%} of the samples have the value of the outermost one in "
            f"{_name(entry)}: rounding moved them there. Transform the data, such as by their "
            "logarithm, or use float64."
        )
    return outside, at_ends, problems


def _name(entry: tuple) -> str:
    return f"x[{', '.join(str(int(i)) for i in entry)}]"


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
