"""Bounds of likelihoods, and bits per dimension."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.checks import check_positive_int
from distrax_flows._core.keys import as_key
from distrax_flows._core.types import ArrayLike
from distrax_flows.functional.flow import Flow, Params

__all__ = ["BitsPerDim", "LikelihoodBounds", "bits_per_dim", "likelihood_bounds"]


class LikelihoodBounds(NamedTuple):
    """Lower bounds, on average, of the log-likelihood of each event, in nats; all `[N]`.

    Attributes:
        elbo: `mean(log w)` over samples: the evidence lower bound.
        importance_weighted: `log(mean(w))`, tighter: it tends to the log-likelihood as the number
            of samples grows.
    """

    elbo: Float[Array, " N"]
    importance_weighted: Float[Array, " N"]


class BitsPerDim(NamedTuple):
    """Bits per dimension: `-log2 P(x) / D`, averaged over events; upper bounds, on average.

    Attributes:
        elbo: from `LikelihoodBounds.elbo`.
        elbo_stderr: its standard error over events.
        importance_weighted: from `LikelihoodBounds.importance_weighted`; tighter.
        importance_weighted_stderr: its standard error over events.
    """

    elbo: float
    elbo_stderr: float
    importance_weighted: float
    importance_weighted_stderr: float


def likelihood_bounds(
    flow: Flow,
    params: Params,
    x: Shaped[ArrayLike, "N ..."],
    *,
    key: jax.Array | int,
    num_samples: int = 10,
    context: Shaped[ArrayLike, "N C"] | None = None,
    batch_size: int | None = None,
) -> LikelihoodBounds:
    """Estimate bounds of log-likelihoods under a flow whose `log_prob` is a sample of `log w`.

    These are flows with dequantisation or a latent variable (`flows.dequantized`,
    `modules.LatentVariable`). For any other flow both bounds are its log-density.

    Args:
        flow: the flow.
        params: its parameters.
        x: `[N, *event_shape]`, events.
        key: random key, or an integer seed.
        num_samples: number of samples of each event's noise.
        context: `[N, C]` or None.
        batch_size: number of events at a time, to save memory; see `Flow`.

    Raises:
        ValueError: `num_samples` is not a positive integer, there are no events, or the bound of an
            event is NaN; the message names it.

    Reference:
        Burda et al., "Importance Weighted Autoencoders", 2016, eq. 8.

    Example:
        >>> import distrax_flows as dxf, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.dequantized(dxf.flows.maf(2), num_levels=4))
        >>> x = jnp.array([[0, 3], [2, 1]])
        >>> bounds = dxf.diagnostics.likelihood_bounds(flow, flow.init(0, x), x, key=1)
        >>> bool(jnp.all(bounds.elbo <= bounds.importance_weighted))
        True
    """
    check_positive_int("num_samples", num_samples)
    if 0 in np.shape(x)[:1] or np.ndim(x) == 0:
        raise ValueError(f"`x` must hold at least one event; got x.shape={np.shape(x)}.")
    keys = jax.random.split(as_key(key), num_samples)
    log_w = _log_weights(flow, batch_size, params, jnp.asarray(x), context, keys)
    bad = np.flatnonzero(np.isnan(log_w).any(axis=0))
    if bad.size:
        raise ValueError(
            "`x` must have log-likelihoods under the flow; "
            f"{bad.size} of {log_w.shape[1]} events have NaN, the first being event {bad[0]}. "
            f"`flow.trace(params, x[{bad[0]}], key=0)` shows the layer where it arises."
        )
    importance_weighted = jax.nn.logsumexp(log_w, axis=0) - math.log(num_samples)
    return LikelihoodBounds(jnp.mean(log_w, axis=0), importance_weighted)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _log_weights(flow: Flow, batch_size: int | None, params: Params, x, context, keys: jax.Array):
    """Return `[num_samples, N]`, one sample of all rows at a time."""
    return jax.lax.map(
        lambda key: flow.log_prob(params, x, context, key=key, batch_size=batch_size), keys
    )


def bits_per_dim(
    flow: Flow,
    params: Params,
    x: Shaped[ArrayLike, "N ..."],
    *,
    key: jax.Array | int,
    num_samples: int = 10,
    context: Shaped[ArrayLike, "N C"] | None = None,
    batch_size: int | None = None,
) -> BitsPerDim:
    """Estimate bits per dimension of integer events, such as images, under a flow of such events.

        -log P(x) / (D log 2),    D the number of entries of an event, channels included

    The flow must be one of integers, such as `flows.dequantized`: only then is P a probability. All
    events count: one of probability zero makes the result infinite, and NaN is an error.

    Args:
        flow: the flow.
        params: its parameters.
        x: `[N, *event_shape]`, integer events.
        key: random key, or an integer seed.
        num_samples: number of samples of each event's noise.
        context: `[N, C]` or None.
        batch_size: number of events at a time, to save memory; see `Flow`.

    Raises:
        ValueError: as in `likelihood_bounds`; or `x` holds numbers that are not integers.

    Example:
        >>> import distrax_flows as dxf, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.dequantized(dxf.flows.maf(2), num_levels=4))
        >>> x = jnp.array([[0, 3], [2, 1]])
        >>> bits = dxf.diagnostics.bits_per_dim(flow, flow.init(0, x), x, key=1)
        >>> bits.importance_weighted <= bits.elbo
        True
    """
    integers = np.asarray(x)
    if not np.array_equal(integers, np.floor(integers)):
        raise ValueError(
            "`x` must hold integers, the levels of a `flows.dequantized`: bits measure "
            "probabilities, and real numbers have densities. Undo the scaling, if any."
        )
    bounds = likelihood_bounds(
        flow, params, x, key=key, num_samples=num_samples, context=context, batch_size=batch_size
    )
    scale = -1 / (math.prod(flow.event_shape) * math.log(2))
    estimates: list[float] = []
    for bound in bounds:
        bits = scale * np.asarray(bound, np.float64)
        stderr = bits.std(ddof=1) / math.sqrt(len(bits)) if len(bits) > 1 else math.nan
        estimates += [float(bits.mean()), float(stderr)]
    return BitsPerDim(*estimates)
