"""Flows in NumPyro: densities, log-dets and supports, and posteriors that are known."""

import functools
import importlib
import pickle
import sys

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_modules import jittered

import distrax_flows as dxf
from distrax_flows import flows, supports

numpyro = pytest.importorskip("numpyro")

import numpyro.distributions as dist  # noqa: E402
from numpyro.distributions import constraints  # noqa: E402
from numpyro.infer import MCMC, NUTS, SVI, Trace_ELBO  # noqa: E402
from numpyro.infer.reparam import NeuTraReparam, TransformReparam  # noqa: E402

from distrax_flows.interfaces.numpyro import (  # noqa: E402
    AutoFlow,
    FlowDistribution,
    FlowTransform,
)

SMALL = {"num_layers": 2, "hidden_sizes": (8,)}
FLOW = dxf.transform(lambda: flows.iaf(2, **SMALL))
PARAMS = jittered(FLOW.init_without_data(0))
CONDITIONAL = dxf.transform(lambda context: flows.realnvp(2, context=context, **SMALL))
CONTEXT = jnp.arange(6.0).reshape(3, 2)
CONDITIONAL_PARAMS = jittered(CONDITIONAL.init_without_data(0, context=CONTEXT))
MIXED = [supports.real(), supports.positive(), supports.circle(), supports.below(1.0)]
ON_SUPPORTS = dxf.transform(
    lambda: flows.realnvp(4, support=MIXED, num_layers=1, hidden_sizes=(4,), unroll=True)
)


@functools.cache
def on_supports():
    return ON_SUPPORTS, ON_SUPPORTS.init_without_data(0)


def run_nuts(model, *args, num_samples=2000, **options):
    mcmc = MCMC(NUTS(model, **options), num_warmup=300, num_samples=num_samples, progress_bar=False)
    mcmc.run(jax.random.key(0), *args)
    return mcmc.get_samples()


# Transforms


def test_log_det_of_a_transform_is_that_of_its_jacobian():
    transform = FlowTransform(FLOW, PARAMS)
    z = jax.random.normal(jax.random.key(0), (3, 4, 2))
    x, intermediates = transform.call_with_intermediates(z)
    jacobian = jax.vmap(jax.jacfwd(transform))(z.reshape(-1, 2))
    expected = jnp.linalg.slogdet(jacobian)[1].reshape(3, 4)
    np.testing.assert_allclose(transform.log_abs_det_jacobian(z, x), expected, atol=1e-4)
    np.testing.assert_allclose(intermediates, expected, atol=1e-4)
    np.testing.assert_array_equal(
        transform.log_abs_det_jacobian(z, x, intermediates), intermediates
    )
    np.testing.assert_allclose(transform.inv(x), z, atol=1e-4)
    np.testing.assert_allclose(transform.inv.log_abs_det_jacobian(x, z), -expected, atol=1e-4)


def test_shapes_of_a_transform_take_those_of_the_context():
    transform = FlowTransform(CONDITIONAL, CONDITIONAL_PARAMS, CONTEXT)
    assert transform.forward_shape((2,)) == transform.inverse_shape((2,)) == (3, 2)
    assert transform.forward_shape((5, 1, 2)) == transform(jnp.zeros((5, 1, 2))).shape == (5, 3, 2)


def test_a_transform_is_a_pytree_of_its_parameters():
    transform = FlowTransform(CONDITIONAL, CONDITIONAL_PARAMS, CONTEXT)
    leaves = jax.tree.leaves(transform)
    assert len(leaves) == len(jax.tree.leaves(CONDITIONAL_PARAMS)) + 1
    doubled = jax.tree.map(lambda leaf: 2 * leaf, transform)
    assert doubled.flow is CONDITIONAL
    np.testing.assert_array_equal(doubled.context, 2 * CONTEXT)
    z = jnp.ones((3, 2))
    np.testing.assert_allclose(jax.jit(lambda f, z: f(z))(transform, z), transform(z), rtol=1e-6)


@pytest.mark.slow
def test_domain_and_codomain_are_those_of_base_and_data():
    transform = FlowTransform(FLOW, PARAMS)
    assert transform.domain == transform.codomain == constraints.real_vector
    transform = FlowTransform(*on_supports())
    z = ON_SUPPORTS.sample_base(transform.params, 0, (1000,))
    assert transform.domain(z).all()
    assert not transform.domain(z + jnp.array([0.0, 0.0, 0.0, 10.0])).any()  # lines come first
    assert transform.codomain(transform(z)).all()


