"""Mixture of Gaussians with learned weights, means and covariances."""

import math

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.checks import check_choice, check_positive, check_positive_int
from distrax_flows._core.numerics import align, soft_clip
from distrax_flows._core.types import ArrayLike
from distrax_flows.bases._of_vectors import OfVectors

__all__ = ["gaussian_mixture"]


def gaussian_mixture(
    event_size: int,
    num_components: int,
    *,
    covariance: str = "diagonal",
    max_log_scale: float = 5.0,
) -> distrax.Distribution:
    """Return a mixture of K Gaussians with learned weights, means and covariances.

        p(x) = sum_k w_k N(x; m_k, L_k L_k^T),   L_k = diag(s_k) (I + C_k)

    with s_k the scales, and C_k zero ("diagonal") or strictly lower triangular ("full"). For data
    in separate clusters, which a flow can make from a single Gaussian only with steep layers.

    At the start the weights are equal, the scales are 1, and the means are sampled from N(0, 1):
    equal means would stay equal.

    Caution: a sample has gradients for the means and covariances but none for the weights, because
    the choice of a component is discrete. The density has gradients for all: fit by likelihood.

    Args:
        event_size: number of dimensions, D.
        num_components: number of Gaussians, K.
        covariance: "diagonal", or "full" for D (D - 1) / 2 more parameters per component.
        max_log_scale: bound of the logarithms of the scales.

    Raises:
        ValueError: a size is not a positive integer, `covariance` is neither of these, or
            `max_log_scale` is not above 0.

    Reference:
        Izmailov et al., "Semi-Supervised Learning with Normalizing Flows", 2020.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(
        ...     lambda: dxf.flows.realnvp(2, base=dxf.bases.gaussian_mixture(2, 3)))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 2)))
        >>> flow.sample(params, jax.random.key(1), (10,)).shape
        (10, 2)
    """
    event_size = check_positive_int("event_size", event_size)
    num_components = check_positive_int("num_components", num_components)
    check_choice("covariance", covariance, ("diagonal", "full"))
    check_positive("max_log_scale", max_log_scale)
    shape = (num_components, event_size)
    with hk.name_scope("gaussian_mixture_base"):
        logits = hk.get_parameter("logits", shape[:1], init=jnp.zeros)
        means = hk.get_parameter("means", shape, init=hk.initializers.RandomNormal())
        log_scales = hk.get_parameter("log_scales", shape, init=jnp.zeros)
        shears = None
        if covariance == "full":
            rows, columns = np.tril_indices(event_size, -1)
            entries = hk.get_parameter("shears", (num_components, rows.size), init=jnp.zeros)
            shears = jnp.zeros((*shape, event_size), entries.dtype)
            shears = shears.at[:, rows, columns].set(entries)
    return _GaussianMixture(logits, means, soft_clip(log_scales, max_log_scale), shears)


class _GaussianMixture(OfVectors):
    """Mixture of `gaussian_mixture`: weights from `logits` `[K]`, `L_k` from the last two."""

    def __init__(
        self,
        logits: Float[Array, " K"],
        means: Float[Array, "K D"],
        log_scales: Float[Array, "K D"],
        shears: Float[Array, "K D D"] | None,
    ):
        super().__init__(means.shape[-1])
        self._logits = logits
        self._means = means
        self._log_scales = log_scales
        self._shears = shears

    def log_prob(self, value: Shaped[ArrayLike, "... D"]) -> Float[Array, "..."]:
        x = jnp.asarray(value)[..., None, :]
        x, means, log_scales = align(x, self._means, self._log_scales)
        z = (x - means) * jnp.exp(-log_scales)
        if self._shears is not None:
            z = jax.vmap(_unshear, in_axes=(0, -2), out_axes=-2)(self._shears, z)
        log_normalizer = jnp.sum(log_scales, axis=-1) + 0.5 * z.shape[-1] * math.log(2 * math.pi)
        log_weights, log_normalizer, squares = align(
            jax.nn.log_softmax(self._logits), log_normalizer, jnp.sum(z * z, axis=-1)
        )
        return jax.nn.logsumexp(log_weights - 0.5 * squares - log_normalizer, axis=-1)

    def _sample_n(self, key: jax.Array, n: int) -> Float[Array, "n D"]:
        component_key, noise_key = jax.random.split(key)
        component = jax.random.categorical(component_key, self._logits, shape=(n,))
        z = jax.random.normal(noise_key, (n, self._event_size), self._means.dtype)
        if self._shears is not None:
            chosen = jax.nn.one_hot(component, self._logits.size, dtype=z.dtype)
            z = z + jnp.einsum("nk,kij,nj->ni", chosen, self._shears, z)
        return self._means[component] + jnp.exp(self._log_scales[component]) * z


def _unshear(shear: Float[Array, "D D"], z: Float[Array, "... D"]) -> Float[Array, "... D"]:
    """Solve `(I + shear) x = z`."""
    columns = z.reshape(-1, z.shape[-1]).T
    solved = jax.scipy.linalg.solve_triangular(shear, columns, lower=True, unit_diagonal=True)
    return solved.T.reshape(z.shape)
