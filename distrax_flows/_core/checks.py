"""Shape and value checks with one form of message: the rule, the value, the remedy."""

import math
from collections.abc import Sequence
from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np

__all__ = [
    "as_event_shape",
    "check_choice",
    "check_event_size",
    "check_finite",
    "check_float_array",
    "check_length",
    "check_non_negative_int",
    "check_positive",
    "check_positive_int",
    "check_range",
    "check_resolution",
    "check_scalar",
    "check_sizes",
]


def check_positive_int(name: str, value: Any) -> int:
    """Return `value` as an int; raise unless it is an integer of at least 1."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < 1:
        raise ValueError(f"`{name}` must be an integer of at least 1; got {name}={value!r}.")
    return int(value)


def check_non_negative_int(name: str, value: Any) -> int:
    """Return `value` as an int; raise unless it is an integer of at least 0."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < 0:
        raise ValueError(f"`{name}` must be an integer of at least 0; got {name}={value!r}.")
    return int(value)


def as_event_shape(event_shape: int | Sequence[int]) -> tuple[int, ...]:
    """Return the shape of an event, `(D,)` for an integer; raise unless sizes are at least 1."""
    if isinstance(event_shape, Sequence):
        return tuple(
            check_positive_int(f"event_shape[{i}]", size) for i, size in enumerate(event_shape)
        )
    return (check_positive_int("event_size", event_shape),)


def check_positive(name: str, value: float) -> float:
    """Return `value`; raise unless it is a finite number above 0."""
    if not 0.0 < value < float("inf"):
        raise ValueError(f"`{name}` must be a finite number above 0; got {name}={value!r}.")
    return value


def check_finite(name: str, value: float) -> float:
    """Return `value`; raise unless it is a finite number."""
    if not -float("inf") < value < float("inf"):
        raise ValueError(f"`{name}` must be a finite number; got {name}={value!r}.")
    return value


def check_sizes(name: str, value: Sequence[int]) -> tuple[int, ...]:
    """Return `value` as a tuple of ints; raise unless it holds at least one size."""
    if isinstance(value, int) or len(value) == 0:
        raise ValueError(
            f"`{name}` must be a non-empty sequence of layer sizes, such as (64, 64); "
            f"got {name}={value!r}."
        )
    return tuple(check_positive_int(f"{name}[{i}]", size) for i, size in enumerate(value))


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Raise unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {list(choices)}; got {name}={value!r}.")


def check_length(name: str, value: Sequence | None, length: int) -> None:
    """Raise unless `value` is None or has `length` entries."""
    if value is not None and len(value) != length:
        raise ValueError(f"`{name}` must have {length} entries; got {name}={value!r}.")


def check_float_array(name: str, value: Any, min_ndim: int = 0) -> jax.Array:
    """Return `value` as a floating array of at least `min_ndim` axes; raise otherwise."""
    array = jnp.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"`{name}` must be a floating-point array; got dtype {array.dtype}. "
            f"Convert it, for example with `{name}.astype(jnp.float32)`."
        )
    if array.ndim < min_ndim:
        raise ValueError(
            f"`{name}` must have at least {min_ndim} axes; got {name}.shape={array.shape}."
        )
    return array


def check_range(low_name: str, low: float, high_name: str, high: float) -> None:
    """Raise unless `low < high`, both finite."""
    if not -float("inf") < low < high < float("inf"):
        raise ValueError(
            f"`{low_name}` must be less than `{high_name}`, both finite; got {low_name}={low!r}, "
            f"{high_name}={high!r}."
        )


# The fewest values in an interval, about as many as a fine histogram has bins. With fewer, a
# density of such values means nothing.
_MIN_STEPS = 1000


def check_resolution(name: str, low: float, high: float, dtype: Any) -> None:
    """Raise unless the interval holds enough values of the dtype.

    Args:
        name: name of the interval, such as "[low, high]".
        low: the lower end.
        high: the upper end.
        dtype: dtype of the values in the interval.
    """
    info = jnp.finfo(dtype)
    # Subnormal numbers don't count: XLA flushes them to zero.
    largest = max(abs(low), abs(high), float(info.tiny) / float(info.eps))
    step = float(info.eps) * 2.0 ** (math.frexp(largest)[1] - 1)
    if not _MIN_STEPS * step <= high - low <= float(info.max):
        raise ValueError(
            f"`{name}` must be an interval of at least {_MIN_STEPS} steps of its dtype; got "
            f"[{low}, {high}] in {np.dtype(dtype)}, whose values lie {step:.2g} apart there. "
            "Subtract an offset, so that the interval lies near 0, or use float64."
        )


def check_scalar(name: str, bijector: distrax.Bijector) -> distrax.Bijector:
    """Return what the function `name` returned; raise unless it is a scalar bijector."""
    if bijector.event_ndims_in != 0 or bijector.event_ndims_out != 0:
        raise ValueError(
            f"`{name}` must return a scalar bijector, one with event_ndims_in == 0; got "
            f"{bijector.name} with event_ndims_in={bijector.event_ndims_in}."
        )
    return bijector


def check_event_size(x: jax.Array, size: int) -> None:
    """Raise unless the last axis of `x` has the size of the bijector's events."""
    if x.shape[-1] != size:
        raise ValueError(
            f"The event must have size {size}, the bijector's; got an event of size {x.shape[-1]}."
        )
