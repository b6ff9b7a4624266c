"""Maps between the real line and a support within it."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.checks import check_finite, check_range, check_resolution
from distrax_flows._core.types import ArrayLike
from distrax_flows.bijectors._base import Bijector

__all__ = ["Exp", "Logit", "Sinh", "Softplus"]

_FAR = 1e9  # here asinh x is log 2x and x^2 does not overflow, in every dtype


class Exp(Bijector):
    """Map of the real line onto the positive half-line: `y = e^x`.

        log|dy/dx| = x,   x = log y

    In `inverse`, a value outside the support, y <= 0, has a log-det of -inf, a finite image and
    zero gradients, so a density built on it is exactly zero there. `forward` stays inside: far out
    (in float32 beyond x = -87 and 88) it returns about the smallest or largest number of its dtype.

    Elementwise; both directions are in closed form and cost the same.

    Example:
        >>> import jax.numpy as jnp
        >>> bijector = Exp()
        >>> print(bijector.inverse(jnp.array([0.01, 1.0, 100.0])).round(2))
        [-4.61  0.    4.61]
        >>> print(bijector.inverse_log_det_jacobian(jnp.array([-1.0, 100.0])).round(2))
        [ -inf -4.61]
    """

    def __init__(self):
        super().__init__(event_ndims_in=0)

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Compute the exponential, and the logarithm of its slope, which is x."""
        x = self._as_events(x)
        y = jnp.exp(jnp.minimum(x, _log_largest(x.dtype)))
        return jnp.maximum(y, jnp.finfo(x.dtype).tiny), x

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Compute the logarithm; the log-det is -inf where y is not positive."""
        y = self._as_events(y)
        outside = _is_zero_or_less(y)
        x = jnp.log(jnp.where(outside, 1, y))
        return x, jnp.where(outside, -jnp.inf, -x)


class Softplus(Bijector):
    """Map of the real line onto a half-line: `y = low + log(1 + e^x)`.

        log|dy/dx| = -log(1 + e^-x),   x = log(e^v - 1) = v + log(1 - e^-v),   v = y - low

    Stable in both directions up to 1e4 and beyond. In `inverse`, a value outside the support,
    y <= low, has a log-det of -inf, a finite image and zero gradients, so a density built on it is
    exactly zero there. `forward` stays inside: where softplus rounds to zero (in float32 below
    x = -87, if `low` is 0), it returns the next number above `low`, and never a subnormal one.

    Elementwise; both directions are in closed form and cost the same.

    Args:
        low: the end of the half-line.

    Raises:
        ValueError: `low` is not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> bijector = Softplus()
        >>> print(bijector.forward(jnp.array([-1e4, 0.0, 1e4])).round(4))
        [0.000e+00 6.931e-01 1.000e+04]
        >>> print(bijector.inverse_log_det_jacobian(jnp.array([-1.0, 1.0])).round(4))
        [  -inf 0.4587]
    """

    def __init__(self, low: float = 0.0):
        super().__init__(event_ndims_in=0)
        self._low = float(check_finite("low", low))

    @property
    def low(self) -> float:
        """The end of the half-line."""
        return self._low

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Compute the softplus, and the logarithm of its slope, the sigmoid."""
        x = self._as_events(x)
        # A sample that rounds to the end would leave the support of its own density.
        low, tiny = jnp.asarray(self._low, x.dtype), jnp.finfo(x.dtype).tiny
        least = jnp.maximum(jnp.nextafter(low, jnp.inf), low + tiny)
        return jnp.maximum(low + jax.nn.softplus(x), least), jax.nn.log_sigmoid(x)

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Compute `log(e^v - 1)`; the log-det is -inf where y is not above `low`."""
        v = self._as_events(y) - self._low
        outside = _is_zero_or_less(v)
        v = jnp.where(outside, 1, v)
        log_slope = jnp.log(-jnp.expm1(-v))
        return v + log_slope, jnp.where(outside, -jnp.inf, -log_slope)


class Sinh(Bijector):
    """Map of the real line onto itself that stretches both tails: `y = (e^x - e^-x) / 2`.

        log|dy/dx| = log cosh x,   x = asinh y = sign(y) log(|y| + sqrt(y^2 + 1))

    It is the identity near 0 and an exponential far out on either side, so `inverse` shortens the
    tails of data: what falls off like a power in y falls off exponentially in x. `forward` stays
    finite: far out (in float32 beyond x = -88 and 88) it returns about the largest number of its
    dtype.

    Elementwise; both directions are in closed form and cost the same.

    Example:
        >>> import jax.numpy as jnp
        >>> bijector = Sinh()
        >>> print(bijector.inverse(jnp.array([-1e6, 0.0, 1e30])).round(1))
        [-14.5   0.   69.8]
        >>> print(bijector.forward_log_det_jacobian(jnp.array([0.0, 100.0])).round(2))
        [ 0.   99.31]
    """

    def __init__(self):
        super().__init__(event_ndims_in=0)

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Compute the hyperbolic sine, and the logarithm of its slope, the hyperbolic cosine."""
        x = self._as_events(x)
        largest = _log_largest(x.dtype)
        return jnp.sinh(jnp.clip(x, -largest, largest)), _log_cosh(x)

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Compute the inverse hyperbolic sine."""
        y = self._as_events(y)
        is_far = jnp.abs(y) > _FAR
        far = jnp.where(is_far, y, _FAR)
        x = jnp.where(
            is_far,
            jnp.sign(far) * (jnp.log(jnp.abs(far)) + math.log(2)),
            jnp.arcsinh(jnp.where(is_far, 0, y)),
        )
        return x, -_log_cosh(x)


class Logit(Bijector):
    """Map of an open interval onto the real line: `y = log(x - low) - log(high - x)`.

        log|dy/dx| = log(high - low) - log(x - low) - log(high - x)

    The inverse is a scaled sigmoid, `x = low + (high - low) sigma(y)`. In `forward`, a value
    outside the support, x <= low or x >= high, has a log-det of -inf, a finite image and zero
    gradients, so a density built on it is exactly zero there. `inverse` stays inside: far out,
    where the sigmoid rounds to 0 or 1, it returns the number next to the end.

    Elementwise; both directions are in closed form and cost the same.

    Args:
        low: the lower end of the interval.
        high: the upper end.

    Raises:
        ValueError: `low` is not less than `high`, or one of them is not finite; or, when called,
            the dtype of the input is too coarse for the interval.

    Example:
        >>> import jax.numpy as jnp
        >>> bijector = Logit(low=0.0, high=10.0)
        >>> print(bijector.inverse(jnp.array([-1e4, 0.0, 1e4])))
        [1.1754944e-38 5.0000000e+00 9.9999990e+00]
        >>> print(bijector.forward_log_det_jacobian(jnp.array([5.0, 11.0])).round(4))
        [-0.9163    -inf]
    """

    def __init__(self, low: float = 0.0, high: float = 1.0):
        super().__init__(event_ndims_in=0)
        check_range("low", low, "high", high)
        self._low = float(low)
        self._high = float(high)

    @property
    def low(self) -> float:
        """The lower end of the interval."""
        return self._low

    @property
    def high(self) -> float:
        """The upper end of the interval."""
        return self._high

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Compute the logit; the log-det is -inf where x is not inside the interval."""
        x = self._as_events(x)
        check_resolution("[low, high]", self._low, self._high, x.dtype)
        outside = _is_zero_or_less(x - self._low) | _is_zero_or_less(self._high - x)
        x = jnp.where(outside, self._low + 0.5 * (self._high - self._low), x)
        above, below = jnp.log(x - self._low), jnp.log(self._high - x)
        log_det = math.log(self._high - self._low) - above - below
        return above - below, jnp.where(outside, -jnp.inf, log_det)

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Compute the scaled sigmoid and the logarithm of its slope."""
        y = self._as_events(y)
        check_resolution("[low, high]", self._low, self._high, y.dtype)
        size = self._high - self._low
        # Measured from the nearer end, so rounding never crosses either.
        x = jnp.where(
            y < 0,
            self._low + size * jax.nn.sigmoid(y),
            self._high - size * jax.nn.sigmoid(-y),
        )
        # A sample that rounds to an end would leave the support of its own density.
        low, high = (jnp.asarray(end, x.dtype) for end in (self._low, self._high))
        tiny = jnp.finfo(x.dtype).tiny
        least = jnp.maximum(jnp.nextafter(low, high), low + tiny)
        most = jnp.minimum(jnp.nextafter(high, low), high - tiny)
        log_det = math.log(size) + jax.nn.log_sigmoid(y) + jax.nn.log_sigmoid(-y)
        return jnp.clip(x, least, most), log_det


def _log_largest(dtype):
    # Far enough below the logarithm of the largest number that rounding does not overflow.
    info = jnp.finfo(dtype)
    return math.log(float(info.max)) * (1 - 2 * float(info.eps))


def _log_cosh(x):
    size = jnp.abs(x)
    return size + jnp.log1p(jnp.exp(-2 * size)) - math.log(2)


def _is_zero_or_less(x):
    # A subnormal number counts as zero: some machines flush it to zero, and 1 / x overflows.
    return x < jnp.finfo(x.dtype).tiny
