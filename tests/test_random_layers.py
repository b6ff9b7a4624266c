"""Layers that draw random numbers, such as estimates of a log-det."""

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import distrax_flows as dxf
from distrax_flows import flows

KEY = jax.random.key(0)


class Exponential(distrax.Bijector):
    """`y = expm(A) x`, whose log-det, the trace of A, is estimated by `v^T A v`."""

    def __init__(self, matrix, noise):
        super().__init__(event_ndims_in=1)
        self._matrix = matrix
        self._noise = noise

    def forward_and_log_det(self, x):
        return self._turned(self._matrix, x)

    def inverse_and_log_det(self, y):
        return self._turned(-self._matrix, y)

    def _turned(self, matrix, x):
        estimate = jnp.einsum("...i,ij,...j->...", self._noise, matrix, self._noise)
        return jnp.einsum("ij,...j->...i", jax.scipy.linalg.expm(matrix), x), estimate


class ExponentialLayer(hk.Module):
    def __call__(self, x):
        init = hk.initializers.RandomNormal(0.3)
        matrix = hk.get_parameter("matrix", (x.shape[-1],) * 2, x.dtype, init)
        return Exponential(matrix, jax.random.rademacher(hk.next_rng_key(), x.shape, x.dtype))


FLOW = dxf.transform(lambda: flows.custom(3, ExponentialLayer(), num_layers=4))
X = jax.random.normal(jax.random.key(1), (200, 3)) * jnp.array([1.0, 2.0, 3.0])
PARAMS = FLOW.init(KEY, X)
MATRICES = PARAMS["stack/layers/exponential_layer"]["matrix"]
TRACE = float(jnp.trace(MATRICES, axis1=1, axis2=2).sum())


def test_estimates_are_unbiased_and_functions_of_the_key():
    keys = jax.random.split(KEY, 2000)
    _, log_det = jax.vmap(lambda key: FLOW.inverse(PARAMS, X[0], key=key))(keys)
    error = float(log_det.std()) / len(keys) ** 0.5
    assert error > 0
    np.testing.assert_allclose(log_det.mean(), -TRACE, atol=4 * error)
    for method in (FLOW.log_prob, FLOW.forward, FLOW.inverse):
        one, again, other = (method(PARAMS, X, key=key) for key in (1, 1, 2))
        jax.tree.map(np.testing.assert_array_equal, one, again)
        assert not np.array_equal(jax.tree.leaves(one)[-1], jax.tree.leaves(other)[-1])


def test_layers_have_keys_of_their_own():
    same = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape), PARAMS)
    log_dets = [layer.log_det for layer in FLOW.trace(same, X, key=KEY)]
    for a in range(4):
        for b in range(a):
            assert not np.array_equal(log_dets[a], log_dets[b])


def test_sampling_needs_no_second_key_and_is_reproducible():
    x, log_prob = FLOW.sample_and_log_prob(PARAMS, KEY, (2000,))
    np.testing.assert_array_equal(x, FLOW.sample_and_log_prob(PARAMS, KEY, (2000,))[0])
    exact = FLOW.log_prob(PARAMS, x, key=3)
    assert not np.array_equal(exact, log_prob)
    np.testing.assert_allclose(exact.mean(), log_prob.mean(), atol=0.2)


def test_chunks_draw_for_each_row():
    parts = FLOW.log_prob(PARAMS, jnp.zeros((10, 3)), key=KEY, batch_size=3)
    assert len(np.unique(parts)) > 5
    np.testing.assert_array_equal(
        parts, FLOW.log_prob(PARAMS, jnp.zeros((10, 3)), key=KEY, batch_size=3)
    )


def test_a_distribution_holds_a_key():
    density = FLOW.distribution(PARAMS, key=5)
    np.testing.assert_array_equal(density.log_prob(X), FLOW.log_prob(PARAMS, X, key=5))
    assert jax.jit(lambda density: density.log_prob(X))(density).shape == (200,)
    with pytest.raises(ValueError, match="`key` must be given to `log_prob`"):
        FLOW.distribution(PARAMS).log_prob(X)