# Distributions


def test_density_and_samples_of_a_distribution_are_those_of_the_flow():
    distribution = FlowDistribution(FLOW, PARAMS)
    x = distribution.sample(jax.random.key(1), (4, 5))
    np.testing.assert_array_equal(x, FLOW.sample(PARAMS, 1, (4, 5)))
    np.testing.assert_allclose(distribution.log_prob(x), FLOW.log_prob(PARAMS, x), rtol=1e-6)
    same, intermediates = distribution.sample_with_intermediates(jax.random.key(1), (4, 5))
    np.testing.assert_allclose(same, x, rtol=1e-5)
    np.testing.assert_allclose(
        distribution.log_prob(same, intermediates), distribution.log_prob(x), atol=1e-4
    )


def test_a_distribution_takes_the_batch_shape_of_the_context():
    distribution = FlowDistribution(CONDITIONAL, CONDITIONAL_PARAMS, CONTEXT)
    assert (distribution.batch_shape, distribution.event_shape) == ((3,), (2,))
    x = distribution.sample(jax.random.PRNGKey(0), (5,))  # NumPyro's own keys are of the old kind
    assert x.shape == distribution.shape((5,)) == (5, 3, 2)
    expected = CONDITIONAL.log_prob(CONDITIONAL_PARAMS, x, CONTEXT)
    np.testing.assert_allclose(distribution.log_prob(x), expected, rtol=1e-6)
    wider = distribution.expand((4, 3))
    assert wider.log_prob(wider.sample(jax.random.key(0))).shape == (4, 3)


def test_a_distribution_is_a_pytree_of_its_parameters():
    distribution = FlowDistribution(CONDITIONAL, CONDITIONAL_PARAMS, CONTEXT)
    x = jnp.ones((3, 2))
    log_prob = jax.jit(lambda distribution, x: distribution.log_prob(x))(distribution, x)
    np.testing.assert_allclose(log_prob, distribution.log_prob(x), rtol=1e-5)
    grads = jax.grad(lambda distribution: distribution.log_prob(x).sum())(distribution)
    assert jax.tree.structure(grads) == jax.tree.structure(distribution)
    assert all(jnp.any(leaf != 0) for leaf in jax.tree.leaves(grads.params))


def test_models_trace_priors_and_observations():
    def model(y):
        with numpyro.plate("rows", 4):
            numpyro.sample("x", FlowDistribution(FLOW, PARAMS))
        with numpyro.plate("contexts", 3):
            numpyro.sample("y", FlowDistribution(CONDITIONAL, CONDITIONAL_PARAMS, CONTEXT), obs=y)

    y = jnp.ones((3, 2))
    x = jax.random.normal(jax.random.key(0), (4, 2))
    log_joint, trace = numpyro.infer.util.log_density(model, (y,), {}, {"x": x})
    expected = (
        FLOW.log_prob(PARAMS, x).sum() + CONDITIONAL.log_prob(CONDITIONAL_PARAMS, y, CONTEXT).sum()
    )
    np.testing.assert_allclose(log_joint, expected, rtol=1e-5)
    assert trace["x"]["value"].shape == (4, 2)


@pytest.mark.slow
def test_a_support_per_dimension_becomes_a_constraint():
    prior = FlowDistribution(*on_supports(), validate_args=True)
    x = prior.sample(jax.random.key(0), (100,))
    assert prior.support(x).all()
    outside = x[0] * jnp.array([1.0, -1.0, 1.0, 1.0])
    assert not prior.support(outside)
    with pytest.warns(UserWarning, match="Out-of-support"):
        assert prior.log_prob(outside) == -jnp.inf
    onto = dist.biject_to(prior.support)
    u = 3 * jax.random.normal(jax.random.key(1), (50, 4))
    y = onto(u)
    assert prior.support(y).all()
    log_det = jnp.linalg.slogdet(jax.vmap(jax.jacfwd(onto))(u))[1]
    np.testing.assert_allclose(onto.log_abs_det_jacobian(u, y), log_det, rtol=1e-4, atol=1e-4)


