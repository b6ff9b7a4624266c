"""Pareto-smoothed importance sampling."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["PSIS", "pareto_smooth"]

_MIN_TAIL = 5  # weights; a Pareto distribution cannot be fitted to fewer
_PRIOR_COUNT, _PRIOR_K = 10.0, 0.5  # of the weakly informative prior of k, in tail weights


class PSIS(NamedTuple):
    """Smoothed importance weights and their reliability.

    Attributes:
        log_weights: `[S, ...]`, logarithms of the smoothed weights, not normalised.
        pareto_k: `[...]`, the shape k of the generalised Pareto distribution of the largest
            weights: they have `1/k` finite moments. Estimates from the weights are reliable below
            `min(1 - 1 / log10(S), 0.7)`, and useless above 1, where the mean is infinite. It is
            -inf if all weights in the tail are equal up to rounding, infinite if too few samples
            have any weight or fewer than 21 are given, and NaN if a weight is NaN or infinite.
    """

    log_weights: Float[Array, "S ..."]
    pareto_k: Float[Array, "..."]


def pareto_smooth(log_weights: Float[Array, "S ..."]) -> PSIS:
    """Smooth the largest importance weights, and measure how heavy their tail is.

    A generalised Pareto distribution is fitted to the `min(S/5, 3 sqrt(S))` largest weights. They
    are replaced by its quantiles, at most the largest weight. That trades the large variance of
    estimates for a small bias.

    k-hat detects proposals whose tails are too light, which the effective sample size may miss. It
    cannot detect regions without samples.

    Args:
        log_weights: `[S, ...]`, logarithms of weights, `log p(x) - log q(x)` for samples x of q;
            a constant may be missing. The samples are along the first axis.

    Raises:
        ValueError: `log_weights` has no axis.

    Reference:
        Vehtari et al., "Pareto Smoothed Importance Sampling", 2024, section 3; Zhang & Stephens, "A
        New and Efficient Estimation Method for the Generalized Pareto Distribution", 2009.

    Example:
        The weights of samples of N(0, 1) for the target N(0, s^2) have k = 1 - 1/s^2.

        >>> import distrax, distrax_flows as dxf, jax
        >>> q, p = distrax.Normal(0.0, 1.0), distrax.Normal(0.0, 2.0)
        >>> x = q.sample(seed=jax.random.key(0), sample_shape=(100_000,))
        >>> psis = dxf.diagnostics.pareto_smooth(p.log_prob(x) - q.log_prob(x))
        >>> print(f"{psis.pareto_k:.1f}")
        0.7
    """
    log_weights = jnp.asarray(log_weights)
    if log_weights.ndim == 0:
        raise ValueError("`log_weights` must have an axis of samples; got a single number.")
    num_samples = len(log_weights)
    size = math.ceil(min(num_samples / 5, 3 * math.sqrt(num_samples)))
    if size < _MIN_TAIL:
        return PSIS(log_weights, jnp.full(log_weights.shape[1:], jnp.inf, log_weights.dtype))
    columns = log_weights.reshape(num_samples, -1)
    smoothed, k = jax.vmap(lambda column: _smooth(column, size), in_axes=1, out_axes=(1, 0))(
        columns
    )
    return PSIS(smoothed.reshape(log_weights.shape), k.reshape(log_weights.shape[1:]))


def _smooth(log_weights: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    order = jnp.argsort(log_weights)
    largest = log_weights[order[-1]]
    # Relative to the largest weight, so that nothing overflows.
    relative = jnp.exp(log_weights[order] - jnp.where(jnp.isfinite(largest), largest, 0))
    tail, cutoff = relative[-size:], relative[-size - 1]
    excess, info = tail - cutoff, jnp.finfo(tail.dtype)
    is_undefined = jnp.isnan(log_weights).any() | (largest == jnp.inf)
    # Rounding of log-densities is far below this share of a weight.
    is_equal = excess[-1] <= math.sqrt(float(info.eps))
    is_sparse = (tail[_quarter(size)] <= info.tiny) | (largest == -jnp.inf)
    is_usual = ~(is_undefined | is_equal | is_sparse)
    k, scale = _fit_pareto(jnp.where(is_usual, excess, jnp.arange(1.0, size + 1)))
    quantiles = (jnp.arange(size) + 0.5) / size
    # scale ((1 - q)^-k - 1) / k, also near k = 0
    safe_k = jnp.where(jnp.abs(k) < 1e-4, 1e-4, k)
    fitted = cutoff + scale * jnp.expm1(-safe_k * jnp.log1p(-quantiles)) / safe_k
    log_tail = largest + jnp.log(jnp.minimum(fitted, 1.0))
    smoothed = log_weights.at[order[-size:]].set(log_tail)
    k = jnp.select([is_undefined, is_sparse, is_equal], [jnp.nan, jnp.inf, -jnp.inf], k)
    return jnp.where(is_usual, smoothed, log_weights), k


def _quarter(size: int) -> int:
    """Return the index of the first quartile of sorted values."""
    return int(size / 4 + 0.5) - 1


def _fit_pareto(excess: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return shape and scale of a generalised Pareto distribution, from sorted excesses.

    The posterior mean over a grid of profile likelihoods. The shape is shrunk towards 1/2.
    """
    size = len(excess)
    num_points = 30 + math.isqrt(size)
    grid = 1 - jnp.sqrt(num_points / (jnp.arange(1, num_points + 1) - 0.5))
    # Rounded weights may tie with the cutoff: then their quartile is zero.
    least = jnp.min(jnp.where(excess > 0, excess, jnp.inf))
    points = grid / (3 * jnp.maximum(excess[_quarter(size)], least)) + 1 / excess[-1]
    shapes = jnp.mean(jnp.log1p(-points[:, None] * excess), axis=1)
    log_likelihoods = size * (jnp.log(-points / shapes) - shapes - 1)
    point = jnp.sum(points * jax.nn.softmax(log_likelihoods))
    shape = jnp.mean(jnp.log1p(-point * excess))
    scale = -shape / point
    shape = (size * shape + _PRIOR_COUNT * _PRIOR_K) / (size + _PRIOR_COUNT)
    return shape, scale
