"""Divergences estimated from samples, as flows have none in closed form."""

from typing import Any

import distrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["estimate_kl"]


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
        ValueError: `seed` is missing.
        TypeError: an unknown argument.
    """
    if unknown:
        raise TypeError(f"`kl_divergence` got unknown arguments {sorted(unknown)}.")
    if seed is None:
        raise ValueError(
            "`seed` must be given: the KL divergence of a flow has no closed form and is "
            "estimated from samples, `p.kl_divergence(q, seed=key, num_samples=10_000)`."
        )
    x, log_p = p.sample_and_log_prob(seed=seed, sample_shape=(num_samples,))
    log_q = jnp.asarray(distrax.as_distribution(q).log_prob(x))
    return jnp.mean(log_p - log_q, axis=0)
