"""Monte Carlo estimates with standard errors."""

from collections.abc import Callable
from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows._core.checks import check_positive_int
from distrax_flows._core.keys import as_key

__all__ = ["Estimate", "estimate_kl", "estimate_mean_of", "log_ratios"]


class Estimate(NamedTuple):
    """Mean of samples and its standard error.

    Attributes:
        value: the estimate.
        stderr: its standard error, of the same shape.
    """

    value: Float[Array, "..."]
    stderr: Float[Array, "..."]


def estimate_mean_of(
    function: Callable[[jax.Array], jax.Array], key: jax.Array | int, num_samples: int
) -> Estimate:
    """Return the mean of the values that `function` returns for a key, `[S, ...]`."""
    if check_positive_int("num_samples", num_samples) < 2:
        raise ValueError(f"`num_samples` must be at least 2; got {num_samples=}.")
    values = function(as_key(key))
    mean = jnp.mean(values, axis=0)
    stderr = jnp.std(values, axis=0, ddof=1) / num_samples**0.5
    return Estimate(mean, jnp.where(jnp.isinf(mean), jnp.inf, stderr))


def log_ratios(
    p: distrax.Distribution, q: distrax.DistributionLike, key: jax.Array, num_samples: int
) -> Float[Array, "S ..."]:
    """Return `log p(x) - log q(x)` of samples x of p.

    Raises:
        ValueError: the events or batches of p and q do not fit.
    """
    check_positive_int("num_samples", num_samples)
    x, log_p = p.sample_and_log_prob(seed=key, sample_shape=(num_samples,))
    log_q = jnp.asarray(distrax.as_distribution(q).log_prob(x))
    # Else they would broadcast against each other.
    if log_q.shape != jnp.shape(log_p):
        raise ValueError(
            "The distributions must have the same batch and event shapes; log-densities of "
            f"samples of shape {jnp.shape(x)} have shapes {jnp.shape(log_p)} and {log_q.shape}. "
            "`distrax.Independent(q, 1)` turns a batch axis into an event axis."
        )
    return jnp.asarray(log_p) - log_q


def estimate_kl(
    p: distrax.Distribution,
    q: distrax.DistributionLike,
    *,
    seed: int | jax.Array | None = None,
    num_samples: int = 10_000,
    **unknown: Any,
) -> Float[Array, "..."]:
    """Estimate `KL(p || q)` in nats, by the mean of `log p(x) - log q(x)` over samples x of p.

    Unbiased; its standard error is the standard deviation of that difference over
    `sqrt(num_samples)`.

    Raises:
        ValueError: `seed` is missing, or the shapes of p and q do not fit.
        TypeError: an unknown argument.
    """
    if unknown:
        raise TypeError(f"`kl_divergence` got unknown arguments {sorted(unknown)}.")
    if seed is None:
        raise ValueError(
            "`seed` must be given: the KL divergence of a flow has no closed form and is "
            "estimated from samples, `p.kl_divergence(q, seed=key, num_samples=10_000)`."
        )
    return jnp.mean(log_ratios(p, q, as_key(seed), num_samples), axis=0)
