"""Latent variables and bounds of likelihoods, against closed forms of a linear-Gaussian model.

z ~ N(0, I),   x | z ~ N(W z + b, s^2 I),   q(z | x) = N(A (x - b), diag(r)^2)
"""

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import distrax_flows as dxf
from distrax_flows.diagnostics import likelihood_bounds
from distrax_flows.modules import LatentVariable

KEY = jax.random.key(0)
W = np.array([[1.0, -0.5], [0.3, 0.8], [-0.6, 0.2]])
B = np.array([0.5, -1.0, 2.0])
S = 0.7
X = np.array([[0.1, -0.4, 1.5], [2.0, -1.5, 2.5], [-1.0, 0.5, 2.2]])

# The exact posterior: N(GAIN (x - b), COVARIANCE).
COVARIANCE = np.linalg.inv(np.eye(2) + W.T @ W / S**2)
GAIN = COVARIANCE @ W.T / S**2
MARGINAL = scipy.stats.multivariate_normal(B, W @ W.T + S**2 * np.eye(3))

DECODER = {"weights": W, "bias": B, "log_scale": np.log(np.full(3, S))}
# Wrong in location, scale and correlation, and wider than the posterior.
WRONG = {"gain": 0.7 * GAIN + 0.05, "log_radius": np.log([0.9, 0.8])}


def normal(loc, scale):
    return distrax.Independent(distrax.Normal(loc, jnp.broadcast_to(scale, loc.shape)), 1)


def decode(z):
    weights, bias, log_scale = (
        hk.get_parameter(name, value.shape, z.dtype, jnp.ones) for name, value in DECODER.items()
    )
    return normal(z @ weights.T + bias, jnp.exp(log_scale))


def encode(x):
    gain, log_radius = (
        hk.get_parameter(name, value.shape, x.dtype, jnp.ones) for name, value in WRONG.items()
    )
    return normal((x - B.astype(x.dtype)) @ gain.T, jnp.exp(log_radius))


def encode_exactly(x):
    loc = (x - B.astype(x.dtype)) @ GAIN.T.astype(x.dtype)
    return distrax.MultivariateNormalTri(loc, jnp.asarray(np.linalg.cholesky(COVARIANCE), x.dtype))


def make_flow(encoder):
    def make():
        prior = normal(jnp.zeros(2), 1.0)
        return dxf.flows.Transformed(prior, LatentVariable(decode, encoder), event_shape=(3,))

    return dxf.transform(make)


def as_arrays(**modules):
    return jax.tree.map(lambda value: jnp.asarray(value, float), modules)


FLOW, EXACT = make_flow(encode), make_flow(encode_exactly)


def kl_from_posterior(x):
    """KL(q || p(z | x)), of two Gaussians."""
    inverse = np.linalg.inv(COVARIANCE)
    q_covariance = np.diag(np.exp(2 * WRONG["log_radius"]))
    away = (x - B) @ (WRONG["gain"] - GAIN).T
    log_dets = np.linalg.slogdet(COVARIANCE)[1] - np.linalg.slogdet(q_covariance)[1]
    square = np.einsum("...i,ij,...j->...", away, inverse, away)
    return 0.5 * (np.trace(inverse @ q_covariance) - 2 + square + log_dets)


def test_elbo_misses_the_likelihood_by_the_divergence_of_the_encoder(x64):
    repeats = 2_000
    x = jnp.asarray(np.repeat(X, repeats, axis=0))
    bounds = likelihood_bounds(
        FLOW, as_arrays(decoder=DECODER, encoder=WRONG), x, key=KEY, num_samples=5
    )
    elbo = np.asarray(bounds.elbo).reshape(len(X), repeats)
    exact = MARGINAL.logpdf(X) - kl_from_posterior(X)
    error = elbo.std(axis=1) / repeats**0.5
    assert (kl_from_posterior(X) > 20 * error).all()
    assert (np.abs(elbo.mean(axis=1) - exact) < 4.5 * error).all()


def test_importance_weights_tend_to_the_likelihood(x64):
    params, log_p = as_arrays(decoder=DECODER, encoder=WRONG), MARGINAL.logpdf(X)
    repeats = 1_000
    x = jnp.asarray(np.repeat(X, repeats, axis=0))
    means = []
    for num_samples in (1, 10, 100):
        bounds = likelihood_bounds(FLOW, params, x, key=KEY, num_samples=num_samples)
        bound = np.asarray(bounds.importance_weighted).reshape(len(X), repeats)
        means.append(bound.mean(axis=1))
        # The weights themselves have the likelihood as mean.
        weight = np.exp(bound - log_p[:, None])
        error = weight.std(axis=1) / repeats**0.5
        assert (np.abs(weight.mean(axis=1) - 1) < 4.5 * error).all()
    gaps = log_p - np.array(means)
    assert (gaps[0] > 5 * gaps[1]).all()
    assert (np.abs(gaps[2]) < 0.01).all()


def test_the_exact_posterior_leaves_no_noise(x64):
    params = as_arrays(decoder=DECODER)
    for key in range(3):
        log_prob = EXACT.log_prob(params, jnp.asarray(X), key=key)
        np.testing.assert_allclose(log_prob, MARGINAL.logpdf(X), rtol=1e-10)
    bounds = likelihood_bounds(EXACT, params, jnp.asarray(X), key=KEY, num_samples=3)
    np.testing.assert_allclose(bounds.elbo, bounds.importance_weighted, rtol=1e-10)


