"""Densities in base coordinates: exact values, contexts, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorflow_probability.substrates import jax as tfp

import distrax_flows as dxf

FLOW = dxf.transform(lambda: dxf.flows.iaf(2, num_layers=2, hidden_sizes=(8,)))
PARAMS = jax.tree.map(
    lambda p: p + 0.2 * jax.random.normal(jax.random.key(p.size), p.shape),
    FLOW.init_without_data(0),
)


def log_density(x):
    return -jnp.sum(jnp.cosh(x), axis=-1)


def test_is_the_density_times_the_volume():
    z = jax.random.normal(jax.random.key(1), (3, 4, 2))
    pulled = dxf.pull_back(FLOW, PARAMS, log_density)
    jacobian = jax.vmap(jax.jacfwd(lambda z: FLOW.forward(PARAMS, z)[0]))(z.reshape(-1, 2))
    log_det = jnp.linalg.slogdet(jacobian)[1].reshape(3, 4)
    expected = log_density(FLOW.forward(PARAMS, z)[0]) + log_det
    np.testing.assert_allclose(pulled(z), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(jax.vmap(jax.vmap(pulled))(z), expected, rtol=1e-5, atol=1e-5)


def test_of_the_flow_itself_it_is_the_base():
    z = 3 * jax.random.normal(jax.random.key(2), (50, 2))
    pulled = dxf.pull_back(FLOW, PARAMS, FLOW.distribution(PARAMS).log_prob)
    expected = jax.scipy.stats.norm.logpdf(z).sum(-1)
    np.testing.assert_allclose(pulled(z), expected, atol=2e-3)


def test_binds_a_context():
    flow = dxf.transform(lambda context: dxf.flows.iaf(2, num_layers=1, context=context))
    context = jnp.arange(6.0).reshape(3, 2)
    params = flow.init_without_data(0, context=context)

    def conditional(x, context):
        return -0.5 * jnp.sum((x - context) ** 2, axis=-1)

    pulled = dxf.pull_back(flow, params, conditional, context)
    z = jax.random.normal(jax.random.key(3), (5, 3, 2))
    x, log_det = flow.forward(params, z, context)
    np.testing.assert_allclose(pulled(z), conditional(x, context) + log_det, rtol=1e-6)


def test_samplers_of_tfp_take_it():
    pulled = dxf.pull_back(FLOW, PARAMS, FLOW.distribution(PARAMS).log_prob)
    hmc = tfp.mcmc.HamiltonianMonteCarlo(pulled, step_size=0.7, num_leapfrog_steps=3)
    z, accepted = jax.jit(
        lambda z: tfp.mcmc.sample_chain(
            num_results=200,
            current_state=z,
            kernel=hmc,
            num_burnin_steps=20,
            trace_fn=lambda _, results: results.is_accepted,
            seed=jax.random.key(5),
        )
    )(jax.random.normal(jax.random.key(4), (100, 2)))
    assert accepted.mean() > 0.8
    np.testing.assert_allclose(np.cov(z.reshape(-1, 2).T), np.eye(2), atol=0.05)


@pytest.mark.usefixtures("wrong_types")
def test_refuses_what_is_no_density():
    with pytest.raises(ValueError, match="a number for each point"):
        dxf.pull_back(FLOW, PARAMS, lambda x: x)
    with pytest.raises(TypeError, match="must be a function"):
        dxf.pull_back(FLOW, PARAMS, 3.0)
