"""Supports of one dimension: where a flow has density.

    flows.maf(3, support=[supports.real(), supports.positive(), supports.interval(0.0, 1.0)])

| | |
|-|-|
| `real` | the real line |
| `positive` | `(0, inf)`, values near 1 |
| `log_scale` | `(0, inf)`, values that span orders of magnitude |
| `above`, `below` | `(low, inf)`, `(-inf, high)` |
| `interval` | between two ends |
| `circle` | an angle, a time of day |
| `integer` | counts, and levels between two ends |
| `asinh_scale` | another support, with heavy tails |

The last layer of a builder of `distrax_flows.flows`, seen from the base, maps the real line onto
the support. Its log-det is counted, and the density is exactly zero outside. Only the circle is not
an image of the line; `flows` describes how its dimensions are treated.
"""

import abc
import dataclasses
import math
from collections.abc import Sequence

import distrax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows._core.checks import check_finite, check_positive, check_range, check_resolution
from distrax_flows._core.types import Shape
from distrax_flows.bijectors.columns import Columns
from distrax_flows.bijectors.support import Exp, Logit, Sinh, Softplus

__all__ = [
    "Support",
    "above",
    "asinh_scale",
    "below",
    "circle",
    "integer",
    "interval",
    "log_scale",
    "positive",
    "real",
]


class Support(abc.ABC):
    """Support of one dimension; abstract.

    Use the functions of this module, or subclass it as a frozen dataclass:

        @dataclasses.dataclass(frozen=True)
        class Percentage(supports.Support):
            low = 0.0
            high = 100.0

            def bijector(self):
                return distrax.Inverse(distrax_flows.Logit(self.low, self.high))

    Attributes:
        low: the lower end.
        high: the upper end.
        is_integer: whether events are integers, which the flow spreads over unit intervals.
    """

    low: float = -math.inf
    high: float = math.inf
    is_integer: bool = False

    @abc.abstractmethod
    def bijector(self) -> distrax.Bijector | None:
        """Scalar map from the real line onto the support; None for the identity.

        The log-det of its inverse must be -inf outside the support.
        """


def real() -> Support:
    """Return the real line."""
    return Real()


def positive() -> Support:
    """Return `(0, inf)`, the image of the real line under softplus.

    Rescale the data to typical values near 1: softplus is an exponential far below and the identity
    far above. For data that span orders of magnitude, `log_scale` is better.
    """
    return Positive()


def log_scale() -> Support:
    """Return `(0, inf)`, the image of the real line under the exponential.

    For positive data that span orders of magnitude, such as incomes, masses and concentrations. The
    flow sees their logarithms.
    """
    return LogScale()


def above(low: float) -> Support:
    """Return `(low, inf)`, the image of the real line under `low + softplus`.

    Rescale the data to typical distances from `low` near 1, as for `positive`. If `low` is far from
    0, dtypes have few numbers next to it: subtract an offset.

    Args:
        low: the lower end.

    Raises:
        ValueError: `low` is not finite.
    """
    return Above(float(check_finite("low", low)))


def below(high: float) -> Support:
    """Return `(-inf, high)`, the image of the real line under a mirrored softplus.

    Rescale the data to typical distances from `high` near 1, as for `positive`. If `high` is far
    from 0, dtypes have few numbers next to it: subtract an offset.

    Args:
        high: the upper end.

    Raises:
        ValueError: `high` is not finite.
    """
    return Below(float(check_finite("high", high)))


def interval(low: float, high: float) -> Support:
    """Return `(low, high)`, the image of the real line under a scaled sigmoid.

    A value within rounding of an end is far out on the line. Move data that reach the ends, such as
    pixels, inside first: `low + (high - low) * (alpha + (1 - 2 alpha) x)`.

    Args:
        low: the lower end.
        high: the upper end.

    Raises:
        ValueError: `low` is not less than `high`, or one is not finite; or, in a flow, the dtype of
            the data has too few values between them, as float32 has from 1e8 to 1e8 + 1.
    """
    check_range("low", low, "high", high)
    return Interval(float(low), float(high))


def circle(low: float = -math.pi, high: float = math.pi) -> Support:
    """Return `[low, high)` with its ends joined: an angle, a time of day.

    The density is continuous across the cut. Data may contain either end, as they are one point:
    hour 24 is hour 0. Samples are below `high`.

    Args:
        low: point at which the circle is cut.
        high: the same point, one turn later.

    Raises:
        ValueError: `low` is not less than `high`, or one is not finite; or, in a flow, the dtype of
            the data has too few values between them, as float32 has from 1e8 to 1e8 + 1.
    """
    check_range("low", low, "high", high)
    return Circle(float(low), float(high))