def log_ratio(x, z):
    """`log p(x | z) - log q(z | x)`."""
    decoded = scipy.stats.norm.logpdf(x, z @ W.T + B, S).sum(axis=-1)
    loc, scale = (x - B) @ WRONG["gain"].T, np.exp(WRONG["log_radius"])
    return decoded - scipy.stats.norm.logpdf(z, loc, scale).sum(axis=-1)


def test_log_dets_are_those_of_the_pair(x64):
    params = as_arrays(decoder=DECODER, encoder=WRONG)
    z, log_det = FLOW.inverse(params, jnp.asarray(X), key=KEY)
    np.testing.assert_allclose(log_det, log_ratio(X, np.asarray(z)), rtol=1e-10)
    x, log_det = FLOW.forward(params, z, key=KEY)
    np.testing.assert_allclose(log_det, -log_ratio(np.asarray(x), np.asarray(z)), rtol=1e-10)
    x, log_prob = FLOW.sample_and_log_prob(params, KEY, (4,))
    assert (x.shape, log_prob.shape) == ((4, 3), (4,))


def test_samples_are_decoded():
    x = np.asarray(FLOW.sample(as_arrays(decoder=DECODER, encoder=WRONG), KEY, (20_000,)))
    np.testing.assert_allclose(x.mean(axis=0), MARGINAL.mean, atol=0.05)
    np.testing.assert_allclose(np.cov(x.T), MARGINAL.cov, atol=0.08)


@pytest.mark.parametrize("method", ["log_prob", "forward", "inverse"])
def test_a_key_is_asked_for(method):
    event = jnp.zeros(2 if method == "forward" else 3)
    with pytest.raises(ValueError, match=f"`key` must be given to `{method}`: a layer of this"):
        getattr(FLOW, method)(as_arrays(decoder=DECODER, encoder=WRONG), event)


def test_all_parameters_learn():
    def loss(params):
        return -FLOW.log_prob(params, jnp.asarray(X, float), key=KEY).mean()

    gradients = jax.grad(loss)(as_arrays(decoder=DECODER, encoder=WRONG))
    for gradient in jax.tree.leaves(gradients):
        assert (np.abs(gradient) > 1e-4).all()


def test_directions_agree_on_whose_parameters_are_whose():
    """One encodes first, the other decodes first; both networks have equal names and shapes."""

    def network(x):
        return normal(dxf.modules.MLP((3,), (8,))(x), 1.0)

    def make():
        prior = normal(jnp.zeros(3), 1.0)
        return dxf.flows.Transformed(prior, LatentVariable(network, network))

    flow = dxf.transform(make)
    params = flow.init(KEY, jnp.asarray(X, float))
    moved = jax.tree.map(lambda leaf: leaf + 0.1, params)
    for method, used in ((flow.forward, "decoder"), (flow.inverse, "encoder")):
        gradients = jax.grad(lambda params, m=method: m(params, jnp.ones(3), key=KEY)[0].sum())(
            moved
        )
        for module, gradient in gradients.items():
            assert (np.abs(gradient["w"]).max() > 0) == module.startswith(used)


def test_uses_in_one_transform_share_parameters():
    def both(x):
        def network(x):
            return normal(hk.Linear(3)(x), 1.0)

        prior = normal(jnp.zeros(3), 1.0)
        flow = dxf.flows.Transformed(prior, LatentVariable(network, network))
        return flow.sample(seed=hk.next_rng_key()), flow.log_prob(x), flow.log_prob(x)

    params = hk.transform(both).init(KEY, jnp.zeros(3))
    assert params.keys() == {"decoder/linear", "encoder/linear"}


@pytest.mark.parametrize("enabled", [False, True])
def test_precision_is_that_of_the_data(enabled):
    with jax.enable_x64(enabled):
        params, x = as_arrays(decoder=DECODER, encoder=WRONG), jnp.asarray(X, float)
        arrays = [*FLOW.inverse(params, x, key=KEY), FLOW.log_prob(params, x, key=KEY)]
        arrays += FLOW.forward(params, arrays[0], key=KEY)
    assert {array.dtype.name for array in arrays} == {"float64" if enabled else "float32"}


def test_a_function_of_the_key_under_jit():
    params, x = as_arrays(decoder=DECODER, encoder=WRONG), jnp.asarray(X, float)
    compiled = jax.jit(lambda params, x, key: FLOW.log_prob(params, x, key=key))
    one, other = (compiled(params, x, jax.random.key(seed)) for seed in (1, 2))
    np.testing.assert_allclose(one, FLOW.log_prob(params, x, key=1), rtol=1e-6)
    assert (one != other).all()


@pytest.mark.parametrize(
    ("x", "num_samples", "message"),
    [
        (np.zeros((0, 3)), 2, "`x` must hold at least one event"),
        (X, 0, "`num_samples` must be an integer of at least 1; got num_samples=0"),
        (np.where(X == 2.0, np.nan, X), 2, "1 of 3 events have NaN, the first being event 1"),
    ],
)
def test_refusals(x, num_samples, message):
    with pytest.raises(ValueError, match=message):
        likelihood_bounds(
            FLOW,
            as_arrays(decoder=DECODER, encoder=WRONG),
            x.astype(np.float32),
            key=KEY,
            num_samples=num_samples,
        )
