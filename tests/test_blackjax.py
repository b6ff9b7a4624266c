"""Flows in blackjax: exact acceptance, moments of known targets, and adaptation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_modules import jittered

import distrax_flows as dxf
from distrax_flows import flows

blackjax = pytest.importorskip("blackjax")

from blackjax.diagnostics import effective_sample_size  # noqa: E402

from distrax_flows.interfaces.blackjax import (  # noqa: E402
    adapt_flow,
    independent_metropolis,
)

FLOW = dxf.transform(lambda: flows.realnvp(2, num_layers=2, hidden_sizes=(8,)))
PARAMS = FLOW.init_without_data(0)  # a standard normal
MEAN, STD = jnp.array([0.5, -0.5]), jnp.array([0.5, 0.9])


def gaussian(x):
    return -0.5 * jnp.sum(((x - MEAN) / STD) ** 2, axis=-1)


def funnel(x):
    scale = jnp.exp(x[..., 0] / 2)
    return -0.5 * (x[..., 0] / 3) ** 2 - 0.5 * (x[..., 1] / scale) ** 2 - jnp.log(scale)


def run(kernel, positions, num_samples):
    """Return positions `[num_chains, num_samples, D]` and infos of chains, one per position."""

    def chain(position, key):
        def step(state, key):
            state, info = kernel.step(key, state)
            return state, (state.position, info)

        state = kernel.init(position)
        return jax.lax.scan(step, state, jax.random.split(key, num_samples))[1]

    keys = jax.random.split(jax.random.key(7), len(positions))
    return jax.jit(jax.vmap(chain))(positions, keys)


@pytest.mark.slow
def test_acceptance_is_that_of_metropolis_and_hastings():
    params = jittered(PARAMS)
    kernel = independent_metropolis(FLOW, params, gaussian)
    states = jax.vmap(kernel.init)(0.5 * jax.random.normal(jax.random.key(1), (500, 2)))
    np.testing.assert_allclose(states.logdensity, gaussian(states.position), rtol=1e-5)
    new, info = jax.vmap(kernel.step)(jax.random.split(jax.random.key(2), 500), states)

    def log_weight(x):
        return gaussian(x) - FLOW.log_prob(params, x)

    # blackjax tells of a proposal only if it is accepted.
    moved = np.asarray(info.is_accepted)
    ratio = (log_weight(new.position) - log_weight(states.position))[moved]
    assert (ratio < -0.5).any()
    assert (ratio > 0).any()
    expected = jnp.exp(jnp.minimum(ratio, 0.0))
    np.testing.assert_allclose(info.acceptance_rate[moved], expected, rtol=1e-3)
    np.testing.assert_array_equal(new.position[~moved], states.position[~moved])


def test_proposals_of_a_wrong_flow_give_the_right_moments():
    kernel = independent_metropolis(FLOW, PARAMS, gaussian)
    x, info = run(kernel, FLOW.sample(PARAMS, 1, (50,)), 1_000)
    assert 0.2 < info.acceptance_rate.mean() < 0.7
    np.testing.assert_allclose(x.mean((0, 1)), MEAN, atol=0.03)
    np.testing.assert_allclose(x.std((0, 1)), STD, atol=0.03)


@pytest.mark.usefixtures("wrong_types")
def test_refuses_what_is_no_density():
    with pytest.raises(TypeError, match="must be a function"):
        independent_metropolis(FLOW, PARAMS, 3.0)
    with pytest.raises(ValueError, match="a number for each point"):
        adapt_flow(FLOW, lambda x: x, key=0)
    for name in ("num_rounds", "num_chains", "num_samples"):
        with pytest.raises(ValueError, match=f"`{name}` must be"):
            adapt_flow(FLOW, gaussian, key=0, **{name: 0})


@pytest.mark.slow
def test_adaptation_gives_what_nuts_needs():
    calls = {"num_rounds": 2, "num_chains": 4, "num_samples": 60, "num_fit_steps": 20}
    calls["batch_size"] = 64
    adapted = adapt_flow(FLOW, gaussian, key=0, params=PARAMS, **calls)
    assert adapted.positions.shape == (4, 2)
    assert adapted.inverse_mass_matrix.shape == (2,)
    assert adapted.step_size.shape == ()
    assert len(adapted.num_divergences) == 3
    assert 3 * 4 * 61 <= adapted.num_gradients < 3 * 4 * 61 * 32  # each sample takes a step
    again = adapt_flow(FLOW, gaussian, key=0, params=PARAMS, **calls)
    jax.tree.map(np.testing.assert_array_equal, again, adapted)
    start, _ = FLOW.inverse(adapted.params, FLOW.forward(adapted.params, adapted.positions)[0])
    np.testing.assert_allclose(start, adapted.positions, atol=1e-3)


@pytest.mark.slow
def test_an_adapted_flow_samples_a_funnel():
    """NUTS alone does not: its chains miss the neck."""
    flow = dxf.transform(lambda: flows.realnvp(2, num_layers=4))
    adapted = adapt_flow(flow, funnel, key=0, num_rounds=2)
    start, _ = flow.forward(adapted.params, adapted.positions)

    alone = blackjax.window_adaptation(blackjax.nuts, funnel)
    (_, tuned), _ = alone.run(jax.random.key(1), jnp.zeros(2), 1_000)
    plain, plain_info = run(blackjax.nuts(funnel, **tuned), start, 500)

    pulled = dxf.pull_back(flow, adapted.params, funnel)
    nuts = blackjax.nuts(pulled, adapted.step_size, adapted.inverse_mass_matrix)
    z, info = run(nuts, adapted.positions, 500)
    x, _ = flow.forward(adapted.params, z)
    np.testing.assert_allclose(x[..., 0].mean(), 0.0, atol=0.3)
    np.testing.assert_allclose(x[..., 0].std(), 3.0, atol=0.3)
    per_gradient, per_gradient_alone = (
        effective_sample_size(sample)[0] / infos.num_integration_steps.sum()
        for sample, infos in ((x, info), (plain, plain_info))
    )
    assert per_gradient > 5 * per_gradient_alone
    assert info.is_divergent.mean() < 0.02
