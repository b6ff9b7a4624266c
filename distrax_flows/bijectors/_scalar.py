"""Helpers shared by scalar bijectors with a numerical inverse."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows._core.checks import check_float_array
from distrax_flows._core.roots import find_root

__all__ = ["Curve", "check_params", "forward_with_tails", "inverse_with_tails", "spread"]

# An increasing function on an interval: from points [...] to its values and slopes there.
Curve = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


def check_params(params: Any) -> Float[Array, "... P"]:
    """Return `params` as an array; raise unless it is floating, float32 or wider."""
    params = check_float_array("params", params, min_ndim=1)
    if jnp.finfo(params.dtype).bits < 32:
        raise TypeError(
            "`params` must be float32 or wider, for the inverse is too coarse in "
            f"{params.dtype}; convert it with `params.astype(jnp.float32)`."
        )
    return params


def spread(params: Float[Array, "... P"], x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Broadcast explicitly: x to the full shape `[...]`, params to as many batch axes."""
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
    """Return value and log-slope of the curve in [low, high], continued by its tangents."""
    nearest = jnp.clip(x, low, high)
    y, slope = curve(nearest)
    return y + slope * (x - nearest), jnp.log(slope)


def inverse_with_tails(
    curve: Curve, y: Float[Array, "..."], low: float, high: float
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Invert `forward_with_tails`: with a root finder inside, exactly on the tangents."""
    ends = jnp.full_like(y, low), jnp.full_like(y, high)
    nearest = jnp.clip(y, curve(ends[0])[0], curve(ends[1])[0])
    noise = 2 * float(jnp.finfo(nearest.dtype).eps) * max(abs(low), abs(high))
    x = find_root(lambda x: curve(x)[0] - nearest, *ends, noise)
    slope = curve(x)[1]
    return x + (y - nearest) / slope, -jnp.log(slope)
