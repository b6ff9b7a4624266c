"""Flows fitted to the samples of NUTS while it warms up."""

import functools
from typing import Any, NamedTuple, Unpack

import blackjax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows._core.checks import check_positive_int
from distrax_flows._core.keys import as_key
from distrax_flows._core.options import takes
from distrax_flows.functional._log_density import LogDensityFn, check_log_density
from distrax_flows.functional._pull_back import pull_back
from distrax_flows.functional.flow import Flow, Params
from distrax_flows.training._fit import fit
from distrax_flows.training._run import TrainingOptions

__all__ = ["Adapted", "adapt_flow"]

_INIT_SAMPLES = 1024  # samples of the base for data-dependent initialisation


class Adapted(NamedTuple):
    """Result of `adapt_flow`.

    Attributes:
        params: parameters of the flow.
        step_size: step size of NUTS in the coordinates of the flow's base.
        inverse_mass_matrix: `[D]`, diagonal of the inverse mass matrix there.
        positions: `[num_chains, *event_shape]`, the last states of the chains there.
        num_gradients: number of gradients of the log-density, over all rounds and chains.
        num_divergences: divergent transitions of each round, the last one being with the final
            flow.
    """

    params: Params
    step_size: Float[Array, ""]
    inverse_mass_matrix: Float[Array, " D"]
    positions: Float[Array, "num_chains ..."]
    num_gradients: int
    num_divergences: tuple[int, ...]


@takes(TrainingOptions)
def adapt_flow(
    flow: Flow,
    log_density: LogDensityFn,
    *,
    key: jax.Array | int,
    params: Params | None = None,
    num_rounds: int = 3,
    num_chains: int = 16,
    num_samples: int = 400,
    num_fit_steps: int = 1_000,
    batch_size: int = 128,
    **options: Unpack[TrainingOptions],
) -> Adapted:
    """Learn a flow f from the samples of NUTS while it warms up in the flow's coordinates.

    A round runs NUTS on the density in the coordinates z of the flow's base,

        log p(f(z)) + log |det df/dz|

    with blackjax's window adaptation of step size and mass matrix, and fits the flow to the second
    half of the samples `x = f(z)` by maximum likelihood. Each round has better coordinates than the
    one before. A last warm-up finds the step size for the final flow, which then stays fixed:
    samples after it are those of p, whatever the flow has learned.

    In contrast to `fit_to_density`, the flow is fitted to all regions that the chains have reached,
    and does not prefer one; but it sees no region that no chain has reached. Start the chains with
    the flow of `fit_to_density` where p is hard for NUTS from the beginning.

    Args:
        flow: the flow, without random layers, of vectors on a base with density everywhere. Both
            directions should be fast: choose couplings.
        log_density: maps `[..., D]` to `[...]`, the logarithm of p up to a constant.
        key: random key, or an integer seed.
        params: parameters to start from, such as `fit_to_density(...).params`. Without them the
            chains start at samples of the base, and the first fit initialises the flow on their
            samples.
        num_rounds: number of fits.
        num_chains: number of chains, run together.
        num_samples: samples of each chain in each round.
        num_fit_steps: gradient steps of each fit.
        batch_size: rows per batch of each fit.
        **options: those of `TrainingOptions`, for each fit.

    Returns:
        Parameters, and what `blackjax.nuts` needs to continue. Step size and mass matrix are
        medians over chains.

    Raises:
        TypeError: `log_density` is not a function.
        ValueError: `log_density` returns the wrong shape, or an argument is out of range; or chains
            give data that no flow can fit, as in `fit`, such as when none of them moves.
        NonFiniteError: a loss or a gradient is NaN or infinite.

    Reference:
        Parno & Marzouk, "Transport Map Accelerated Markov Chain Monte Carlo", 2018; Hoffman et al.,
        "NeuTra-lizing Bad Geometry in Hamiltonian Monte Carlo Using Neural Transport", 2019.

    Example:
        >>> import blackjax, distrax_flows as dxf, jax
        >>> def log_density(x):  # a banana
        ...     return -0.5 * (x[..., 0] ** 2 + 4 * (x[..., 1] - x[..., 0] ** 2) ** 2)
        >>> flow = dxf.transform(lambda: dxf.flows.realnvp(2, num_layers=4))
        >>> adapted = adapt_flow(flow, log_density, key=0, num_rounds=1, num_samples=100)
        >>> log_density_of_base = dxf.pull_back(flow, adapted.params, log_density)
        >>> nuts = blackjax.nuts(
        ...     log_density_of_base, adapted.step_size, adapted.inverse_mass_matrix)
        >>> states = jax.vmap(nuts.init)(adapted.positions)
        >>> states, _ = jax.vmap(nuts.step)(jax.random.split(jax.random.key(1), 16), states)
        >>> x, _ = flow.forward(adapted.params, states.position)
        >>> x.shape
        (16, 2)
    """
    num_rounds = check_positive_int("num_rounds", num_rounds)
    num_chains = check_positive_int("num_chains", num_chains)
    num_samples = check_positive_int("num_samples", num_samples)
    init_key, start_key, first_key, *keys = jax.random.split(as_key(key), 3 + 2 * num_rounds)
    start = flow.init_without_data(init_key, _INIT_SAMPLES) if params is None else params
    check_log_density(log_density, flow, start, None)
    warm_up = functools.partial(_warm_up, flow, log_density, num_samples)
    z = flow.sample_base(start, start_key, (num_chains,))
    rounds = [warm_up(start, z, first_key)]
    for fit_key, warm_up_key in zip(keys[::2], keys[1::2], strict=True):
        x = rounds[-1].samples
        fitted = fit(
            flow,
            x[num_samples // 2 :].reshape(-1, *flow.event_shape),
            key=fit_key,
            num_steps=num_fit_steps,
            batch_size=batch_size,
            params=params,
            **options,
        )
        params = fitted.params
        z, _ = flow.inverse(params, x[-1])
        rounds.append(warm_up(params, z, warm_up_key))
    return Adapted(
        params,
        **rounds[-1].tuned,
        positions=rounds[-1].positions,
        num_gradients=sum(int(r.num_steps) + num_chains for r in rounds),
        num_divergences=tuple(int(r.num_divergences) for r in rounds),
    )


class _Round(NamedTuple):
    """Step size and inverse mass matrix, last states, samples `[num_samples, num_chains, D]` in the
    coordinates of the data, and numbers of leapfrog steps and of divergences.
    """

    tuned: dict[str, jax.Array]
    positions: jax.Array
    samples: jax.Array
    num_steps: jax.Array
    num_divergences: jax.Array


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _warm_up(
    flow: Flow,
    log_density: LogDensityFn,
    num_samples: int,
    params: Params,
    z: jax.Array,
    key: jax.Array,
) -> _Round:
    """Run NUTS with window adaptation from `z`, `[num_chains, D]`."""
    adaptation: Any = blackjax.window_adaptation(
        blackjax.nuts,
        pull_back(flow, params, log_density),
        adaptation_info_fn=lambda state, info, _: (
            state.position,
            info.num_integration_steps,
            info.is_divergent,
        ),
    )
    run = functools.partial(adaptation.run, num_steps=num_samples)
    (state, tuned), (samples, steps, divergent) = jax.vmap(run)(jax.random.split(key, len(z)), z)
    x, _ = flow.forward(params, jnp.swapaxes(samples, 0, 1))
    # A chain that is stuck says nothing about the others.
    tuned = jax.tree.map(functools.partial(jnp.median, axis=0), tuned)
    return _Round(tuned, state.position, x, steps.sum(), divergent.sum())
