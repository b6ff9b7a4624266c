"""Fixed parameters: values set at initialisation never change, whatever the optimizer."""

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import distrax_flows as dxf
from distrax_flows.modules import is_fixed

KEY = jax.random.key(0)
X = (1000 + np.random.default_rng(0).normal(size=(400, 2))).astype(np.float32)
FLOW = dxf.transform(lambda: dxf.flows.nice(2, num_layers=1, hidden_sizes=(4,), standardize=True))
OPTIMIZERS = {
    "adamw": optax.adamw(1e-2, weight_decay=1e-1),
    "lion": optax.lion(1e-2),
    "decayed sgd": optax.chain(optax.add_decayed_weights(0.1), optax.sgd(1e-3)),
}
ADAMW = OPTIMIZERS["adamw"]


def fixed_of(params):
    return hk.data_structures.filter(is_fixed, params)


def assert_kept(fit, **options):
    """Runs a fit; its fixed entries end as they start, and something else has moved."""
    seen = {}
    fitted = fit(num_steps=100, callback=seen.__setitem__, **options)
    first = {module: seen[0][module] for module in seen[0]}
    assert fixed_of(first)
    jax.tree.map(np.testing.assert_array_equal, fixed_of(fitted.params), fixed_of(first))
    assert jax.tree.structure(fitted.params) == jax.tree.structure(first)
    assert any(
        np.any(a != b)
        for a, b in zip(jax.tree.leaves(fitted.params), jax.tree.leaves(first), strict=True)
    )
    return fitted


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_standardisation_survives_decay(name):
    fitted = assert_kept(
        lambda **options: dxf.fit(FLOW, X, key=KEY, optimizer=OPTIMIZERS[name], **options)
    )
    samples = FLOW.sample(fitted.params, KEY, (4000,))
    np.testing.assert_allclose(samples.mean(axis=0), X.mean(axis=0), atol=0.15)


@pytest.mark.slow
def test_averages_ensembles_and_state_keep_them_too(tmp_path):
    def fit(**options):
        return dxf.fit(FLOW, X, optimizer=ADAMW, **options)

    assert_kept(fit, key=KEY, ema_decay=0.9, validation=0.25)
    # Folded in by a checkpoint as well, of an ensemble.
    keys = jax.random.split(KEY, 2)
    options = {"key": keys, "eval_every": 25}
    together = assert_kept(fit, **options)
    fit(num_steps=50, checkpoint_dir=tmp_path, **options)
    resumed = fit(num_steps=100, checkpoint_dir=tmp_path, resume=True, **options)
    jax.tree.map(np.testing.assert_array_equal, resumed.params, together.params)

    stateful = dxf.transform_with_state(
        lambda is_training: dxf.flows.nice(2, num_layers=1, hidden_sizes=(4,), standardize=True)
    )
    seen = {}
    fitted = dxf.fit(stateful, X, key=KEY, num_steps=20, optimizer=ADAMW, callback=seen.__setitem__)
    jax.tree.map(np.testing.assert_array_equal, fixed_of(fitted.params[0]), fixed_of(seen[0][0]))


def test_reverse_kl_keeps_them_too():
    def log_density(x):
        return -0.5 * jnp.sum((x - 3.0) ** 2, axis=-1)

    assert_kept(
        lambda **options: dxf.fit_to_density(
            FLOW, log_density, key=KEY, num_samples=16, optimizer=ADAMW, **options
        )
    )


def test_the_optimizer_sees_trained_parameters_only():
    seen = []

    def init(params):
        seen.append(params)
        return optax.EmptyState()

    spy = optax.GradientTransformation(init, lambda updates, state, params=None: (updates, state))
    fitted = dxf.fit(FLOW, X, key=KEY, num_steps=1, optimizer=optax.chain(spy, optax.sgd(0.1)))
    assert not fixed_of(seen[0])
    _, trained = hk.data_structures.partition(is_fixed, fitted.params)
    assert jax.tree.structure(seen[0]) == jax.tree.structure(trained)


def test_a_flow_without_anything_to_train_is_fitted_as_it_is():
    def make():
        base = distrax.Independent(distrax.Normal(jnp.zeros(2), jnp.ones(2)), 1)
        layer = dxf.modules.Learned(dxf.modules.Standardize())
        return distrax.Transformed(base, layer)

    flow = dxf.transform(make)
    fitted = dxf.fit(flow, X, key=KEY, num_steps=5, optimizer=ADAMW, ema_decay=0.9)
    np.testing.assert_allclose(
        fitted.params["standardize"]["fixed_mean"], X.mean(axis=0), rtol=1e-6
    )
    np.testing.assert_array_equal(fitted.history.grad_norm, 0.0)


@pytest.mark.usefixtures("wrong_types")
def test_an_integer_is_a_seed():
    options = {"num_steps": 3, "optimizer": ADAMW, "batch_size": 50}
    by_seed, by_key, by_old_key = (
        dxf.fit(FLOW, X, key=key, **options)
        for key in (0, jax.random.key(0), jax.random.PRNGKey(0))
    )
    jax.tree.map(np.testing.assert_array_equal, by_seed.params, by_key.params)
    jax.tree.map(np.testing.assert_array_equal, by_old_key.params, by_key.params)

    def log_density(x):
        return -jnp.sum(x**2, axis=-1)

    options = {"num_steps": 3, "optimizer": ADAMW, "num_samples": 8}
    by_seed, by_key = (
        dxf.fit_to_density(FLOW, log_density, key=key, **options)
        for key in (np.int64(5), jax.random.key(5))
    )
    jax.tree.map(np.testing.assert_array_equal, by_seed.params, by_key.params)
    for bad in (True, 0.5, "0"):
        with pytest.raises(TypeError, match=r"`key` must be a random key .*, or an integer seed"):
            dxf.fit(FLOW, X, key=bad)
