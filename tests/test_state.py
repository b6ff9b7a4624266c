"""Flows with Haiku state: batch normalisation through `transform_with_state`."""

import io

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_modules import jittered

import distrax_flows as dxf
from distrax_flows.modules import ActNormLayer, BatchNormLayer, LULinearLayer, compose

DATA = 3 + 2 * jax.random.normal(jax.random.key(0), (200, 2))


def make_flow(decay=0.9):
    def make(is_training):
        between = compose(BatchNormLayer(is_training, decay), lambda x: dxf.Reverse())
        return dxf.flows.realnvp(2, num_layers=3, hidden_sizes=(8,), between=between)

    return dxf.transform_with_state(make)


@pytest.fixture(scope="module")
def flow():
    return make_flow()


@pytest.fixture(scope="module")
def variables(flow):
    params, state = flow.init(jax.random.key(1), DATA)
    return jittered(params, scale=0.1), state


def test_state_is_stacked_and_starts_at_the_statistics_of_the_data(flow, variables):
    _, state = flow.init(jax.random.key(1), DATA)
    (running,) = state.values()
    assert running["mean"].shape == (3, 2)
    np.testing.assert_allclose(running["mean"][-1], DATA.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(running["variance"][-1], DATA.var(axis=0), rtol=1e-5)


def test_training_normalises_by_the_batch_and_moves_the_averages(flow, variables):
    params, state = variables
    batch = 10 + DATA[:50]
    (z, log_det), new = flow.inverse(params, state, batch, is_training=True)
    shifted, _ = flow.inverse(params, state, batch + 100.0, is_training=True)
    np.testing.assert_allclose(shifted[0], z, atol=2e-3)
    np.testing.assert_allclose(shifted[1], log_det, atol=2e-3)
    (before,), (after,) = state.values(), new.values()
    expected = 0.9 * before["mean"][-1] + 0.1 * batch.mean(axis=0)
    np.testing.assert_allclose(after["mean"][-1], expected, rtol=1e-5)


@pytest.mark.parametrize("is_training", [False, True])
def test_log_dets_are_exact_in_both_modes(flow, variables, is_training):
    params, state = variables
    with jax.enable_x64(True):
        params, state, x = jax.tree.map(
            lambda leaf: jnp.asarray(leaf, np.float64), (params, state, DATA[:20])
        )

        def inverse(row):
            rows = jnp.concatenate([row[None], x[1:]])
            return flow.inverse(params, state, rows, is_training=is_training)[0][0][0]

        (_, log_det), _ = flow.inverse(params, state, x, is_training=is_training)
        if not is_training:
            _, expected = np.linalg.slogdet(jax.jacfwd(inverse)(x[0]))
            np.testing.assert_allclose(log_det[0], expected, atol=1e-9)
        # Given the statistics of a batch, training is evaluation with these as running averages.
        if is_training:
            once = dxf.transform_with_state(
                lambda is_training: distrax.Transformed(
                    distrax.Independent(distrax.Normal(jnp.zeros(2), jnp.ones(2)), 1),
                    dxf.modules.Learned(BatchNormLayer(is_training, decay=0.0)),
                )
            )
            one_params, one_state = once.init(jax.random.key(0), x)
            batch = 5 * x
            by_batch, new = once.inverse(one_params, one_state, batch, is_training=True)
            given, _ = once.inverse(one_params, new, batch)
            np.testing.assert_allclose(by_batch[0], given[0], atol=1e-12)
            np.testing.assert_allclose(by_batch[1], given[1], atol=1e-12)


def test_evaluation_is_a_flow_over_parameters_and_state(flow, variables):
    params, state = variables
    log_prob, same = flow.log_prob(params, state, DATA)
    jax.tree.map(np.testing.assert_array_equal, same, state)
    evaluation = flow.evaluation
    np.testing.assert_allclose(evaluation.log_prob(variables, DATA), log_prob, atol=1e-5)
    # A single row is welcome here, and doesn't depend on others.
    np.testing.assert_allclose(evaluation.log_prob(variables, DATA[0]), log_prob[0], atol=1e-4)
    sample, log_prob = evaluation.sample_and_log_prob(variables, jax.random.key(2), (100,))
    np.testing.assert_allclose(evaluation.log_prob(variables, sample), log_prob, atol=1e-3)
    assert evaluation.distribution(variables).event_shape == (2,)


def test_state_survives_jit_and_a_file(flow, variables):
    params, state = variables

    @jax.jit
    def step(state, batch):
        return flow.log_prob(params, state, batch, is_training=True)[1]

    for start in (0, 50, 100):
        state = step(state, DATA[start : start + 50])
    leaves, treedef = jax.tree.flatten((params, state))
    file = io.BytesIO()
    np.savez(file, *leaves)
    file.seek(0)
    loaded = jax.tree.unflatten(treedef, list(np.load(file).values()))
    expected = flow.evaluation.log_prob((params, state), DATA)
    np.testing.assert_array_equal(flow.evaluation.log_prob(loaded, DATA), expected)


def test_a_training_batch_of_one_is_refused(flow, variables):
    with pytest.raises(ValueError, match="A training batch must have at least 2 rows"):
        flow.log_prob(*variables, DATA[:1], is_training=True)


def test_fit_trains_parameters_and_keeps_state():
    flow = make_flow()
    fitted = dxf.fit(flow, DATA, key=jax.random.key(3), num_steps=200, batch_size=50, ema_decay=0.9)
    params, state = fitted.params
    assert {leaf.shape for leaf in jax.tree.leaves(state)} == {(3, 2)}
    nll = -flow.evaluation.log_prob((params, state), DATA).mean()
    exact = -distrax.Normal(3.0, 2.0).log_prob(DATA).sum(axis=-1).mean()
    assert nll < exact + 0.1


def test_actnorm_is_exact_at_every_depth_of_a_glow():
    """After `init` what every layer's normalisation returns has mean 0 and deviation 1."""
    seen = []

    def spy(x):
        jax.debug.callback(lambda rows: seen.append(np.asarray(rows)), x)
        return dxf.Shift(jnp.zeros(x.shape[-1:]))

    def make():
        between = compose(ActNormLayer(), spy, LULinearLayer())
        return dxf.flows.realnvp(2, num_layers=4, hidden_sizes=(8,), between=between)

    flow = dxf.transform(make)
    x = jnp.array([100.0, 0.01]) * (1 + jax.random.normal(jax.random.key(0), (500, 2)))
    params = flow.init(jax.random.key(1), x)
    seen.clear()
    jax.block_until_ready(flow.log_prob(params, x))
    jax.effects_barrier()
    assert len(seen) == 4
    for rows in seen:
        np.testing.assert_allclose(rows.mean(axis=0), 0.0, atol=1e-4)
        np.testing.assert_allclose(rows.std(axis=0), 1.0, atol=1e-4)


def test_needs_of_make():
    with pytest.raises(TypeError, match=r"one named 'context' or 'is_training'; it needs \['z'\]"):
        dxf.transform_with_state(lambda z: None)
