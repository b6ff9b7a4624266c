"""How well a flow approximates a density known up to its normaliser."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows._checks import check_positive_int
from distrax_flows.flow import Flow, Params
from distrax_flows.training._objectives import LogDensityFn

__all__ = ["Evidence", "evidence"]


class Evidence(NamedTuple):
    """Estimates from draws x of a flow q, with weights `w = p(x) / q(x)`; all `context_shape`.

    Attributes:
        log_z: `log(mean(w))`, an estimate of the logarithm of the normaliser of p, in nats; on
            average too low, by about half of its variance.
        log_z_stderr: its standard error, by the delta method. Where few draws carry the weight it
            is too small, like that of `log_z` itself: see `ess`.
        elbo: `mean(log(w))`, a lower bound of `log_z` on average, in nats.
        elbo_stderr: its standard error.
        ess: `sum(w)^2 / sum(w^2)`, the effective sample size: of how many draws of p the weighted
            draws of q are worth. Blind to modes that q has not found.
    """

    log_z: Float[Array, "..."]
    log_z_stderr: Float[Array, "..."]
    elbo: Float[Array, "..."]
    elbo_stderr: Float[Array, "..."]
    ess: Float[Array, "..."]

    @property
    def kl(self) -> Float[Array, "..."]:
        """`log_z - elbo`, an estimate of `KL(q || p)`, in nats."""
        return self.log_z - self.elbo


def evidence(
    flow: Flow,
    params: Params,
    log_density: LogDensityFn,
    *,
    key: jax.Array,
    num_samples: int = 10_000,
    context: Float[Array, "... C"] | None = None,
    batch_size: int | None = None,
) -> Evidence:
    """Estimates the normaliser of a density by importance sampling, with the flow as proposal.

    Draws outside of the support of p, with a log-density of -inf, weigh nothing.

    Args:
        flow: the flow q.
        params: its parameters, such as `fit_to_density(...).params`.
        log_density: as in `fit_to_density`.
        key: random key.
        num_samples: number of draws (for each row of the context).
        context: `[..., C]` or None.
        batch_size: draws at a time, where memory is short; see `Flow`.

    Raises:
        ValueError: `num_samples` is not an integer of at least 2.

    Reference:
        Burda et al., "Importance Weighted Autoencoders", 2016, eq. 8; Kong, "A note on importance
        sampling using standardized weights", 1992, for the effective sample size.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.realnvp(2))
        >>> params = flow.init_without_data(jax.random.key(0))
        >>> found = dxf.evidence(
        ...     flow, params, lambda x: -0.5 * jnp.sum(x**2, -1), key=jax.random.key(1)
        ... )
        >>> print(f"{found.log_z:.4f} +- {found.log_z_stderr:.4f}, {found.ess:.0f}")
        1.8379 +- 0.0000, 10000
    """
    if check_positive_int("num_samples", num_samples) < 2:
        raise ValueError(f"`num_samples` must be at least 2; got {num_samples=}.")
    x, log_q = flow.sample_and_log_prob(params, key, (num_samples,), context, batch_size=batch_size)
    log_p = log_density(x) if context is None else log_density(x, context)
    log_w = log_p - log_q
    log_sum = jax.nn.logsumexp(log_w, axis=0)
    # Of weights that add up to one: a constant of `log_density` cancels before anything is squared.
    ess = jnp.exp(-jax.nn.logsumexp(2 * (log_w - log_sum), axis=0))
    # The relative variance of the mean of w is (n / ess - 1) / n.
    variance = jnp.maximum(1 / ess - 1 / num_samples, 0.0)
    return Evidence(
        log_z=log_sum - jnp.log(num_samples),
        log_z_stderr=jnp.sqrt(variance),
        elbo=jnp.mean(log_w, axis=0),
        elbo_stderr=jnp.std(log_w, axis=0) / num_samples**0.5,
        ess=ess,
    )
