"""Circles blurred by Gaussian noise."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from distrax_flows.densities._base import ToyDensity, polar

__all__ = ["Rings", "circles", "rings"]


class Rings(ToyDensity):
    """A uniform point on one of K circles about the origin, plus N(0, scale^2) per coordinate.

    p(x) = (1/K) sum_k exp(-(r^2 + R_k^2) / (2 scale^2)) I_0(r R_k / scale^2) / (2 pi scale^2),

    with r = |x| and I_0 the modified Bessel function. I_0 is evaluated as exp(z) times its scaled
    form, so nothing overflows.

    Args:
        name: see `ToyDensity`.
        radii: [K], the R_k.
        scale: the standard deviation of the noise.
        entropy: see `ToyDensity`.
        dtype: see `ToyDensity`.
    """

    def __init__(
        self,
        name: str,
        *,
        radii: Float[np.ndarray, " K"],
        scale: float,
        entropy: float,
        dtype: DTypeLike = jnp.float32,
    ):
        super().__init__(name, entropy=entropy, dtype=dtype)
        self._radii = radii
        self._scale = scale

    def _sample_n(self, key: Array, n: int) -> Float[Array, "n 2"]:
        key_ring, key_angle, key_noise = jax.random.split(key, 3)
        ring = jax.random.randint(key_ring, (n,), 0, self._radii.shape[0])
        radius = jnp.asarray(self._radii, self._dtype)[ring]
        angle = jax.random.uniform(key_angle, (n,), self._dtype, 0, 2 * math.pi)
        on_ring = jnp.stack((radius * jnp.cos(angle), radius * jnp.sin(angle)), axis=-1)
        return on_ring + self._scale * jax.random.normal(key_noise, (n, 2), self._dtype)

    def _log_prob_n(self, x: Float[Array, "N 2"]) -> Float[Array, " N"]:
        r = polar(x)[0][:, None]
        radii = jnp.asarray(self._radii, x.dtype)[None, :]
        variance = self._scale**2
        log_bessel = jnp.log(jax.scipy.special.i0e(r * radii / variance))
        exponent = log_bessel - 0.5 * ((r - radii) / self._scale) ** 2
        normalizer = math.log(self._radii.shape[0] * 2 * math.pi * variance)
        return jax.nn.logsumexp(exponent, axis=-1) - normalizer


def circles(dtype: DTypeLike = jnp.float32) -> Rings:
    """Return two circles: radii 3 and 1.5, noise 0.24; H by quadrature.

    Reference: scikit-learn's `make_circles(factor=0.5, noise=0.08)` times 3, as in FFJORD's code.
    """
    return Rings("circles", radii=np.array([3.0, 1.5]), scale=0.24, entropy=3.26814, dtype=dtype)


def rings(dtype: DTypeLike = jnp.float32) -> Rings:
    """Return four circles: radii 3, 2.25, 1.5 and 0.75, noise 0.08; H by quadrature.

    Reference: FFJORD's code.
    """
    return Rings(
        "rings", radii=np.array([3.0, 2.25, 1.5, 0.75]), scale=0.08, entropy=2.62318, dtype=dtype
    )
