"""The pinwheel."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from distrax_flows.densities._base import ToyDensity

__all__ = ["Pinwheel", "pinwheel"]

_RADIAL, _TANGENTIAL, _RATE, _NUM_ARMS = 0.3, 0.1, 0.25, 5


class Pinwheel(ToyDensity):
    """Five Gaussian arms, wound up by a rotation that grows with the first feature.

    f0 ~ N(1, 0.3^2), f1 ~ N(0, 0.1^2), theta = 2 pi k / 5 + exp(f0) / 4, k uniform on 0..4,
    x = 2 (f0 cos theta + f1 sin theta, f1 cos theta - f0 sin theta),
    log p(x) = log sum over the preimages (f, k) of N(f0; 1, 0.3^2) N(f1; 0, 0.1^2) / |det| / 5,
    det = 4 (1 + f1 exp(f0) / 4).

    The preimages of x on one arm are the roots a = f0 of h(a) = a - y0(a), where y(a) is x / 2
    turned back by theta(a), and f1 = y1(a); h'(a) = det / 4. Sign changes of h on a grid bracket
    them. The two most likely roots of each arm are refined by Newton steps kept in the bracket. One
    more step, from the root held fixed, carries the gradient, so first derivatives are exact.

    Guarantees: f0 is sought within 9 standard deviations; beyond them f is e^-40 as likely as at
    its peak. If an arm has two preimages, a fold of the map, det = 0, separates them. No point of a
    fold is more than e^-17 as likely as the peak, so elsewhere the root is practically unique. At a
    fold itself the density has an integrable infinity, and two preimages closer than 0.02 are
    missed. All this concerns a mass of 1e-8. H by quadrature.

    Reference: Johnson et al. 2016, as in FFJORD's code.
    """

    def __init__(self, dtype: DTypeLike = jnp.float32):
        super().__init__("pinwheel", entropy=2.31779, dtype=dtype)
        self._grid = np.linspace(1 - 9 * _RADIAL, 1 + 9 * _RADIAL, 241)
        self._cell = float(self._grid[1] - self._grid[0])
        self._arms = 2 * math.pi / _NUM_ARMS * np.arange(_NUM_ARMS)

    def _sample_n(self, key: Array, n: int) -> Float[Array, "n 2"]:
        key_arm, key_features = jax.random.split(key)
        features = jax.random.normal(key_features, (n, 2), self._dtype)
        f0, f1 = 1 + _RADIAL * features[:, 0], _TANGENTIAL * features[:, 1]
        arm = jax.random.randint(key_arm, (n,), 0, _NUM_ARMS)
        theta = jnp.asarray(self._arms, self._dtype)[arm] + _RATE * jnp.exp(f0)
        return 2 * jnp.stack(_turn(f0, f1, theta), axis=-1)

    def _log_prob_n(self, x: Float[Array, "N 2"]) -> Float[Array, " N"]:
        x1, x2 = (x[:, d, None, None] / 2 for d in range(2))
        arms = jnp.asarray(self._arms, x.dtype)[None, :, None]

        def preimage(a):
            """Return f1, h and h' at f0 = a: [N, arms, candidates]."""
            winding = _RATE * jnp.exp(a)
            y0, y1 = _turn(x1, x2, -(arms + winding))
            return y1, a - y0, 1 + y1 * winding

        def log_features(f0, f1):
            return -0.5 * ((f0 - 1) / _RADIAL) ** 2 - 0.5 * (f1 / _TANGENTIAL) ** 2

        grid = jnp.asarray(self._grid, x.dtype)[None, None, :]
        f1, h, _ = preimage(grid)
        is_bracket = (h[..., 1:] < 0) != (h[..., :-1] < 0)
        score = jnp.where(is_bracket, log_features(grid, f1)[..., 1:], -jnp.inf)
        score, cell = jax.lax.top_k(jax.lax.stop_gradient(score), 2)
        found = score > -jnp.inf
        lower = grid[0, 0, 0] + cell.astype(x.dtype) * self._cell
        root = lower + self._cell / 2
        for _ in range(4):
            _, h, slope = preimage(root)
            step = h / jnp.where(slope == 0, 1.0, slope)
            root = jnp.clip(root - step, lower, lower + self._cell)
        root = jax.lax.stop_gradient(root)

        _, h, slope = preimage(root)
        f0 = root - h / jax.lax.stop_gradient(jnp.where(found & (slope != 0), slope, 1.0))
        f1, _, slope = preimage(f0)
        slope = jnp.where(found & (slope != 0), slope, 1.0)
        exponent = log_features(f0, f1) - jnp.log(jnp.abs(slope))
        exponent = jnp.where(found, exponent, -jnp.inf)
        normalizer = math.log(_NUM_ARMS * 4 * 2 * math.pi * _RADIAL * _TANGENTIAL)
        return jax.nn.logsumexp(exponent, axis=(-2, -1)) - normalizer


def _turn(f0: Array, f1: Array, theta: Array) -> tuple[Array, Array]:
    """Return the row vector (f0, f1) times [[cos, -sin], [sin, cos]]."""
    cos, sin = jnp.cos(theta), jnp.sin(theta)
    return f0 * cos + f1 * sin, f1 * cos - f0 * sin


def pinwheel(dtype: DTypeLike = jnp.float32) -> Pinwheel:
    """Return a `Pinwheel`."""
    return Pinwheel(dtype)
