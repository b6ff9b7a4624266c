"""Fitting: the maximum-likelihood solution, determinism, and what is compiled when."""

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import distrax_flows as dxf
from distrax_flows.modules import Learned
from distrax_flows.training._batches import array_batches, function_batches


def gaussian_flow(context=None):
    """`N(shift + context, scale)`, whose maximum-likelihood fit is known."""

    def layer(x):
        size = x.shape[-1:]
        shift = hk.get_parameter("shift", size, init=jnp.zeros)
        if context is not None:
            shift = shift + hk.get_parameter("slope", (), init=jnp.zeros) * context
        log_scale = hk.get_parameter("log_scale", size, init=jnp.zeros)
        return distrax.Chain([dxf.Shift(shift), dxf.Scale(log_scale)])

    base = distrax.Independent(distrax.Normal(jnp.zeros(2), jnp.ones(2)), 1)
    return distrax.Transformed(base, Learned(layer))


FLOW = dxf.transform(lambda: gaussian_flow())
OPTIMIZER = optax.adam(optax.cosine_decay_schedule(0.05, 600))
SGD = optax.sgd(0.1)
KEY = jax.random.key(0)


def data(num_rows=500):
    return jnp.array([3.0, -1.0]) + jnp.array([2.0, 0.5]) * jax.random.normal(KEY, (num_rows, 2))


def test_fit_finds_the_maximum_of_the_likelihood():
    x = data()
    fitted = dxf.fit(FLOW, x, key=KEY, num_steps=600, batch_size=250, optimizer=OPTIMIZER)
    (params,) = fitted.params.values()
    np.testing.assert_allclose(params["shift"], x.mean(axis=0), atol=0.05)
    np.testing.assert_allclose(jnp.exp(params["log_scale"]), x.std(axis=0), rtol=0.05)
    best = 1 + jnp.log(2 * jnp.pi) + jnp.log(x.std(axis=0)).sum()
    np.testing.assert_allclose(-FLOW.log_prob(fitted.params, x).mean(), best, atol=2e-3)
    assert fitted.history.loss.shape == (600,)
    assert np.isfinite(fitted.history.loss).all()
    assert fitted.history.train_seconds > 0


def test_fresh_draws_and_a_conditional_flow():
    flow = dxf.transform(lambda context: gaussian_flow(context))

    def draw(key):
        key_x, key_c = jax.random.split(key)
        context = jax.random.normal(key_c, (100, 1))
        return 2.0 * context + 0.1 * jax.random.normal(key_x, (100, 2)), context

    options = {"key": KEY, "num_steps": 600, "optimizer": OPTIMIZER}
    fresh = dxf.fit(flow, draw, **options)
    x, context = draw(KEY)
    from_array = dxf.fit(flow, x, context=context, batch_size=50, **options)
    for fitted in (fresh, from_array):
        (params,) = fitted.params.values()
        np.testing.assert_allclose(params["slope"], 2.0, atol=0.05)
        np.testing.assert_allclose(jnp.exp(params["log_scale"]), 0.1, rtol=0.2)


def test_fit_is_reproducible_to_the_bit():
    runs = [
        dxf.fit(FLOW, data(), key=jax.random.key(seed), num_steps=60, optimizer=OPTIMIZER)
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(runs[0].history.loss, runs[1].history.loss)
    jax.tree.map(np.testing.assert_array_equal, runs[0].params, runs[1].params)
    assert np.any(runs[0].history.loss != runs[2].history.loss)


def test_moving_average_is_corrected_for_its_start():
    trajectory = []
    options = {"key": KEY, "num_steps": 1, "batch_size": 500, "optimizer": OPTIMIZER}
    (params,) = dxf.fit(FLOW, data(), ema_decay=0.9, **options).params.values()
    (last,) = dxf.fit(FLOW, data(), **options).params.values()
    # After one step the average is that step's parameters, not a tenth of them.
    np.testing.assert_allclose(params["shift"], last["shift"], rtol=1e-5)

    for num_steps in (1, 2, 3):
        fitted = dxf.fit(FLOW, data(), key=KEY, num_steps=num_steps, optimizer=SGD)
        trajectory.append(next(iter(fitted.params.values()))["shift"])
    averaged = dxf.fit(FLOW, data(), key=KEY, num_steps=3, optimizer=SGD, ema_decay=0.5)
    weights = np.array([0.25, 0.5, 1.0]) / 1.75
    expected = sum(w * p for w, p in zip(weights, trajectory, strict=True))
    actual = next(iter(averaged.params.values()))["shift"]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_a_second_fit_compiles_nothing():
    traces = []

    def make():
        traces.append(None)
        return gaussian_flow()

    flow = dxf.transform(make)
    dxf.fit(flow, data(), key=KEY, num_steps=20)
    before = len(traces)
    dxf.fit(flow, 1 + data(), key=jax.random.key(1), num_steps=20)
    assert len(traces) == before


def test_start_callback_and_remainder():
    seen = []
    first = dxf.fit(FLOW, data(), key=KEY, num_steps=5, optimizer=SGD)
    fitted = dxf.fit(
        FLOW,
        data(),
        key=KEY,
        num_steps=509,  # a prime: chunks of 250, 250 and 9
        optimizer=SGD,
        params=first.params,
        callback=lambda step, params: seen.append((step, params)),
    )
    assert [step for step, _ in seen] == [0, 250, 500, 509]
    jax.tree.map(np.testing.assert_array_equal, seen[0][1], first.params)
    jax.tree.map(np.testing.assert_array_equal, seen[-1][1], fitted.params)
    assert fitted.history.loss.shape == (509,)


@pytest.mark.parametrize("batch_size", [4, 7])
def test_every_row_comes_once_per_epoch(batch_size):
    rows = jnp.arange(10.0)[:, None]
    batches = array_batches(rows, None, KEY, batch_size)
    (stream,) = batches.take(0, 5 * 10)
    epochs = np.asarray(stream).reshape(-1)[: 5 * 10 * batch_size // 10 * 10].reshape(-1, 10)
    np.testing.assert_array_equal(
        np.sort(epochs, axis=1), np.tile(np.arange(10.0), (len(epochs), 1))
    )
    assert np.any(epochs[0] != epochs[1])
    # Any chunk of the stream is the same stream.
    np.testing.assert_array_equal(batches.take(3, 4)[0], stream[3:7])


def test_fresh_draws_do_not_depend_on_the_chunk():
    batches = function_batches(lambda key: jax.random.normal(key, (8, 2)), KEY)
    (stream,) = batches.take(0, 6)
    np.testing.assert_array_equal(batches.take(2, 3)[0], stream[2:5])
    assert len(np.unique(np.asarray(stream)[..., 0])) == 48
    assert batches.step_bytes == 8 * 2 * 4


def test_progress_bar_shows_the_loss(capsys):
    pytest.importorskip("tqdm")
    options = {"key": KEY, "num_steps": 20, "optimizer": OPTIMIZER}
    dxf.fit(FLOW, data(), progress=True, **options)
    assert "loss=" in capsys.readouterr().err
    dxf.fit(FLOW, data(), progress=False, **options)
    dxf.fit(FLOW, data(), **options)  # not a terminal
    assert capsys.readouterr().err == ""
