"""What scalar bijectors with a numerical inverse share."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows._checks import check_float_array
from distrax_flows._numerics import find_root

__all__ = ["Curve", "check_params", "forward_with_tails", "inverse_with_tails", "spread"]

# From places [...] in an interval to the values there of an increasing function, and its slopes.
Curve = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


def check_params(params: Any) -> Float[Array, "... P"]:
    """Returns `params` as an array, or raises unless it is floating and float32 or wider."""
    params = check_float_array("params", params, min_ndim=1)
    if jnp.finfo(params.dtype).bits < 32:
        raise TypeError(
            "`params` must be float32 or wider, for a root is too coarse in "
            f"{params.dtype}; convert it with `params.astype(jnp.float32)`."
        )
    return params


def spread(params: Float[Array, "... P"], x: Any) -> tuple[jax.Array, jax.Array]:
    """Makes broadcasting explicit: x of full shape `[...]`, params with as many batch axes."""
    x = jnp.broadcast_to(x, jnp.broadcast_shapes(jnp.shape(x), params.shape[:-1]))
    return params.reshape((1,) * (x.ndim + 1 - params.ndim) + params.shape), x


def forward_with_tails(
    curve: Curve, x: Float[Array, "..."], low: float, high: float
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """The curve in [low, high], continued by its tangents; the value and the log-slope."""
    nearest = jnp.clip(x, low, high)
    y, slope = curve(nearest)
    return y + slope * (x - nearest), jnp.log(slope)


def inverse_with_tails(
    curve: Curve, y: Float[Array, "..."], low: float, high: float
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Inverts `forward_with_tails`: by a bracketed root inside, exactly on the tangents."""
    ends = jnp.full_like(y, low), jnp.full_like(y, high)
    nearest = jnp.clip(y, curve(ends[0])[0], curve(ends[1])[0])
    noise = 2 * float(jnp.finfo(nearest.dtype).eps) * max(abs(low), abs(high))
    x = find_root(lambda x: curve(x)[0] - nearest, *ends, noise)
    slope = curve(x)[1]
    return x + (y - nearest) / slope, -jnp.log(slope)
