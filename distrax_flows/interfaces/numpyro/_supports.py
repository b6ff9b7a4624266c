"""Events and supports of flows, as NumPyro sees them."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

from numpyro.distributions import constraints

from distrax_flows.functional._events import Events
from distrax_flows.functional.flow import Flow, events_of
from distrax_flows.supports import Circle, Support, circle, real

__all__ = ["base_constraint", "constraint", "continuous_events"]


def continuous_events(flow: Flow, context: Any) -> Events:
    """Return what is known of a flow's events, or raise unless NumPyro can use it."""
    if not isinstance(flow, Flow):
        raise TypeError(
            "`flow` must be a flow without state, of `transform`, or the `evaluation` of one with "
            f"state; got {type(flow).__name__}."
        )
    events = events_of(flow, context)
    if events.has_noise:
        raise ValueError(
            "`flow` must have continuous events; got a flow of integers. NumPyro would need its "
            "exact probabilities, which dequantisation only bounds."
        )
    return events


def constraint(events: Events) -> constraints.Constraint:
    """Return the constraint of events of the data."""
    return _constraint(events.supports, len(events.shape))


def base_constraint(events: Events) -> constraints.Constraint:
    """Return the constraint of events of the base, if it has density everywhere on lines."""
    circles = [circle() for support in events.supports if isinstance(support, Circle)]
    # Dimensions on lines come first, then those on circles.
    lines = [real()] * (len(events.supports) - len(circles))
    return _constraint(lines + circles, len(events.base_shape))


def _constraint(supports: Sequence[Support], event_ndims: int) -> constraints.Constraint:
    """Return the constraint of events with those supports; without any, the whole space."""
    runs = [(key, len(list(run))) for key, run in itertools.groupby(supports or [real()])]
    parts = [_of_scalar(support) for support, _ in runs]
    scalar = constraints.cat(parts, -1, [n for _, n in runs]) if len(parts) > 1 else parts[0]
    return constraints.independent(scalar, event_ndims) if event_ndims else scalar


def _of_scalar(support: Support) -> constraints.Constraint:
    low, high = support.low, support.high
    if math.isfinite(low) and math.isfinite(high):
        return constraints.interval(low, high)
    if math.isfinite(low):
        return constraints.greater_than(low)
    return constraints.less_than(high) if math.isfinite(high) else constraints.real
