"""Quality of a flow's approximation to a density known up to its normaliser."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.annealing import Annealing, anneal, tuned_step_sizes
from distrax_flows._core.arrays import as_floats
from distrax_flows._core.checks import check_positive_int
from distrax_flows._core.keys import as_key
from distrax_flows._core.types import ArrayLike
from distrax_flows._core.warn import warn
from distrax_flows.diagnostics._ends import warn_of_ends
from distrax_flows.diagnostics._psis import pareto_smooth
from distrax_flows.functional._log_density import LogDensityFn, check_log_density
from distrax_flows.functional._pull_back import pull_back
from distrax_flows.functional.flow import Flow, Params

__all__ = ["Evidence", "evidence"]

_BAD_K = 0.7  # Vehtari et al. 2024, section 3.2.4
_LEAST_SAMPLES = 1_000  # for a warning
_EQUAL = 0.9  # share of effective samples above which weights are nearly equal
_PILOT_SAMPLES = 64
_LEAST_RUNS = 10  # of sequential Monte Carlo, for standard errors


class Evidence(NamedTuple):
    """Estimates from samples x of a flow q, with weights `w = p(x) / q(x)`; all `context_shape`.

    Attributes:
        log_z: `log(mean(w))`, an estimate of the logarithm of the normaliser of p, in nats. Too low
            on average, by about half of its variance. -inf if no sample has any weight.
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
    annealing: Annealing | None = None,
    batch_size: int | None = None,
) -> Evidence:
    """Estimate the normaliser of a density by importance sampling, with the flow as proposal.

    With `annealing`, samples move from the flow towards the density first: annealed importance
    sampling, or sequential Monte Carlo. Estimates of the normaliser then have less variance. `kl`
    is an upper bound of the divergence of the moved samples from p; with resampling, it is that of
    the estimates of single runs, and `ess` and `pareto_k` are those of the weights since the last
    resampling.

    Samples outside the support of p, with a log-density of -inf, have no weight. A log-density of
    NaN makes all estimates NaN.

    Args:
        flow: the flow q.
        params: its parameters, such as `fit_to_density(...).params`.
        log_density: as in `fit_to_density`.
        key: random key, or an integer seed.
        num_samples: number of samples (per row of the context).
        context: `[..., C]` or None.
        annealing: a path from the flow to the density, such as `dxf.Annealing(num_temperatures=8)`;
            no annealing if None. `log_density` is then compiled in, and must be differentiable.
            Sequential Monte Carlo runs ten times, each with a tenth of the samples, and its
            standard errors are those of the runs. Numbers of samples are rounded up to whole runs.
        batch_size: number of samples at a time (per row of the context), to save memory.

    Raises:
        TypeError: `log_density` is not a function.
        ValueError: `log_density` returns the wrong shape; or `num_samples` is not an integer of at
            least 2.

    Warns:
        UserWarning: k-hat is above 0.7, and less than nine tenths of the samples count; or samples
            of the flow end where p continues. Outside jit, for at least a thousand samples.

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
    if batch_size is not None:
        check_positive_int("batch_size", batch_size)
    if check_positive_int("num_samples", num_samples) < 2:
        raise ValueError(f"`num_samples` must be at least 2; got {num_samples=}.")
    if context is not None:
        context = as_floats("context", context, jnp.result_type(float))
    check_log_density(log_density, flow, params, context)
    if annealing is None:
        x, log_q = flow.sample_and_log_prob(
            params, as_key(key), (num_samples,), context, batch_size=batch_size
        )
        log_p = log_density(x) if context is None else log_density(x, context)
        constant = _constant(log_p)
        log_w = ((log_p - constant) - log_q)[:, None]
    else:
        x, log_w, constant = _annealed(
            flow, params, log_density, as_key(key), num_samples, context, annealing, batch_size
        )
        x = x.reshape(-1, *x.shape[2:])
    warn_of_ends(flow, params, log_density, x, context)
    found = _estimates(log_w, constant)
    _warn_of_tails(found, num_samples)
    return found


@functools.partial(jax.jit, static_argnums=(0, 2, 4, 6, 7))
def _annealed(
    flow: Flow,
    params: Params,
    log_density: LogDensityFn,
    key: jax.Array,
    num_samples: int,
    context: jax.Array | None,
    annealing: Annealing,
    batch_size: int | None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return annealed samples, their log-weights less a constant, and that constant.

    The first axis is that of runs, as in `_estimates`, and the second that of their samples.
    """
    pulled = pull_back(flow, params, log_density, context)

    def sample(key, num):
        return flow.sample_base(params, key, (num,), context)

    tune_key, run_key = jax.random.split(key)
    constant = _constant(pulled(sample(tune_key, _PILOT_SAMPLES)))

    def log_densities(z):
        base = flow.log_prob_base(params, z, context)
        return base, (pulled(z) - constant).astype(base.dtype)

    step_sizes = tuned_step_sizes(log_densities, sample, tune_key, annealing)
    num_runs = -(-num_samples // (batch_size or num_samples))
    if annealing.resample:
        num_runs = max(num_runs, _LEAST_RUNS)
    size = -(-num_samples // num_runs)

    def run(key):
        z_key, key = jax.random.split(key)
        annealed = anneal(log_densities, sample(z_key, size), key, step_sizes, annealing)
        return flow.forward(params, annealed.z, context)[0], annealed.log_weights

    x, log_w = jax.lax.map(run, jax.random.split(run_key, num_runs))
    if not annealing.resample:  # samples are independent
        x, log_w = (leaf.reshape(num_runs * size, 1, *leaf.shape[2:]) for leaf in (x, log_w))
    return x, log_w, constant


def _estimates(log_w: jax.Array, constant: jax.Array) -> Evidence:
    """Estimate from the log-weights of independent runs, `[R, S, ...]`, less a constant."""
    num_runs, num_samples = len(log_w), log_w.shape[0] * log_w.shape[1]
    largest = _finite_or_zero(jnp.max(log_w, axis=(0, 1)))
    weights = jnp.exp(log_w - largest)
    runs = jnp.mean(weights, axis=1)
    mean = jnp.mean(runs, axis=0)
    log_runs = jnp.log(runs) if log_w.shape[1] > 1 else (log_w - largest)[:, 0]
    log_mean, mean_log = jnp.log(mean), jnp.mean(log_runs, axis=0)

    def variance(values, axis):
        # Relative to the mean, so the effective sample size never exceeds the number of samples.
        found = jnp.mean((values / mean - 1) ** 2, axis=axis)
        return jnp.where(log_mean == -jnp.inf, jnp.inf, found)

    bounded = mean_log != -jnp.inf  # false if a sample is outside the support of p
    return Evidence(
        log_z=constant + largest + log_mean,
        log_z_stderr=jnp.sqrt(variance(runs, 0) / (num_runs - 1)),
        elbo=constant + largest + mean_log,
        elbo_stderr=jnp.where(bounded, jnp.std(log_runs, axis=0), jnp.inf) / (num_runs - 1) ** 0.5,
        ess=num_samples / (1 + variance(weights, (0, 1))),
        pareto_k=pareto_smooth(log_w.reshape(num_samples, *log_w.shape[2:])).pareto_k,
        kl=jnp.where(bounded, log_mean - mean_log, jnp.inf),
    )


def _warn_of_tails(found: Evidence, num_samples: int) -> None:
    """Warn if weights are too heavy-tailed for the estimates, and there are enough to tell.

    Weights that are nearly equal do no harm, whatever their tail.
    """
    if isinstance(found.pareto_k, Tracer) or num_samples < _LEAST_SAMPLES:
        return
    bad = (found.pareto_k > _BAD_K) & ~(found.ess > _EQUAL * num_samples)
    if np.any(bad):
        warn(
            f"The weights have k-hat {np.max(found.pareto_k):.2f}, above {_BAD_K}: the flow has "
            "too little density in parts of `log_density`, and `log_z`, `ess` and the standard "
            "errors are not reliable. Fit longer, choose a flow or base with heavier tails "
            "(`base=bases.student_t(...)`), or anneal, `annealing=dxf.Annealing()`."
        )


def _constant(log_p: jax.Array) -> jax.Array:
    """Return what log-densities have in common, to subtract from them first.

    Beside a constant of 1e7, float32 has no digits left for `log_q`, nor for averaging weights.
    """
    return _finite_or_zero(jnp.max(log_p, axis=0))


def _finite_or_zero(value: jax.Array) -> jax.Array:
    return jnp.where(jnp.isfinite(value), value, 0)