def test_flows_of_your_own_have_density_everywhere():
    def make():
        base = distrax.Independent(distrax.Normal(jnp.zeros((3, 2)), 1.0), 2)
        return distrax.Transformed(base, distrax.Block(distrax.ScalarAffine(1.0, 2.0), 2))

    prior = FlowDistribution(dxf.transform(make), {})
    assert prior.support == constraints.independent(constraints.real, 2)
    x = prior.sample(jax.random.key(0), (5,))
    expected = dist.Normal(1.0, 2.0).log_prob(x).sum((-2, -1))
    np.testing.assert_allclose(prior.log_prob(x), expected, rtol=1e-5)


# Errors


@pytest.mark.usefixtures("wrong_types")
def test_refuses_flows_that_numpyro_cannot_use():
    stateful = dxf.transform_with_state(lambda is_training: flows.realnvp(2, **SMALL))
    discrete = dxf.transform(lambda: flows.dequantized(flows.realnvp(2, **SMALL), 8))
    for make in (FlowTransform, FlowDistribution):
        with pytest.raises(TypeError, match="without state"):
            make(stateful, PARAMS)
        with pytest.raises(ValueError, match="continuous events"):
            make(discrete, PARAMS)
    with pytest.raises(ValueError, match="`context` must be given"):
        FlowDistribution(CONDITIONAL, CONDITIONAL_PARAMS)


@pytest.mark.parametrize(
    "make",
    [
        lambda size: flows.iaf(size + 1, **SMALL),
        lambda size: flows.iaf(size, support=supports.positive(), **SMALL),
    ],
)
def test_a_guide_needs_a_flow_of_all_latent_variables(make):
    guide = AutoFlow(gaussian, make)
    with pytest.raises(ValueError, match="`make_flow` must build a flow of 2 real dimensions"):
        numpyro.handlers.seed(guide, 0)()


@pytest.mark.parametrize("library", ["blackjax", "numpyro"])
def test_a_missing_library_is_named_with_the_remedy(library, monkeypatch):
    for name in list(sys.modules):
        if name.startswith(f"distrax_flows.interfaces.{library}"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=rf"pip install 'distrax_flows\[{library}\]'"):
        importlib.import_module(f"distrax_flows.interfaces.{library}")


# Guides

MEAN = jnp.array([1.0, -1.0])
COV = jnp.array([[1.0, 0.8], [0.8, 2.0]])


def gaussian():
    numpyro.sample("x", dist.MultivariateNormal(MEAN, COV))


def standardized(size):
    return flows.iaf(size, standardize=True, **SMALL)


@pytest.mark.slow
def test_fixed_parameters_belong_to_the_guide():
    guide = AutoFlow(gaussian, standardized, prefix="q")
    svi = SVI(gaussian, guide, optax.adamw(1e-2, weight_decay=1.0), Trace_ELBO())

    def fixed_and_trained(state):
        params = guide.get_posterior(svi.get_params(state)).params
        return hk.data_structures.partition(dxf.modules.is_fixed, params)

    state = jax.jit(svi.init)(jax.random.key(0))  # leaks no tracer into the guide
    fixed, trained = fixed_and_trained(state)
    assert "fixed_mean" in fixed["standardize"]
    assert svi.get_params(state).keys() == {"q_flow"}
    jax.tree.map(np.testing.assert_array_equal, svi.get_params(state)["q_flow"], trained)
    state, _ = svi.update(state)
    fixed_after, trained_after = fixed_and_trained(state)
    jax.tree.map(np.testing.assert_array_equal, fixed_after, fixed)
    assert not jnp.array_equal(jax.tree.leaves(trained_after)[0], jax.tree.leaves(trained)[0])


@pytest.mark.slow
def test_a_guide_is_its_flow_in_unconstrained_space():
    def model():
        numpyro.sample("scale", dist.LogNormal(0.0, 1.0))
        numpyro.sample("x", dist.Normal(0.0, 1.0))

    guide = AutoFlow(model, standardized)
    seeded = numpyro.handlers.seed(guide, 0)
    log_density, trace = numpyro.infer.util.log_density(seeded, (), {}, {})
    params = {"auto_flow": trace["auto_flow"]["value"]}
    log_scale, x = latent = trace["_auto_latent"]["value"]
    np.testing.assert_allclose(trace["scale"]["value"], jnp.exp(log_scale), rtol=1e-6)
    np.testing.assert_allclose(trace["x"]["value"], x, rtol=1e-6)
    posterior = guide.get_posterior(params)
    np.testing.assert_allclose(log_density, posterior.log_prob(latent) - log_scale, atol=1e-5)
    z, _ = posterior.flow.inverse(posterior.params, latent)
    np.testing.assert_allclose(guide.get_transform(params)(z), latent, rtol=1e-5, atol=1e-5)
    samples = guide.sample_posterior(jax.random.key(1), params, sample_shape=(7,))
    assert {name: value.shape for name, value in samples.items()} == {"scale": (7,), "x": (7,)}


