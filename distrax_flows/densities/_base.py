"""Base class of the toy densities, and maths shared by several of them."""

import abc
import math

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.types import ArrayLike

__all__ = ["ToyDensity", "gauss_legendre", "gaussian_mixture_log_prob", "polar"]


class ToyDensity(distrax.Distribution):
    """Target density with exact samples, log-density and entropy.

    Abstract. A subclass is final and implements `_sample_n(key, n) -> [n, D]`, in `self.dtype`, and
    `_log_prob_n([N, D]) -> [N]`, in the dtype of its argument; D is the event size.

    Guarantees: the batch shape is (). `log_prob` accepts any leading shape and returns the dtype of
    its argument, computed in at least float32. At finite points it is never NaN and its gradient is
    finite; outside a bounded support it is -inf. A density is a pytree whose arrays are leaves and
    whose other fields are static, so equal densities share one compilation.

    Args:
        name: the name under which `get` knows the density.
        entropy: the differential entropy in nats.
        event_size: D.
        dtype: float32 or float64, the dtype of the samples and of the entropy.

    Raises:
        ValueError: if `dtype` is neither float32 nor float64.
    """

    def __init__(
        self, name: str, *, entropy: float, event_size: int = 2, dtype: DTypeLike = jnp.float32
    ):
        super().__init__()
        if jnp.dtype(dtype) not in (jnp.dtype("float32"), jnp.dtype("float64")):
            raise ValueError(f"`dtype` must be float32 or float64; got {dtype=}. Cast the samples.")
        self._name = name
        self._entropy = float(entropy)
        self._event_size = event_size
        self._dtype = jnp.dtype(dtype)

    @property
    def name(self) -> str:
        """The name under which `get` knows the density."""
        return self._name

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The event shape, (D,)."""
        return (self._event_size,)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The batch shape, always ()."""
        return ()

    @property
    def dtype(self) -> jnp.dtype:
        """The dtype of the samples."""
        return self._dtype

    def entropy(self) -> Float[Array, ""]:
        """Return the differential entropy in nats."""
        return jnp.asarray(self._entropy, self._dtype)

    def log_prob(self, value: Shaped[ArrayLike, "... D"]) -> Float[Array, "..."]:
        """Return the log-density at `value`.

        Raises:
            ValueError: if the last axis of `value` does not have the event size.
        """
        x = jnp.asarray(value)
        if x.shape[-1:] != self.event_shape:
            raise ValueError(
                f"`value` must end in the event shape {self.event_shape}; got {x.shape=}."
            )
        if not jnp.issubdtype(x.dtype, jnp.floating):
            x = x.astype(self._dtype)
        # With one flat batch axis, subclasses need not handle general ranks. Half precision is too
        # coarse for narrow ridges, so only the result has it.
        flat = x.reshape(-1, self._event_size).astype(jnp.promote_types(x.dtype, jnp.float32))
        return self._log_prob_n(flat).reshape(x.shape[:-1]).astype(x.dtype)

    @abc.abstractmethod
    def _log_prob_n(self, x: Float[Array, "N D"]) -> Float[Array, " N"]:
        """Return the log-density of a flat batch, in the dtype of `x`."""


def gaussian_mixture_log_prob(
    x: Float[Array, "N D"],
    centers: Float[ArrayLike, "K D"],
    log_weights: Float[ArrayLike, " K"],
    scale: float,
) -> Float[Array, " N"]:
    """Return log sum_k w_k N(x; c_k, scale^2 I)."""
    c = jnp.asarray(centers, x.dtype)
    exponent = jnp.asarray(log_weights, x.dtype)[None, :]
    # Use differences: |x|^2 - 2 x.c + |c|^2 as a matrix product would cancel in float32. Handle one
    # coordinate at a time, so no array is larger than [N, K].
    for d in range(x.shape[-1]):
        z = (x[:, d, None] - c[None, :, d]) / scale
        exponent = exponent - 0.5 * z**2
    normalizer = x.shape[-1] * math.log(math.sqrt(2 * math.pi) * scale)
    return jax.nn.logsumexp(exponent, axis=-1) - normalizer


def polar(x: Float[Array, "N 2"]) -> tuple[Float[Array, " N"], Float[Array, " N"]]:
    """Return radius and angle in [-pi, pi] of each point; at the origin their gradients are 0."""
    at_origin = jnp.all(x == 0, axis=-1)
    # sqrt and arctan2 have no derivative at 0, and `where` alone would let their NaN pass.
    x1 = jnp.where(at_origin, 1.0, x[:, 0])
    radius = jnp.where(at_origin, 0.0, jnp.hypot(x1, x[:, 1]))
    angle = jnp.where(at_origin, 0.0, jnp.arctan2(x[:, 1], x1))
    return radius, angle


def gauss_legendre(
    edges: Float[np.ndarray, " edges"],
) -> tuple[Float[np.ndarray, " nodes"], Float[np.ndarray, " nodes"]]:
    """Return nodes and weights of the composite rule with 16 nodes in each panel between `edges`.

    A panel of up to five standard deviations of a Gaussian integrand is exact to about 1e-9. Many
    short panels avoid the large eigenproblem that one long rule would need for its nodes.
    """
    nodes, weights = np.polynomial.legendre.leggauss(16)
    half = np.diff(edges)[:, None] / 2
    middle = (edges[1:] + edges[:-1])[:, None] / 2
    return (middle + half * nodes[None, :]).ravel(), (half * weights[None, :]).ravel()
