"""Quality of a flow's approximation to a density known up to its normaliser."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.arrays import as_floats
from distrax_flows._core.checks import check_positive_int
from distrax_flows._core.keys import as_key
from distrax_flows._core.types import ArrayLike
from distrax_flows.diagnostics._ends import warn_of_ends
from distrax_flows.diagnostics._psis import pareto_smooth
from distrax_flows.functional._log_density import LogDensityFn, check_log_density
from distrax_flows.functional.flow import Flow, Params

__all__ = ["Evidence", "evidence"]


class Evidence(NamedTuple):
    """Estimates from samples x of a flow q, with weights `w = p(x) / q(x)`; all `context_shape`.

    Attributes:
        log_z: `log(mean(w))`, an estimate of the logarithm of the normaliser of p, in nats. On
            average too low, by about half of its variance. -inf if no sample has any weight.
        log_z_stderr: its standard error, by the delta method; infinite if no sample has any weight.
            If few samples carry the weight it is too small, as is `log_z` itself: see `ess`.
        elbo: `mean(log(w))`, a lower bound of `log_z` on average, in nats.
        elbo_stderr: its standard error.
        ess: `sum(w)^2 / sum(w^2)`, the effective sample size, from 0 to the number of samples: the
            number of samples of p that the weighted samples of q are worth. Blind to modes that q
            has not found.
        pareto_k: k-hat of the weights, see `pareto_smooth`: above 0.7 the tails of q are too light
            for p, and the other estimates unreliable.
        kl: `log_z - elbo`, an estimate of `KL(q || p)`, in nats; infinite if a sample has no
            weight.

    A constant in the logarithm of p changes only `log_z` and `elbo`.
    """

    log_z: Float[Array, "..."]
    log_z_stderr: Float[Array, "..."]
    elbo: Float[Array, "..."]
    elbo_stderr: Float[Array, "..."]
    ess: Float[Array, "..."]
    pareto_k: Float[Array, "..."]
    kl: Float[Array, "..."]


def evidence(
    flow: Flow,
    params: Params,
    log_density: LogDensityFn,
    *,
    key: jax.Array | int,
    num_samples: int = 10_000,
    context: Shaped[ArrayLike, "... C"] | None = None,
    batch_size: int | None = None,
) -> Evidence:
    """Estimate the normaliser of a density by importance sampling, with the flow as proposal.

    Samples outside the support of p, with a log-density of -inf, have no weight. A log-density of
    NaN makes all estimates NaN. If the flow ends where p continues, such as beyond the interval of
    its splines, no sample shows what is missing. A warning then does, outside of jit and for at
    least a thousand samples.

    Args:
        flow: the flow q.
        params: its parameters, such as `fit_to_density(...).params`.
        log_density: as in `fit_to_density`.
        key: random key, or an integer seed.
        num_samples: number of samples (per row of the context).
        context: `[..., C]` or None.
        batch_size: number of samples at a time, if memory is short; see `Flow`.

    Raises:
        TypeError: `log_density` is not a function.
        ValueError: `log_density` returns the wrong shape; or `num_samples` is not an integer of at
            least 2.

    Reference:
        Burda et al., "Importance Weighted Autoencoders", 2016, eq. 8; Kong, "A note on importance
        sampling using standardized weights", 1992, for the effective sample size; Vehtari et al.,
        "Pareto Smoothed Importance Sampling", 2024, for k-hat.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.realnvp(2))
        >>> params = flow.init_without_data(jax.random.key(0))
        >>> found = dxf.diagnostics.evidence(
        ...     flow, params, lambda x: -0.5 * jnp.sum(x**2, -1), key=jax.random.key(1)
        ... )
        >>> print(f"{found.log_z:.4f} +- {found.log_z_stderr:.4f}, {found.ess:.0f}")
        1.8379 +- 0.0000, 10000
    """
    if check_positive_int("num_samples", num_samples) < 2:
        raise ValueError(f"`num_samples` must be at least 2; got {num_samples=}.")
    if context is not None:
        context = as_floats("context", context, jnp.result_type(float))
    check_log_density(log_density, flow, params, context)
    x, log_q = flow.sample_and_log_prob(
        params, as_key(key), (num_samples,), context, batch_size=batch_size
    )
    warn_of_ends(flow, params, log_density, x, context)
    return _estimates(log_density(x) if context is None else log_density(x, context), log_q)


def _estimates(log_p: jax.Array, log_q: jax.Array) -> Evidence:
    """Estimate from the log-densities of samples of q, along the first axis."""
    # Subtract what all have in common first: beside a constant of 1e7, float32 has no digits left
    # for `log_q`, nor for averaging weights.
    constant = _finite_or_zero(jnp.max(log_p, axis=0))
    log_w = (log_p - constant) - log_q
    largest = _finite_or_zero(jnp.max(log_w, axis=0))
    residuals = log_w - largest
    weights = jnp.exp(residuals)
    log_mean, mean_log = jnp.log(jnp.mean(weights, axis=0)), jnp.mean(residuals, axis=0)
    # Relative to their mean, so the effective sample size never exceeds the number of samples.
    relative = weights / jnp.mean(weights, axis=0)
    variance = jnp.where(log_mean == -jnp.inf, jnp.inf, jnp.mean((relative - 1) ** 2, axis=0))
    bounded = mean_log != -jnp.inf  # false if a sample is outside the support of p
    num_samples = len(log_q)
    return Evidence(
        log_z=constant + largest + log_mean,
        log_z_stderr=jnp.sqrt(variance / num_samples),
        elbo=constant + largest + mean_log,
        elbo_stderr=jnp.where(bounded, jnp.std(residuals, axis=0), jnp.inf) / num_samples**0.5,
        ess=num_samples / (1 + variance),
        pareto_k=pareto_smooth(log_w).pareto_k,
        kl=jnp.where(bounded, log_mean - mean_log, jnp.inf),
    )


def _finite_or_zero(value: jax.Array) -> jax.Array:
    return jnp.where(jnp.isfinite(value), value, 0)