@functools.cache
def fitted_guide():
    guide = AutoFlow(gaussian, standardized)
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, 1500))
    svi = SVI(gaussian, guide, optimizer, Trace_ELBO(num_particles=32))
    return guide, svi.run(jax.random.key(1), 1500, progress_bar=False)


@pytest.mark.slow
def test_svi_finds_a_correlated_posterior():
    guide, result = fitted_guide()
    assert abs(result.losses[-100:].mean()) < 0.01  # its evidence is 1
    x = guide.sample_posterior(jax.random.key(2), result.params, sample_shape=(20_000,))["x"]
    np.testing.assert_allclose(x.mean(axis=0), MEAN, atol=0.05)
    np.testing.assert_allclose(np.cov(x.T), COV, atol=0.1)


@pytest.mark.slow
def test_nuts_runs_in_the_coordinates_of_a_guide():
    guide, result = fitted_guide()
    neutra = NeuTraReparam(guide, result.params)
    z = run_nuts(neutra.reparam(gaussian))["auto_shared_latent"]
    np.testing.assert_allclose(np.cov(z.T), np.eye(2), atol=0.15)
    x = neutra.transform_sample(z)["x"]
    np.testing.assert_allclose(x.mean(axis=0), MEAN, atol=0.15)
    np.testing.assert_allclose(np.cov(x.T), COV, atol=0.25)


@pytest.mark.slow
def test_a_guide_pickles():
    guide, result = fitted_guide()
    again, params = pickle.loads(pickle.dumps((AutoFlow(gaussian, standardized), result.params)))
    numpyro.handlers.seed(again, 0)()
    sample = [g.sample_posterior(jax.random.key(2), params)["x"] for g in (guide, again)]
    np.testing.assert_array_equal(*sample)


# Priors in samplers


@pytest.mark.slow
def test_nuts_with_a_prior_finds_a_conjugate_posterior():
    prior = FlowDistribution(FLOW, FLOW.init_without_data(0))  # a standard normal

    def model(y):
        x = numpyro.sample("x", prior)
        numpyro.sample("y", dist.Normal(x, 0.5).to_event(1), obs=y)

    x = run_nuts(model, jnp.array([1.0, -2.0]))["x"]
    np.testing.assert_allclose(x.mean(axis=0), [0.8, -1.6], atol=0.06)
    np.testing.assert_allclose(x.var(axis=0), [0.2, 0.2], atol=0.04)


@pytest.mark.slow
def test_nuts_stays_inside_the_support():
    prior = FlowDistribution(*on_supports(), validate_args=True)
    x = run_nuts(lambda: numpyro.sample("x", prior))["x"]
    assert prior.support(x).all()
    expected = prior.sample(jax.random.key(1), (20_000,))
    np.testing.assert_allclose(x.mean(axis=0), expected.mean(axis=0), atol=0.25)
    np.testing.assert_allclose(x.std(axis=0), expected.std(axis=0), atol=0.2)


@pytest.mark.slow
def test_nuts_runs_in_the_coordinates_of_a_prior():
    normal = dist.Normal(jnp.zeros(2), 1.0).to_event(1)
    prior = dist.TransformedDistribution(normal, FlowTransform(FLOW, PARAMS))

    @numpyro.handlers.reparam(config={"x": TransformReparam()})
    def model():
        numpyro.sample("x", prior)

    samples = run_nuts(model)
    np.testing.assert_allclose(np.cov(samples["x_base"].T), np.eye(2), atol=0.15)
    np.testing.assert_allclose(
        samples["x"], FLOW.forward(PARAMS, samples["x_base"])[0], rtol=1e-3, atol=1e-3
    )
