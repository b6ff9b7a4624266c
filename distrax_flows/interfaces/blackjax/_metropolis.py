"""Metropolis-Hastings with proposals from a flow."""

import functools
from typing import Any

import blackjax
import jax

from distrax_flows.functional._log_density import LogDensityFn, check_log_density
from distrax_flows.functional.flow import Flow, Params

__all__ = ["independent_metropolis"]


def independent_metropolis(
    flow: Flow, params: Params, log_density: LogDensityFn
) -> blackjax.SamplingAlgorithm:
    """Return a Metropolis-Hastings kernel whose proposals are independent samples of a flow.

    From x it moves to a sample x' of the flow q with probability

        min(1, p(x') q(x) / (p(x) q(x')))

    and stays at x otherwise. The chain's distribution is p for any flow that has density wherever p
    has. It mixes fast if p / q is bounded and close to 1, and gets stuck where p / q is large: in
    tails of p that are heavier than those of the flow. Start it at a sample of the flow.
    `diagnostics.evidence` measures how good the proposals are.

    A step costs one sample, one value of `log_density` and two densities of the flow: choose one
    that is fast in both directions, such as couplings.

    Args:
        flow: the flow q, without random layers.
        params: its parameters, such as `fit_to_density(...).params`.
        log_density: maps `[..., *event_shape]` to `[...]`, the logarithm of p up to a constant.

    Returns:
        A blackjax algorithm: `init(position)` and `step(key, state)`, whose states have `position`
        and `logdensity`.

    Raises:
        TypeError: `log_density` is not a function.
        ValueError: `log_density` returns the wrong shape.

    Reference:
        Tierney, "Markov Chains for Exploring Posterior Distributions", 1994, section 2.3.3;
        Albergo et al., "Flow-based generative models for Markov chain Monte Carlo in lattice field
        theory", 2019, eq. 11.

    Example:
        >>> import distrax_flows as dxf, jax
        >>> flow = dxf.transform(lambda: dxf.flows.realnvp(2))
        >>> params = flow.init_without_data(0)  # a standard normal
        >>> kernel = independent_metropolis(flow, params, flow.distribution(params).log_prob)
        >>> state = kernel.init(flow.sample(params, 1))
        >>> state, info = kernel.step(jax.random.key(2), state)
        >>> print(f"{info.acceptance_rate:.4f}")
        1.0000
    """
    check_log_density(log_density, flow, params, None)

    def log_proposal(state: Any, proposed: Any) -> jax.Array:
        del state
        return flow.log_prob(params, proposed.position)

    return blackjax.irmh(log_density, functools.partial(flow.sample, params), log_proposal)
