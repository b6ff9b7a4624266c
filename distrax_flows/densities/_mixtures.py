"""Equal mixtures of isotropic Gaussians, in the plane and on the line."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from distrax_flows.densities._base import ToyDensity, gaussian_mixture_log_prob

__all__ = ["GaussianMixture", "eight_gaussians", "gaussian_blobs", "two_gaussians"]


class GaussianMixture(ToyDensity):
    """Equal mixture of isotropic Gaussians, p(x) = (1/K) sum_k N(x; c_k, scale^2 I).

    Args:
        name: see `ToyDensity`.
        centers: [K, D], the c_k.
        scale: the standard deviation of each Gaussian in each coordinate.
        entropy: see `ToyDensity`.
        dtype: see `ToyDensity`.
    """

    def __init__(
        self,
        name: str,
        *,
        centers: Float[np.ndarray, "K D"],
        scale: float,
        entropy: float,
        dtype: DTypeLike = jnp.float32,
    ):
        super().__init__(name, entropy=entropy, event_size=centers.shape[-1], dtype=dtype)
        self._centers = centers
        self._scale = scale

    def _sample_n(self, key: Array, n: int) -> Float[Array, "n D"]:
        key_component, key_noise = jax.random.split(key)
        component = jax.random.randint(key_component, (n,), 0, self._centers.shape[0])
        noise = jax.random.normal(key_noise, (n, self._event_size), self._dtype)
        return jnp.asarray(self._centers, self._dtype)[component] + self._scale * noise

    def _log_prob_n(self, x: Float[Array, "N D"]) -> Float[Array, " N"]:
        num_centers = self._centers.shape[0]
        log_weights = np.full(num_centers, -math.log(num_centers))
        return gaussian_mixture_log_prob(x, self._centers, log_weights, self._scale)


def gaussian_blobs(dtype: DTypeLike = jnp.float32) -> GaussianMixture:
    """Return eight Gaussians of scale 0.3, evenly spaced on the circle of radius 2.

    The first is at angle 0. H by quadrature.
    """
    return GaussianMixture(
        "gaussian_blobs", centers=2 * _octagon(), scale=0.3, entropy=2.47953, dtype=dtype
    )


def eight_gaussians(dtype: DTypeLike = jnp.float32) -> GaussianMixture:
    """Return `8gaussians`: scale 0.5, evenly spaced at radius 4, all divided by 1.414.

    H by quadrature. Reference: FFJORD (Grathwohl et al. 2019), its code's toy data.
    """
    return GaussianMixture(
        "8gaussians",
        centers=4 / 1.414 * _octagon(),
        scale=0.5 / 1.414,
        entropy=2.83188,
        dtype=dtype,
    )


def two_gaussians(dtype: DTypeLike = jnp.float32) -> GaussianMixture:
    """Return the mixture of half N(-2, 1) and half N(2, 1), event shape (1,). H by quadrature."""
    return GaussianMixture(
        "two_gaussians",
        centers=np.array([[-2.0], [2.0]]),
        scale=1.0,
        entropy=2.05166,
        dtype=dtype,
    )


def _octagon() -> Float[np.ndarray, "8 2"]:
    angles = np.arange(8) * math.pi / 4
    return np.stack((np.cos(angles), np.sin(angles)), axis=-1)