def integer(low: int | None = None, high: int | None = None) -> Support:
    """Return the integers from `low` to `high`, both included; None means no bound.

    The flow sees `k + u`, with uniform noise u in (0, 1), on `(low, high + 1)`: `log_prob` needs a
    `key`, and is a sample of a lower bound of the log-probability of k, times the density of the
    other dimensions. Samples are integers, as floats. Beyond 2e6, float32 has too few numbers
    between integers for noise, and the density is zero: use float64, or `real`. If all dimensions
    are integers, the flow takes integer arrays; `diagnostics.likelihood_bounds` averages over
    noise. For images, see `flows.dequantized`.

    Args:
        low: the smallest integer, or None.
        high: the largest integer, or None.

    Raises:
        ValueError: `low` is greater than `high`, or one is not an integer.

    Example:
        >>> import distrax_flows as dxf, jax.numpy as jnp
        >>> from distrax_flows import supports
        >>> make = lambda: dxf.flows.maf(2, support=[supports.integer(0), supports.real()])
        >>> flow = dxf.transform(make)
        >>> x = jnp.array([[3.0, -0.2], [0.0, 1.7], [2.5, 0.1]])
        >>> log_prob = flow.log_prob(flow.init(0, x), x, key=1)
        >>> print(jnp.isfinite(log_prob))  # 2.5 is no integer
        [ True  True False]
    """
    for name, end in (("low", low), ("high", high)):
        if end is not None and (not math.isfinite(end) or end != int(end)):
            raise ValueError(f"`{name}` must be an integer, or None; got {name}={end}.")
    if low is not None and high is not None and low > high:
        raise ValueError(f"`low` must be at most `high`; got {low=} and {high=}.")
    return Integer(-math.inf if low is None else int(low), math.inf if high is None else int(high))


def asinh_scale(support: Support | None = None, *, loc: float = 0.0, scale: float = 1.0) -> Support:
    """Return a support whose tails are shortened for the flow.

    The line is stretched by `x -> loc + scale sinh(x)` before it is mapped onto the support: linear
    near `loc`, exponential far out. For data with heavy tails, such as returns and residuals, and
    for counts that span orders of magnitude, `asinh_scale(integer(0))`: the flow sees roughly the
    sign and logarithm of values far out. Without it, a linear map of the flow adds the far values
    of one dimension to others, and samples of those explode.

    Args:
        support: the support, any but the circle; None for the real line.
        loc: location of the bulk of the data, on the line.
        scale: distance from `loc` at which tails begin.

    Raises:
        TypeError: `support` is not a support.
        ValueError: `support` is a circle, `loc` is not finite, or `scale` is not positive.

    Example:
        >>> import distrax_flows as dxf, numpy as np
        >>> from distrax_flows import supports
        >>> x = np.random.default_rng(0).standard_cauchy((500, 1)).astype(np.float32)
        >>> make = lambda: dxf.flows.nsf_coupling(1, support=supports.asinh_scale())
        >>> flow = dxf.transform(make)
        >>> z = flow.inverse(flow.init(0, x), x)[0]
        >>> print(f"{abs(x).max():.0f} {abs(z).max():.1f}")
        1015 7.6
    """
    support = real() if support is None else support
    if not isinstance(support, Support):
        raise TypeError(f"`support` must be a support such as `supports.real()`; got {support!r}.")
    if isinstance(support, Circle):
        raise ValueError(f"`support` must be no circle, which has no tails; got {support}.")
    check_finite("loc", loc)
    check_positive("scale", scale)
    ends = support.low, support.high
    return AsinhScale(support, float(loc), float(scale), *ends, support.is_integer)


@dataclasses.dataclass(frozen=True)
class Real(Support):
    """The real line."""

    def bijector(self) -> None:
        """The identity."""
        return None


@dataclasses.dataclass(frozen=True)
class Positive(Support):
    """The positive half-line."""

    low: float = 0.0

    def bijector(self) -> distrax.Bijector:
        """The softplus."""
        return Softplus()


@dataclasses.dataclass(frozen=True)
class LogScale(Support):
    """The positive half-line, seen through the logarithm."""

    low: float = 0.0

    def bijector(self) -> distrax.Bijector:
        """The exponential."""
        return Exp()


@dataclasses.dataclass(frozen=True)
class Above(Support):
    """A half-line that begins at a number."""

    low: float

    def bijector(self) -> distrax.Bijector:
        """A shifted softplus."""
        return Softplus(self.low)


