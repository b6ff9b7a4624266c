"""Kullback-Leibler divergences from samples."""

import distrax
import jax

from distrax_flows._core.monte_carlo import Estimate, estimate_mean_of, log_ratios

__all__ = ["kl_divergence"]


def kl_divergence(
    p: distrax.DistributionLike,
    q: distrax.DistributionLike,
    *,
    key: jax.Array | int,
    num_samples: int = 10_000,
) -> Estimate:
    """Estimate `KL(p || q) = E_p[log p(x) - log q(x)]` by Monte Carlo, with its standard error.

    Unbiased, except for flows with random layers, such as `flows.dequantized`, where it estimates a
    bound. Each direction sees what the other misses: `KL(data || flow)` is large where the flow has
    too little density, `KL(flow || data)` where it has too much. Infinite if a sample of p has
    zero density under q.

    Args:
        p: a distribution with samples and log-densities, such as `flow.distribution(params)` or one
            of `distrax_flows.densities`.
        q: a distribution over the same events, with log-densities.
        key: random key, or an integer seed.
        num_samples: number of samples of p.

    Returns:
        The estimate and its standard error, of the batch shape of the distributions, in nats.

    Raises:
        ValueError: `num_samples` is not an integer of at least 2, or the shapes of p and q differ.

    Example:
        >>> import distrax, distrax_flows as dxf
        >>> p, q = distrax.Normal(0.0, 1.0), distrax.Normal(1.0, 1.0)
        >>> print("{:.2f} +- {:.2f}".format(*dxf.diagnostics.kl_divergence(p, q, key=0)))
        0.50 +- 0.01
    """
    p = distrax.as_distribution(p)
    return estimate_mean_of(lambda key: log_ratios(p, q, key, num_samples), key, num_samples)
