"""What scalar bijectors with a numerical inverse share."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows._checks import check_float_array
from distrax_flows._roots import find_root

__all__ = ["Curve", "check_params", "forward_with_tails", "inverse_with_tails", "spread"]

# From places [...] in an interval to the values there of an increasing function, and its slopes.
Curve = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


def check_params(params: Any) -> Float[Array, "... P"]:
    """Returns `params` as an array, or raises unless it is floating and float32 or wider."""
    params = check_float_array("params", params, min_ndim=1)
    if jnp.finfo(params.dtype).bits < 32:
        raise TypeError(
            "`params` must be float32 or wider, for the inverse is too coarse in "
            f"{params.dtype}; convert it with `params.astype(jnp.float32)`."
        )
    return params


def spread(params: Float[Array, "... P"], x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Makes broadcasting explicit: x of full shape `[...]`, params with as many batch axes."""
    try:
        shape = jnp.broadcast_shapes(x.shape, params.shape[:-1])
    except ValueError:
        raise ValueError(
            "`params` must hold one row of parameters per scalar: all its axes but the last must "
            f"broadcast against the input; got params.shape={params.shape} and an input of shape "
            f"{x.shape}. For events of size D it is [..., D, {params.shape[-1]}]; "
            "`params[..., None, :]` shares one row among all D dimensions."
        ) from None
    params = params.reshape((1,) * (len(shape) + 1 - params.ndim) + params.shape)
    return params, jnp.broadcast_to(x, shape)


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