@dataclasses.dataclass(frozen=True)
class Below(Support):
    """A half-line that ends at a number."""

    high: float

    def bijector(self) -> distrax.Bijector:
        """The map `high - softplus(-x)`."""
        mirror = distrax.ScalarAffine(shift=0.0, scale=-1.0)
        return distrax.Chain([mirror, Softplus(-self.high), mirror])


@dataclasses.dataclass(frozen=True)
class Interval(Support):
    """An open interval."""

    low: float
    high: float

    def bijector(self) -> distrax.Bijector:
        """A scaled sigmoid."""
        return distrax.Inverse(Logit(self.low, self.high))


@dataclasses.dataclass(frozen=True)
class Circle(Support):
    """The circle. It is not an image of the line: its bijector starts from `[-pi, pi)`."""

    low: float
    high: float

    def bijector(self) -> distrax.Bijector:
        """Map from `[-pi, pi)` onto `[low, high)`."""
        return _OntoCircle(self.low, self.high)


@dataclasses.dataclass(frozen=True)
class Integer(Support):
    """Integers; its bijector maps onto an interval, which the flow rounds."""

    low: float
    high: float
    is_integer = True

    def bijector(self) -> distrax.Bijector | None:
        """Map from the real line onto `(low, high + 1)`."""
        if math.isfinite(self.low) and math.isfinite(self.high):
            return Interval(self.low, self.high + 1).bijector()
        if math.isfinite(self.low):
            return Above(self.low).bijector()
        return Below(self.high + 1).bijector() if math.isfinite(self.high) else None


@dataclasses.dataclass(frozen=True)
class AsinhScale(Support):
    """A support, seen through the inverse hyperbolic sine."""

    support: Support
    loc: float
    scale: float
    low: float
    high: float
    is_integer: bool

    def bijector(self) -> distrax.Bijector:
        """The map onto the support after a hyperbolic sine."""
        bijector, scaled = self.support.bijector(), distrax.ScalarAffine(self.loc, self.scale)
        return distrax.Chain([scaled, Sinh()] if bijector is None else [bijector, scaled, Sinh()])


def as_supports(
    support: Support | Sequence[Support] | None, event_shape: Shape
) -> tuple[Support, ...]:
    """Return one support per dimension of a vector; for other events, one for all entries.

    None means real. A single support applies to all dimensions.

    Raises:
        TypeError: an entry is not a `Support`.
        ValueError: the number of entries is not the event size; or events are not vectors, and
            `support` has several entries or the circle.
    """
    if support is None:
        support = real()
    event_size = event_shape[0] if len(event_shape) == 1 else 1
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
    if len(event_shape) != 1 and isinstance(per_dimension[0], Circle):
        raise ValueError(
            "`support` must be no circle unless events are vectors; got events of shape "
            f"{event_shape}."
        )
    return per_dimension


def onto(supports: Sequence[Support], event_ndims: int) -> distrax.Bijector:
    """Return the bijector from the real line onto the supports of `as_supports`."""
    bijectors = {support: support.bijector() for support in set(supports)}
    if event_ndims == 1:
        return Columns([bijectors[support] for support in supports])
    (bijector,) = bijectors.values()
    return distrax.Block(bijector, event_ndims)


class _OntoCircle(distrax.Bijector):
    """Map from `[-pi, pi)`, which all circles use internally, onto `[low, high)`.

    In the inverse, `high` counts as `low`. Outside, the log-det is -inf: a density of zero.
    """

    def __init__(self, low: float, high: float):
        super().__init__(event_ndims_in=0)
        self._low = low
        self._high = high
        self._scale = (high - low) / (2 * math.pi)

    def forward_and_log_det(self, x: Float[Array, "..."]):
        check_resolution("[low, high]", self._low, self._high, x.dtype)
        y = self._low + self._scale * (x + math.pi)
        # Rounding must not move a sample across the cut.
        last = jnp.nextafter(jnp.asarray(self._high, y.dtype), jnp.asarray(self._low, y.dtype))
        return jnp.clip(y, self._low, last), jnp.full_like(y, math.log(self._scale))

    def inverse_and_log_det(self, y: Float[Array, "..."]):
        check_resolution("[low, high]", self._low, self._high, y.dtype)
        outside = (y < self._low) | (y > self._high)
        x = (jnp.where(outside | (y == self._high), self._low, y) - self._low) / self._scale
        x = x - math.pi
        return x, jnp.where(outside, -jnp.inf, -math.log(self._scale)).astype(y.dtype)
