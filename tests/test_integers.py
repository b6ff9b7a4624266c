"""Integers as a support: probabilities, samples, mixed events, fits, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import distrax_flows as dxf
from distrax_flows import supports

KEYS = jax.random.split(jax.random.key(0), 4_000)


def flow_on(*support):
    return dxf.transform(
        lambda: dxf.flows.nsf_coupling(2, num_layers=1, hidden_sizes=(4,), support=support)
    )


def probabilities(flow, params, x):
    """Mean over noise of the densities of events `[N, 2]`."""
    return jax.jit(
        lambda keys: jnp.mean(
            jax.vmap(lambda key: jnp.exp(flow.log_prob(params, x, key=key)))(keys), axis=0
        )
    )(KEYS)


# Layers start as the identity: the flow is a normal on the line, mapped onto the support.
def test_probabilities_are_integrals_of_the_density():
    flow = flow_on(supports.integer(), supports.real())
    params = flow.init_without_data(0)
    x = jnp.array([[-1.0, 0.3], [0.0, -1.0], [2.0, 0.0]])
    normal = scipy.stats.norm
    exact = (normal.cdf(x[:, 0] + 1) - normal.cdf(x[:, 0])) * normal.pdf(x[:, 1])
    np.testing.assert_allclose(probabilities(flow, params, x), exact, rtol=0.03)


@pytest.mark.parametrize(
    ("support", "levels"),
    [
        (supports.integer(0, 3), np.arange(4)),
        (supports.integer(-2), np.arange(-2, 12)),
        pytest.param(supports.integer(high=5), np.arange(-9, 6), marks=pytest.mark.slow),
    ],
)
def test_probabilities_sum_to_one(support, levels):
    flow = flow_on(support, support)
    params = flow.init_without_data(0)
    x = np.stack(np.meshgrid(levels, levels), axis=-1).reshape(-1, 2)
    assert flow.is_discrete
    found = probabilities(flow, params, jnp.asarray(x))  # integers, as they are
    np.testing.assert_allclose(found.sum(), 1.0, atol=0.02)
    samples = np.asarray(flow.sample(params, 1, (4_000,)))
    np.testing.assert_array_equal(samples, np.round(samples))
    shares = [(samples == event).all(axis=-1).mean() for event in x]
    np.testing.assert_allclose(shares, found, atol=0.03)


def test_what_is_no_integer_or_out_of_range_has_no_probability():
    flow = flow_on(supports.integer(0, 3), supports.real())
    params = flow.init_without_data(0)
    x = jnp.array([[0.5, 0.0], [-1.0, 0.0], [4.0, 0.0], [3.0, 0.5]])
    finite = jnp.isfinite(flow.log_prob(params, x, key=1))
    np.testing.assert_array_equal(finite, [False, False, False, True])
    with pytest.raises(ValueError, match="`key` must be given to `log_prob`"):
        flow.log_prob(params, x)


@pytest.mark.slow
def test_fits_counts_beside_real_numbers():
    rate_key, count_key = jax.random.split(jax.random.key(1))
    rate = jax.random.normal(rate_key, (4_000,))
    count = jax.random.poisson(count_key, jnp.exp(0.5 * rate + 1.0))
    x = jnp.stack([count.astype(float), rate], axis=-1)
    flow = dxf.transform(
        lambda: dxf.flows.nsf_coupling(
            2, num_layers=4, standardize=True, support=[supports.integer(0), supports.real()]
        )
    )
    fitted = dxf.fit(flow, x, key=0, num_steps=1_500)
    bounds = dxf.diagnostics.likelihood_bounds(flow, fitted.params, x, key=1, num_samples=20)
    exact = scipy.stats.norm.logpdf(rate) + scipy.stats.poisson.logpmf(
        count, np.exp(0.5 * rate + 1.0)
    )
    np.testing.assert_allclose(bounds.importance_weighted.mean(), exact.mean(), atol=0.05)
    samples = flow.sample(fitted.params, 2, (4_000,))
    np.testing.assert_allclose(samples.mean(0), x.mean(0), atol=0.2)
    np.testing.assert_allclose(jnp.corrcoef(samples.T), jnp.corrcoef(x.T), atol=0.05)


def test_integers_without_numbers_between_them_have_no_probability():
    flow = flow_on(supports.integer(), supports.integer())
    params = flow.init_without_data(0)
    x = jnp.array([[2.0e6, 0.0], [3.0e6, 0.0], [2.0**24, 0.0]])
    log_prob = flow.log_prob(params, x, key=1)
    np.testing.assert_array_equal(jnp.isfinite(log_prob), [True, False, False])


def test_samples_keep_their_dtype():
    with jax.enable_x64(True):
        flow = flow_on(supports.integer(0, 3), supports.real())
        params = jax.tree.map(lambda p: p.astype(np.float32), flow.init_without_data(0))
        assert flow.sample(params, 1, (3,)).dtype == np.float32
        assert flow.log_prob(params, np.zeros((3, 2), np.float32), key=1).dtype == np.float32


def test_events_of_other_ranks():
    flow = dxf.transform(
        lambda: dxf.flows.independent(
            (2, 2), dxf.families.spline(), num_layers=1, support=supports.integer(0, 9)
        )
    )
    x = jnp.array([[[0, 9], [3, 4]]])
    params = flow.init(0, x)
    assert flow.is_discrete
    assert np.isfinite(flow.log_prob(params, x, key=1)).all()
    assert flow.sample(params, 1, (5,)).shape == (5, 2, 2)


@pytest.mark.usefixtures("wrong_types")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.5, 3), "`low` must be an integer, or None; got low=0.5"),
        ((4, 3), "`low` must be at most `high`; got low=4 and high=3"),
        ((0, np.inf), "`high` must be an integer, or None; got high=inf"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        supports.integer(*arguments)


def test_diagnostics_of_exact_densities_refuse_noise():
    flow = flow_on(supports.integer(0, 3), supports.real())
    x = jnp.zeros((5, 2))
    with pytest.raises(ValueError, match="`flow` must have real events"):
        dxf.diagnostics.audit(flow, flow.init(0, x), x, key=1)
