"""Supports of one dimension: where a flow's density lives.

    flows.maf(3, support=[supports.real(), supports.positive(), supports.interval(0.0, 1.0)])

The builders of `distrax_flows.flows` map the real line onto the support by the last layer, seen
from the base; its log-det is counted, and the density is exactly zero outside. Only the circle is
not an image of the line: `flows` says how its dimensions are treated.
"""

import dataclasses
import math
from collections.abc import Sequence

import distrax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows._checks import check_range, check_resolution
from distrax_flows.bijectors.columns import Columns
from distrax_flows.bijectors.support import Logit, Softplus

__all__ = ["Support", "circle", "interval", "positive", "real"]


@dataclasses.dataclass(frozen=True)
class Support:
    """Where one dimension lives; made by the functions of this module.

    Attributes:
        kind: "real", "positive", "interval" or "circle".
        low: the lower end.
        high: the upper end.
    """

    kind: str
    low: float = -math.inf
    high: float = math.inf


def real() -> Support:
    """The real line."""
    return Support("real")


def positive() -> Support:
    """`(0, inf)`, the image of the real line under softplus.

    Bring the data to about unit scale: far below it softplus is an exponential, far above it the
    identity.
    """
    return Support("positive", low=0.0)


def interval(low: float, high: float) -> Support:
    """`(low, high)`, the image of the real line under a scaled sigmoid.

    A value within rounding of an end is far out on the line. Data that hit the ends, such as
    pixels, should be moved inside first: `low + (high - low) * (alpha + (1 - 2 alpha) x)`.

    Raises:
        ValueError: `low` is not less than `high`, or one is not finite; or, in a flow, the dtype of
            the data has too few values between them, as float32 has from 1e8 to 1e8 + 1.
    """
    check_range("low", low, "high", high)
    return Support("interval", float(low), float(high))


def circle(low: float = -math.pi, high: float = math.pi) -> Support:
    """`[low, high)` with its ends glued together: an angle, a time of day.

    The density is continuous across the cut. Data may hold either end, for they are one point:
    hour 24 is hour 0. Samples are below `high`.

    Raises:
        ValueError: `low` is not less than `high`, or one is not finite; or, in a flow, the dtype of
            the data has too few values between them, as float32 has from 1e8 to 1e8 + 1.
    """
    check_range("low", low, "high", high)
    return Support("circle", float(low), float(high))


def as_supports(
    support: Support | Sequence[Support] | None, event_size: int
) -> tuple[Support, ...]:
    """One support per dimension: None means real, a single one is that of all dimensions.

    Raises:
        TypeError: an entry is not a `Support`.
        ValueError: the number of entries is not `event_size`.
    """
    if support is None:
        support = real()
    per_dimension = (support,) * event_size if isinstance(support, Support) else tuple(support)
    for entry in per_dimension:
        if not isinstance(entry, Support):
            raise TypeError(
                "`support` must be a support such as `supports.positive()`, or a sequence of them; "
                f"got {entry!r}."
            )
    if len(per_dimension) != event_size:
        raise ValueError(
            f"`support` must have an entry per dimension, {event_size}; got {len(per_dimension)}."
        )
    return per_dimension


def onto(supports: Sequence[Support]) -> distrax.Bijector:
    """From the real line onto the support, dimension by dimension; the identity on circles."""
    bijectors = {support: _BIJECTORS[support.kind](support) for support in set(supports)}
    return Columns([bijectors[support] for support in supports])


class _Circle(distrax.Bijector):
    """From `[-pi, pi)`, on which all circles are treated, onto `[low, high)`.

    In the inverse, `high` counts as `low`. Outside, its log-det is -inf: a density of zero.
    """

    def __init__(self, low: float, high: float):
        super().__init__(event_ndims_in=0)
        self._low = low
        self._high = high
        self._scale = (high - low) / (2 * math.pi)

    def forward_and_log_det(self, x: Float[Array, "..."]):
        check_resolution("[low, high]", self._low, self._high, x.dtype)
        y = self._low + self._scale * (x + math.pi)
        # Rounding must not carry a sample across the cut.
        last = jnp.nextafter(jnp.asarray(self._high, y.dtype), jnp.asarray(self._low, y.dtype))
        return jnp.clip(y, self._low, last), jnp.full_like(y, math.log(self._scale))

    def inverse_and_log_det(self, y: Float[Array, "..."]):
        check_resolution("[low, high]", self._low, self._high, y.dtype)
        outside = (y < self._low) | (y > self._high)
        x = (jnp.where(outside | (y == self._high), self._low, y) - self._low) / self._scale
        x = x - math.pi
        return x, jnp.where(outside, -jnp.inf, -math.log(self._scale)).astype(y.dtype)


_BIJECTORS = {
    "real": lambda _: None,
    "positive": lambda _: Softplus(),
    "interval": lambda support: distrax.Inverse(Logit(support.low, support.high)),
    "circle": lambda support: _Circle(support.low, support.high),
}
