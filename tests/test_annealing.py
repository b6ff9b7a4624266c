"""Annealed importance sampling and sequential Monte Carlo: unbiased weights, right moments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distrax_flows._core.annealing import Annealing, anneal, rows_at, tuned_step_sizes

KEY = jax.random.key(0)
MEAN, SCALE = jnp.array([1.5, -1.0]), jnp.array([0.5, 1.5])
LOG_Z = float(jnp.log(2 * jnp.pi * SCALE.prod()))


def log_densities(z):
    """From a standard normal to a Gaussian that is not normalised."""
    start = jax.scipy.stats.norm.logpdf(z).sum(-1)
    return start, -0.5 * jnp.sum(((z - MEAN) / SCALE) ** 2, axis=-1)


def sample(key, num):
    return jax.random.normal(key, (num, 2))


@jax.jit
def runs(keys, step_sizes):
    """Log-normaliser, weighted mean and weighted second moment of each run, by both methods."""

    def run(annealing, key):
        z_key, key = jax.random.split(key)
        z, log_w, _ = anneal(log_densities, sample(z_key, 20), key, step_sizes, annealing)
        weights = jnp.exp(log_w)[:, None]
        return jnp.mean(weights), jnp.mean(weights * z, axis=0), jnp.mean(weights * z**2, axis=0)

    methods = [Annealing(3, 3), Annealing(3, 3, resample=True)]
    return [jax.vmap(lambda key, method=method: run(method, key))(keys) for method in methods]


def test_weights_are_unbiased():
    # Whatever the step sizes: a poor one makes the estimates noisy, not wrong.
    keys = jax.random.split(KEY, 4_000)
    for step_sizes in (jnp.full(3, 0.6), jnp.array([1.5, 0.05, 0.3])):
        for found in runs(keys, step_sizes):
            exact = np.exp(LOG_Z) * np.concatenate([[1.0], MEAN, MEAN**2 + SCALE**2])
            values = np.concatenate([np.asarray(f).reshape(4_000, -1) for f in found], axis=1)
            stderr = values.std(axis=0) / 4_000**0.5
            np.testing.assert_array_less(np.abs(values.mean(axis=0) - exact), 4 * stderr)
            assert np.all(stderr < 0.1 * np.abs(exact))  # so that the test can fail


def test_step_sizes_reach_the_acceptance():
    annealing = Annealing(3, 3)
    step_sizes = tuned_step_sizes(log_densities, sample, KEY, annealing)
    annealed = anneal(log_densities, sample(KEY, 2_000), KEY, step_sizes, annealing)
    np.testing.assert_allclose(annealed.acceptance, 0.65, atol=0.1)


@pytest.mark.parametrize("resample", [False, True])
def test_each_row_of_a_batch_has_its_own_target(resample):
    means = jnp.array([[0.0], [1.0], [-2.0]])

    def shifted(z):  # [S, 3, 1]
        return jax.scipy.stats.norm.logpdf(z)[..., 0], -0.5 * jnp.sum((z - means) ** 2, -1)

    z = jax.random.normal(KEY, (20_000, 3, 1))
    annealing = Annealing(4, 2, resample)
    z, log_w, _ = jax.jit(lambda z: anneal(shifted, z, KEY, jnp.full(4, 0.7), annealing))(z)
    assert log_w.shape == (20_000, 3)
    log_z = jax.nn.logsumexp(log_w, axis=0) - np.log(20_000)
    np.testing.assert_allclose(log_z, 0.5 * np.log(2 * np.pi), atol=0.05)
    weighted = jnp.sum(jax.nn.softmax(log_w, axis=0) * z[..., 0], axis=0)
    np.testing.assert_allclose(weighted, means[:, 0], atol=0.08)


def test_points_without_density_have_no_weight():
    def half(z):
        start = jax.scipy.stats.norm.logpdf(z).sum(-1)
        return start, jnp.where(z[..., 0] > 0, start, -jnp.inf)

    z, log_w, _ = anneal(half, sample(KEY, 4_000), KEY, jnp.full(3, 0.5), Annealing(3, 3))
    np.testing.assert_allclose(jnp.mean(jnp.exp(log_w)), 0.5, atol=0.03)
    assert np.all(z[log_w > -jnp.inf, 0] > 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_samples_keep_their_dtype_in_double_precision(dtype):
    with jax.enable_x64(True):
        z = jnp.asarray(np.random.default_rng(0).normal(size=(50, 2)), dtype)
        annealing = Annealing(2, 2, resample=True)
        step_sizes = tuned_step_sizes(
            log_densities, lambda key, num: jax.random.normal(key, (num, 2), dtype), KEY, annealing
        )
        annealed = anneal(log_densities, z, KEY, step_sizes, annealing)
        assert annealed.z.dtype == dtype
        assert np.isfinite(annealed.log_weights).all()


def test_rows_are_chosen_by_weight():
    log_w = jnp.log(jnp.array([[0.1, 0.0], [0.6, 0.5], [0.3, 0.5]]))
    quantiles = jax.random.uniform(KEY, (20_000, 2))
    rows = np.asarray(rows_at(log_w + 80.0, quantiles))
    shares = [(rows == row).mean(axis=0) for row in range(3)]
    np.testing.assert_allclose(shares, np.exp(log_w), atol=0.02)


@pytest.mark.parametrize("name", ["num_temperatures", "num_leapfrog"])
def test_refuses_what_is_no_path(name):
    with pytest.raises(ValueError, match=f"`{name}` must be an integer of at least 1; got"):
        Annealing(**{name: 0})
