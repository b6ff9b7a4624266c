"""The checkerboard."""

import math

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from distrax_flows.densities._base import ToyDensity

__all__ = ["Checkerboard", "checkerboard"]


class Checkerboard(ToyDensity):
    """Uniform density on the eight squares [2i, 2i + 2) x [2j, 2j + 2), i + j even, of [-4, 4)^2.

    p(x) = 1/32 there, 0 elsewhere; H = log 32, exact. The gradient is 0 wherever it exists, and
    autodiff returns 0 everywhere.

    Reference: FFJORD's code, toy data.
    """

    def __init__(self, dtype: DTypeLike = jnp.float32):
        super().__init__("checkerboard", entropy=math.log(32), dtype=dtype)

    def _sample_n(self, key: Array, n: int) -> Float[Array, "n 2"]:
        key_1, key_2, key_half = jax.random.split(key, 3)
        u1 = jax.random.uniform(key_1, (n,), self._dtype, -2, 2)
        lower = 2 * jax.random.randint(key_half, (n,), -1, 1).astype(self._dtype)
        # Integers plus a 23-bit uniform are exact in float32, so no sample leaves its square.
        u2 = jax.random.uniform(key_2, (n,), self._dtype) + (lower + jnp.floor(u1) % 2)
        return 2 * jnp.stack((u1, u2), axis=-1)

    def _log_prob_n(self, x: Float[Array, "N 2"]) -> Float[Array, " N"]:
        inside = jnp.all((x >= -4) & (x < 4), axis=-1)
        dark = jnp.sum(jnp.floor(x / 2), axis=-1) % 2 == 0
        return jnp.where(inside & dark, jnp.full_like(x[:, 0], -math.log(32)), -jnp.inf)


def checkerboard(dtype: DTypeLike = jnp.float32) -> Checkerboard:
    """Return a `Checkerboard`."""
    return Checkerboard(dtype)