@pytest.mark.parametrize("method", ["log_prob", "forward", "inverse", "trace"])
def test_a_missing_key_is_asked_for_by_name(method):
    message = rf"`key` must be given to `{method}`: `.*exponential_layer` of this flow needs"
    with pytest.raises(ValueError, match=message):
        getattr(FLOW, method)(PARAMS, X)


def fit(**options):
    optimizer = fit.optimizer
    return dxf.fit(FLOW, X, key=KEY, num_steps=60, optimizer=optimizer, eval_every=20, **options)


fit.optimizer = optax.adam(1e-2)


@pytest.mark.slow
def test_a_fit_is_a_function_of_its_key_and_resumes_to_the_bit(tmp_path):
    whole = fit(validation=0.2)
    assert whole.history.loss[-10:].mean() < whole.history.loss[:10].mean()
    jax.tree.map(np.testing.assert_array_equal, whole.params, fit(validation=0.2).params)

    def stop(step, params):
        if step == 40:
            raise KeyboardInterrupt

    with pytest.raises(dxf.FitInterrupted):
        fit(validation=0.2, checkpoint_dir=tmp_path, callback=stop)
    resumed = fit(validation=0.2, checkpoint_dir=tmp_path, resume=True)
    jax.tree.map(np.testing.assert_array_equal, whole.params, resumed.params)
    np.testing.assert_array_equal(whole.history.loss, resumed.history.loss)


def test_steps_draw_anew():
    options = {"key": KEY, "num_steps": 2, "optimizer": optax.set_to_zero()}
    losses = dxf.fit(FLOW, lambda key: X, params=PARAMS, **options).history.loss
    assert losses[0] != losses[1]


def test_a_lost_number_is_explained_with_the_key_of_its_step():
    data = X.at[3].set(3e30)
    with pytest.raises(dxf.NonFiniteError, match="1 of 200 rows of the batch have a log-density"):
        dxf.fit(FLOW, lambda key: data, key=KEY, num_steps=2)


def test_the_users_own_transform_gives_keys():
    def log_prob(x):
        return flows.custom(3, ExponentialLayer(), num_layers=4).log_prob(x)

    own = hk.transform(log_prob)
    params = own.init(KEY, X)
    assert not np.array_equal(own.apply(params, KEY, X), own.apply(params, jax.random.key(1), X))


def test_optional_numbers_are_drawn_where_there_is_a_key():
    class Jittered(hk.Module):
        def __call__(self, x):
            key = hk.maybe_next_rng_key()
            shift = jnp.zeros(x.shape[-1]) if key is None else jax.random.normal(key, x.shape[-1:])
            return dxf.Shift(shift + hk.get_parameter("shift", x.shape[-1:], init=jnp.zeros))

    flow = dxf.transform(lambda: flows.custom(2, Jittered(), num_layers=2))
    params = flow.init(KEY, jnp.zeros((1, 2)))
    np.testing.assert_array_equal(flow.forward(params, jnp.zeros(2))[0], jnp.zeros(2))
    assert np.abs(flow.forward(params, jnp.zeros(2), key=1)[0]).min() > 0


def test_a_flow_that_draws_nothing_computes_nothing_for_a_key():
    flow = dxf.transform(lambda: flows.realnvp(2, num_layers=4, hidden_sizes=(8,)))
    params = flow.init(KEY, jnp.zeros((1, 2)))

    def compiled(**key):
        program = jax.jit(lambda x, **key: flow.log_prob(params, x, **key))
        return program.lower(jnp.zeros((5, 2)), **key).compile().as_text()

    assert "threefry" not in compiled(key=KEY)
    assert compiled(key=KEY).count("fusion(") == compiled().count("fusion(")
