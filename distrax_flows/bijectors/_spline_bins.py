"""Bins of the rational-quadratic spline: the search for a bin, and the map within it."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from distrax_flows._core.numerics import keep, vary_like

__all__ = ["Bin", "bin_shares", "find_bin", "take"]


class Bin(NamedTuple):
    """A bin: lower left corner, size, and end slopes relative to its mean slope."""

    x: jax.Array
    width: jax.Array
    y: jax.Array
    height: jax.Array
    slope_0: jax.Array
    slope_1: jax.Array

    def value(self, z: jax.Array) -> jax.Array:
        """Return the height at position z; both are fractions of the bin."""
        inner = z * (1 - z)
        return (z * z + self.slope_0 * inner) / (1 + (self.slope_0 + self.slope_1 - 2) * inner)

    def slope(self, z: jax.Array) -> jax.Array:
        """Return the slope at position z."""
        inner = z * (1 - z)
        q = 1 + (self.slope_0 + self.slope_1 - 2) * inner
        numerator = self.slope_1 * z * z + 2 * inner + self.slope_0 * (1 - z) * (1 - z)
        return self.height / self.width * numerator / (q * q)

    def solve(self, value: jax.Array) -> jax.Array:
        """Return the position z at which `value` is reached: the root in [0, 1] of a quadratic.

        (1 - b) z^2 + b z - value = 0. The discriminant is written as a sum of squares, so it is
        positive. Each sign of b uses the form of the root that has no cancellation there.
        """
        b = self.slope_0 - (self.slope_0 + self.slope_1 - 2) * value
        root = jnp.sqrt((b - 2 * value) ** 2 + 4 * value * (1 - value))
        positive = b >= 0
        numerator = jnp.where(positive, 2 * value, root - b)
        return numerator / jnp.where(positive, b + root, 2 * (1 - b))


# The bin search decides the speed of the spline. This form was the fastest of a dozen on a CPU:
# - Sums over all bins are products with a constant, and maxima are reductions. Both run at memory
#   speed and their results are stored. XLA would recompute a sum of slices, with its inputs, in
#   each kernel that needs it.
# - The values at one bin are gathered, not multiplied by a one-hot vector. Their derivative is
#   dense, because the transpose of a gather is a scatter.
# - Divisions come last: XLA recomputes any cheaper expression for each of the K outputs of a
#   broadcast.


def _last_axis(values: jax.Array, ndim: int) -> jax.Array:
    """Reshape [K] to [1, ..., 1, K]."""
    return values.reshape((1,) * (ndim - 1) + values.shape)


def _exp(logits: Float[Array, "... K"]) -> Float[Array, "... K"]:
    """Return the exponentials of the logits, up to a common factor."""
    return jnp.exp(logits - jax.lax.stop_gradient(logits).max(-1, keepdims=True))


def _exp_and_total(logits: Float[Array, "... K"]):
    """Return the exponentials of the logits and their sum: a softmax in two parts."""
    exp = _exp(logits)
    return exp, jnp.matmul(exp, jnp.ones(exp.shape[-1], exp.dtype), precision="highest")


def find_bin(
    logits: Float[Array, "... K"], share: Float[Array, "..."], floor: float
) -> Int[Array, "..."]:
    """Return the index of the bin at `share` of the range: the number of inner knots <= it."""
    logits, share = jax.lax.stop_gradient((logits, share))
    num_bins = logits.shape[-1]
    # The upper ends of all bins times the sum of the exponentials; the last one is that sum.
    sums = (1 - num_bins * floor) * np.triu(np.ones((num_bins, num_bins)))
    sums += floor * np.arange(1, num_bins + 1)
    knots = jnp.matmul(_exp(logits), jnp.asarray(sums, logits.dtype), precision="highest")
    reached = (share * knots[..., -1])[..., None] >= knots[..., :-1]
    return keep(jnp.sum(reached.astype(jnp.int32), axis=-1))


@jax.custom_jvp
def take(values: Float[Array, "... K"], index: Int[Array, "..."]) -> Float[Array, "..."]:
    """Return `values[..., index]`; leading axes broadcast."""
    return jnp.take_along_axis(values, index[..., None], -1, mode="promise_in_bounds")[..., 0]


@take.defjvp
def _take_jvp(primals, tangents):
    values, index = primals
    hit = _last_axis(jnp.arange(values.shape[-1]), index.ndim + 1) == index[..., None]
    return take(values, index), jnp.sum(jnp.where(hit, tangents[0], 0), axis=-1)


@jax.custom_jvp
def bin_shares(logits, i, neighbours):
    """Return the softmax summed over the bins below `i`, and its values at `neighbours`."""
    exp, total = _exp_and_total(logits)
    nothing = jnp.zeros(jnp.broadcast_shapes(i.shape, total.shape), total.dtype)
    nothing = vary_like(nothing, i, total)
    below = [jnp.where(i > k, exp[..., k], 0) for k in range(logits.shape[-1] - 1)]
    below = functools.reduce(jnp.add, below, nothing)
    return below / total, tuple(take(exp, index) / total for index in neighbours)


@bin_shares.defjvp
def bin_shares_jvp(primals, tangents):
    logits, i, neighbours = primals
    below, at = bin_shares(logits, i, neighbours)
    exp, total = _exp_and_total(logits)
    change = exp * tangents[0]
    mean = jnp.sum(change, axis=-1)
    bins = _last_axis(jnp.arange(logits.shape[-1]), i.ndim + 1)

    def tangent(share, mask):
        return (jnp.sum(jnp.where(mask, change, 0), axis=-1) - share * mean) / total

    return (below, at), (
        tangent(below, bins < i[..., None]),
        tuple(
            tangent(share, bins == index[..., None])
            for share, index in zip(at, neighbours, strict=True)
        ),
    )
