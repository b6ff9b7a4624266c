"""Uniform base on a box."""

from collections.abc import Sequence

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.checks import check_positive_int, check_resolution
from distrax_flows._core.numerics import align
from distrax_flows._core.types import ArrayLike
from distrax_flows.bases._of_vectors import OfVectors

__all__ = ["uniform"]


def uniform(
    event_size: int,
    low: float | Sequence[float] | np.ndarray = 0.0,
    high: float | Sequence[float] | np.ndarray = 1.0,
) -> distrax.Distribution:
    """Return a uniform distribution on a box; it has no parameters.

    Caution: outside the box the log-density is -inf and its gradient zero, so a flow cannot learn
    its way back. The flow must map the box onto itself, and the data must lie in it. Use splines
    that are the identity outside the box in all layers, as below, and no `standardize`.

    The box is widened on each side by 1e-5 of its larger end, so that rounding never costs a point
    its density.

    Args:
        event_size: number of dimensions, D.
        low: lower ends, a number for all dimensions or `[D]`.
        high: upper ends, a number for all dimensions or `[D]`.

    Raises:
        ValueError: `event_size` is not a positive integer, an end has another shape or is not
            finite, or `low` is not less than `high`; or, in a flow, the dtype of the data has too
            few values between them.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> family = dxf.families.spline(8, 0.0, 1.0, "identity")
        >>> flow = dxf.transform(
        ...     lambda: dxf.flows.coupling(2, family, base=dxf.bases.uniform(2, 0.0, 1.0)))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 2)))
        >>> print(flow.log_prob(params, jnp.array([[0.5, 1.0], [0.5, 1.1]])))
        [  0. -inf]
    """
    event_size = check_positive_int("event_size", event_size)
    low, high = _ends("low", low, event_size), _ends("high", high, event_size)
    if not np.all(low < high):
        raise ValueError(
            f"`low` must be less than `high` in every dimension; got low={low.tolist()}, "
            f"high={high.tolist()}."
        )
    return _Uniform(tuple(low.tolist()), tuple(high.tolist()))


def _ends(name: str, value: float | Sequence[float] | np.ndarray, event_size: int) -> np.ndarray:
    ends = np.asarray(value, np.float64)
    if ends.shape not in ((), (event_size,)) or not np.all(np.isfinite(ends)):
        raise ValueError(
            f"`{name}` must be a finite number, or {event_size} of them; got {name}={value!r}."
        )
    return np.broadcast_to(ends, (event_size,))


class _Uniform(OfVectors):
    """Uniform on a box with static ends, exact in any precision."""

    def __init__(self, low: tuple[float, ...], high: tuple[float, ...]):
        super().__init__(len(low))
        self._low = low
        self._high = high
        # Its dtype is that of samples. It is a leaf, so it is widened along with parameters.
        self._zero = jnp.zeros((), jnp.float32)

    def log_prob(self, value: Shaped[ArrayLike, "... D"]) -> Float[Array, "..."]:
        for ends in zip(self._low, self._high, strict=True):
            check_resolution("[low, high]", *ends, value.dtype)
        low, high = np.array(self._low), np.array(self._high)
        slack = 1e-5 * np.maximum(np.abs(low), np.abs(high))
        value, lowest, highest = align(
            value, jnp.asarray(low - slack, value.dtype), jnp.asarray(high + slack, value.dtype)
        )
        inside = jnp.all((lowest <= value) & (value <= highest), axis=-1)
        return jnp.where(inside, -np.sum(np.log(high - low)), -jnp.inf).astype(value.dtype)

    def _sample_n(self, key: jax.Array, n: int) -> Float[Array, "n D"]:
        dtype = self._zero.dtype
        low, high = (jnp.asarray(end, dtype)[None] for end in (self._low, self._high))
        return jax.random.uniform(key, (n, self._event_size), dtype, low, high)
