"""Plane curves blurred by Gaussian noise."""

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from distrax_flows.densities._base import (
    ToyDensity,
    gauss_legendre,
    gaussian_mixture_log_prob,
)

__all__ = ["NoisyCurve", "moons", "swissroll"]


class NoisyCurve(ToyDensity):
    """A point on one of K arcs, uniform in t, plus noise N(0, scale^2) per coordinate.

    p(x) = (1/K) sum_k int_a^b N(x; c_k(t), scale^2 I) dt / (b - a).

    The integral is a composite Gauss-Legendre sum. Its nodes are computed once, in float64, and
    summed in log space; the relative error is below 1e-8 wherever the density exceeds e^-40. Time
    grows with N times the number of nodes. So does memory, unless `log_prob` is compiled.

    Args:
        name: see `ToyDensity`.
        arcs: a module-level function (t, xp) -> [K, N, 2], the K arcs at [N] parameters t, in the
            array namespace xp: NumPy for the nodes, JAX for samples.
        edges: [P + 1] increasing values of t from a to b, the panels of the quadrature, each about
            four times `scale` long in the plane.
        scale: the standard deviation of the noise.
        entropy: see `ToyDensity`.
        dtype: see `ToyDensity`.
    """

    def __init__(
        self,
        name: str,
        *,
        arcs: Callable[[Any, ModuleType], Any],
        edges: Float[np.ndarray, " edges"],
        scale: float,
        entropy: float,
        dtype: DTypeLike = jnp.float32,
    ):
        super().__init__(name, entropy=entropy, dtype=dtype)
        self._arcs = arcs
        self._interval = (float(edges[0]), float(edges[-1]))
        self._scale = scale
        t, weights = gauss_legendre(edges)
        nodes = np.asarray(arcs(t, np))
        self._nodes = nodes.reshape(-1, 2)
        self._log_weights = np.tile(np.log(weights / weights.sum() / len(nodes)), len(nodes))

    def _sample_n(self, key: Array, n: int) -> Float[Array, "n 2"]:
        key_t, key_arc, key_noise = jax.random.split(key, 3)
        t = jax.random.uniform(key_t, (n,), self._dtype, *self._interval)
        arcs = self._arcs(t, jnp)
        arc = jax.random.randint(key_arc, (n,), 0, arcs.shape[0])
        return arcs[arc, jnp.arange(n)] + self._scale * jax.random.normal(
            key_noise, (n, 2), self._dtype
        )

    def _log_prob_n(self, x: Float[Array, "N 2"]) -> Float[Array, " N"]:
        return gaussian_mixture_log_prob(x, self._nodes, self._log_weights, self._scale)


def _moons_arcs(t: Any, xp: ModuleType) -> Any:
    upper = xp.stack((2 * xp.cos(t) - 1, 2 * xp.sin(t) - 0.2), axis=-1)
    lower = xp.stack((1 - 2 * xp.cos(t), 0.8 - 2 * xp.sin(t)), axis=-1)
    return xp.stack((upper, lower))


def _swissroll_arcs(t: Any, xp: ModuleType) -> Any:
    return xp.stack((t / 5 * xp.cos(t), t / 5 * xp.sin(t)), axis=-1)[None]


def moons(dtype: DTypeLike = jnp.float32) -> NoisyCurve:
    """Return two noisy half circles, t in (0, pi), noise 0.2; H by quadrature.

    (2 cos t - 1, 2 sin t - 0.2) and (1 - 2 cos t, 0.8 - 2 sin t).

    Reference: scikit-learn's `make_moons(noise=0.1)` times 2 plus (-1, -0.2), as in FFJORD's code.
    """
    return NoisyCurve(
        "moons",
        arcs=_moons_arcs,
        edges=np.linspace(0, math.pi, 7),
        scale=0.2,
        entropy=2.39388,
        dtype=dtype,
    )


def swissroll(dtype: DTypeLike = jnp.float32) -> NoisyCurve:
    """Return the noisy spiral (t cos t, t sin t) / 5, t ~ U(3 pi / 2, 9 pi / 2).

    Noise 0.2; H by quadrature.

    Reference: two coordinates of scikit-learn's `make_swiss_roll(noise=1)` over 5, as in FFJORD's
    code.
    """
    # Even in t^2 makes the panels even in arc length.
    edges = np.sqrt(np.linspace((1.5 * math.pi) ** 2, (4.5 * math.pi) ** 2, 21))
    return NoisyCurve(
        "swissroll", arcs=_swissroll_arcs, edges=edges, scale=0.2, entropy=2.66965, dtype=dtype
    )
