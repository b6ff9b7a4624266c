"""Fitting: the maximum-likelihood solution, determinism, and compilation."""

import re
import sys
import types

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import distrax_flows as dxf
from distrax_flows.functional._events import Events
from distrax_flows.modules import Learned
from distrax_flows.training._batches import permutation, table_batches
from distrax_flows.training._data import Batch
from distrax_flows.training._progress_bar import progress_bar
from distrax_flows.training._streams import function_batches


def gaussian_flow(context=None):
    """`N(shift + slope * context, scale^2)`, whose maximum-likelihood fit is known."""

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
EVENTS = Events((2,), (2,), is_discrete=False)
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


def test_other_numbers_of_rows_compile_nothing(compilations):
    traces = []

    def make():
        traces.append(None)
        return gaussian_flow()

    flow = dxf.transform(make)
    few, many = np.asarray(data(300)), np.asarray(data(517))
    params = flow.init(KEY, few)
    options = {"key": KEY, "num_steps": 20, "batch_size": 50, "validation": 0.1}
    dxf.fit(flow, few, params=params, **options)
    before = len(traces)
    del compilations[:]
    dxf.fit(flow, many, params=params, **options)
    assert len(traces) == before
    assert compilations == []
    # An initialisation depends on all rows, so it is compiled for their number.
    dxf.fit(flow, many, **options)
    assert len(traces) == before + 1


@pytest.mark.parametrize("num_rows", [1, 2, 300, 1625, 1626, 5000])
def test_permutations_are_those_of_jax(num_rows):
    key = jax.random.key(num_rows)
    expected = jax.random.permutation(key, num_rows)
    np.testing.assert_array_equal(permutation(key, num_rows), expected)
    keys = jax.random.split(key, 2)
    several = permutation(keys, num_rows)
    assert several.shape == (2, num_rows)
    np.testing.assert_array_equal(np.sort(several), [range(num_rows)] * 2)


def test_large_tables_are_fitted_as_small_ones(monkeypatch):
    options = {"key": KEY, "num_steps": 20, "validation": 0.2, "weights": np.ones(500)}
    small = dxf.fit(FLOW, data(), **options).history
    monkeypatch.setattr("distrax_flows.training._data._SMALL_BYTES", 0)
    monkeypatch.setattr("distrax_flows.training._data._MAX_SHARED_ROWS", 0)
    large = dxf.fit(FLOW, data(), **options).history
    np.testing.assert_array_equal(small.loss, large.loss)
    np.testing.assert_allclose(small.validation_loss, large.validation_loss, rtol=1e-6)


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
    batches = table_batches(Batch(rows), KEY, batch_size)
    stream = batches.take(0, 5 * 10).x
    epochs = np.asarray(stream).reshape(-1)[: 5 * 10 * batch_size // 10 * 10].reshape(-1, 10)
    np.testing.assert_array_equal(
        np.sort(epochs, axis=1), np.tile(np.arange(10.0), (len(epochs), 1))
    )
    assert np.any(epochs[0] != epochs[1])
    # Any chunk of the stream is the same stream.
    np.testing.assert_array_equal(batches.take(3, 4)[0], stream[3:7])


def test_fresh_draws_do_not_depend_on_the_chunk():
    batches = function_batches(lambda key: jax.random.normal(key, (8, 2)), KEY, EVENTS)
    stream = batches.take(0, 6).x
    np.testing.assert_array_equal(batches.take(2, 3)[0], stream[2:5])
    assert len(np.unique(np.asarray(stream)[..., 0])) == 48
    assert batches.step_bytes == 8 * 2 * 4


def test_an_iterator_and_a_memory_map_give_what_an_array_gives(tmp_path):
    options = {"key": KEY, "num_steps": 12, "optimizer": SGD, "progress": False}
    np.save(tmp_path / "x.npy", data())
    on_disk = np.load(tmp_path / "x.npy", mmap_mode="r")
    by_array, by_map = (
        dxf.fit(FLOW, x, batch_size=50, validation=0.2, **options) for x in (data(), on_disk)
    )
    jax.tree.map(np.testing.assert_array_equal, by_array.params, by_map.params)
    np.testing.assert_array_equal(by_array.history.validation_loss, by_map.history.validation_loss)

    _, data_key = jax.random.split(KEY)
    stream = table_batches(Batch(data()), data_key, 50).take(0, 12).x
    by_iterator = dxf.fit(FLOW, iter(stream), **options)
    by_array = dxf.fit(FLOW, data(), batch_size=50, **options)
    jax.tree.map(np.testing.assert_array_equal, by_array.params, by_iterator.params)


def test_epochs_count_rows():
    fitted = dxf.fit(FLOW, data(500), key=KEY, num_epochs=2.5, batch_size=100, optimizer=SGD)
    assert len(fitted.history.loss) == 13  # 1,250 rows, rounded up to batches


def test_validation_stops_early_and_returns_the_best():
    x, held_out = data(40), 5 + data(30)
    seen = {}
    fitted = dxf.fit(
        FLOW,
        x,
        key=KEY,
        num_steps=400,
        batch_size=40,
        optimizer=SGD,
        validation=held_out,
        patience=3,
        eval_every=5,
        callback=seen.__setitem__,
    )
    history = fitted.history
    best = int(np.argmin(history.validation_loss))
    assert history.stopped_early
    assert len(history.validation_loss) == best + 1 + 3
    np.testing.assert_array_equal(history.evaluated_steps, 5 * (1 + np.arange(best + 4)))
    assert len(history.loss) == len(history.grad_norm) == 5 * (best + 4)
    jax.tree.map(np.testing.assert_array_equal, fitted.params, seen[5 * (best + 1)])
    loss = -FLOW.log_prob(fitted.params, held_out).mean()
    np.testing.assert_allclose(history.validation_loss[best], loss, rtol=1e-5)


def test_a_fraction_is_held_out():
    x = data(200).at[:, 0].set(jnp.arange(200.0))
    seen = []

    def forget(params):
        return jax.tree.map(jnp.zeros_like, params)

    # A step of size zero: the losses of an epoch are those of the training rows at the start.
    options = {"key": KEY, "batch_size": 15, "optimizer": optax.sgd(0.0), "num_steps": 10}
    fitted = dxf.fit(FLOW, x, validation=0.25, callback=lambda *call: seen.append(call), **options)
    start = forget(fitted.params)
    everything = -FLOW.log_prob(start, x).sum()
    training = 15 * fitted.history.loss.sum()
    np.testing.assert_allclose(
        50 * fitted.history.validation_loss[-1], everything - training, rtol=1e-4
    )


def test_several_fits_at_once_are_those_of_each_key():
    keys = jax.random.split(KEY, 3)
    options = {"num_steps": 60, "batch_size": 50, "optimizer": OPTIMIZER, "ema_decay": 0.8}
    options |= {"validation": data(64) - 1.0, "patience": 2, "eval_every": 10}
    together = dxf.fit(FLOW, data(), key=keys, **options)
    for i, key in enumerate(keys):
        alone = dxf.fit(FLOW, data(), key=key, **options)
        jax.tree.map(
            lambda one, all_, i=i: np.testing.assert_allclose(one, all_[i], rtol=2e-5, atol=1e-6),
            alone.params,
            together.params,
        )
        steps = len(alone.history.loss)
        np.testing.assert_allclose(alone.history.loss, together.history.loss[i, :steps], rtol=2e-5)
    log_prob = jax.vmap(FLOW.log_prob, (0, None))(together.params, data(7))
    assert log_prob.shape == (3, 7)
    assert np.any(log_prob[0] != log_prob[1])


def test_weights_count_as_copies_do():
    x = data(60)
    weights = jnp.where(jnp.arange(60) < 20, 3.0, 1.0)
    copies = jnp.concatenate([x, x[:20], x[:20]])
    options = {"key": KEY, "num_steps": 30, "optimizer": SGD, "eval_every": 10}
    weighted = dxf.fit(
        FLOW, x, weights=7 * weights, batch_size=60, validation=(x, None, weights), **options
    )
    copied = dxf.fit(FLOW, copies, batch_size=100, validation=copies, **options)
    compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)  # noqa: E731
    jax.tree.map(compare, weighted.params, copied.params)
    compare(weighted.history.loss, copied.history.loss)
    compare(weighted.history.validation_loss, copied.history.validation_loss)


WEIGHTS = np.random.default_rng(0).uniform(0.5, 2.0, size=200)


@pytest.mark.parametrize(
    "weights",
    [
        (1e36 * WEIGHTS).astype(np.float32),
        jnp.asarray(1e36 * WEIGHTS, jnp.float32),
        np.exp(-98 + np.log(WEIGHTS)).astype(np.float32),  # subnormal: zeros for XLA
        1e300 * WEIGHTS,
        1e-300 * WEIGHTS,
    ],
)
def test_only_ratios_of_weights_matter(weights):
    x = data(200)
    options = {"key": KEY, "num_steps": 3, "batch_size": 50, "optimizer": SGD}

    def losses(weights):
        by_fraction = dxf.fit(FLOW, x, weights=weights, validation=0.25, **options).history
        given = dxf.fit(FLOW, x, validation=(x, None, weights), **options).history
        return by_fraction.loss, by_fraction.validation_loss, given.validation_loss

    exact = np.asarray(weights, np.float64) / np.max(np.asarray(weights, np.float64))
    for actual, expected in zip(losses(weights), losses(exact), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-6)
        assert np.all(np.abs(expected) > 0.1)


def test_weights_of_a_held_out_part_may_be_tiny_beside_others():
    x = data(200)
    options = {"key": KEY, "num_steps": 1, "batch_size": 50, "optimizer": optax.sgd(0.0)}
    rows = np.asarray(jax.random.permutation(jax.random.fold_in(KEY, 2), 200))[:50]
    weights = WEIGHTS.copy()
    weights[rows] *= 1e-60
    fitted = dxf.fit(FLOW, x, weights=weights, validation=0.25, **options)
    start = {"~": {"shift": jnp.zeros(2), "log_scale": jnp.zeros(2)}}
    losses = -FLOW.log_prob(start, x)
    expected = np.average(losses[rows], weights=WEIGHTS[rows])
    np.testing.assert_allclose(fitted.history.validation_loss[-1], expected, rtol=1e-5)


def test_held_out_weights_are_those_of_examples():
    x = data(200)
    weights = jnp.where(x[:, 0] > 3.0, 10.0, 0.1)
    options = {"key": KEY, "batch_size": 50, "optimizer": optax.sgd(0.0), "num_steps": 4}
    history = dxf.fit(FLOW, x, weights=weights, validation=0.25, **options).history
    start = {"~": {"shift": jnp.zeros(2), "log_scale": jnp.zeros(2)}}
    losses = -FLOW.log_prob(start, x)
    # A mean over about half of the rows, whatever part of the weight was held out.
    heavy = jnp.average(losses, weights=weights)
    np.testing.assert_allclose(history.validation_loss[-1], heavy, rtol=0.15)


def test_an_iterator_needs_no_more_batches_than_steps():
    batches = iter([data(20)] * 10)
    fitted = dxf.fit(FLOW, batches, key=KEY, num_steps=10, eval_every=1_000, optimizer=SGD)
    assert len(fitted.history.loss) == 10


def test_initialisation_does_not_depend_on_the_chunk():
    flow = dxf.transform(
        lambda: dxf.flows.nice(2, num_layers=1, hidden_sizes=(4,), standardize=True)
    )
    options = {"key": KEY, "num_steps": 1, "batch_size": 8, "optimizer": optax.sgd(0.0)}
    starts = [dxf.fit(flow, data(), eval_every=every, **options) for every in (1, 250)]
    jax.tree.map(np.testing.assert_array_equal, starts[0].params, starts[1].params)


def test_history_has_the_norms_of_the_gradients():
    x = data(80)
    fitted = dxf.fit(FLOW, x, key=KEY, num_steps=1, batch_size=80, optimizer=SGD)
    start = jax.tree.map(jnp.zeros_like, fitted.params)
    grads = jax.grad(lambda params: -FLOW.log_prob(params, x).mean())(start)
    np.testing.assert_allclose(fitted.history.grad_norm, [optax.tree.norm(grads)], rtol=1e-5)
    assert fitted.history.seconds.shape == (1,)


def test_bad_batches_are_left_out_and_counted():
    x = data(40)
    bad = {3, 4, 11}
    stream = [x * np.nan if step in bad else x for step in range(20)]
    options = {"key": KEY, "optimizer": OPTIMIZER, "ema_decay": 0.5}
    skipped = dxf.fit(FLOW, iter(stream), num_steps=20, non_finite="skip", **options)
    clean = dxf.fit(FLOW, iter([x] * 17), num_steps=17, **options)
    jax.tree.map(np.testing.assert_array_equal, skipped.params, clean.params)
    assert skipped.history.num_skipped == 3
    assert set(np.flatnonzero(np.isnan(skipped.history.loss))) == bad

    with pytest.raises(dxf.NonFiniteError, match="The last 100 steps were all skipped"):
        dxf.fit(FLOW, lambda key: x * jnp.nan, num_steps=500, non_finite="skip", **options)


def test_a_member_that_is_lost_is_not_hidden_by_the_others():
    keys = jax.random.split(KEY, 2)
    start = {"~": {"shift": jnp.zeros((2, 2)), "log_scale": jnp.zeros((2, 2)).at[1].set(jnp.nan)}}
    options = {"num_steps": 200, "optimizer": SGD, "eval_every": 50, "params": start}
    with pytest.raises(dxf.NonFiniteError, match="at step 99, batch 99, of fit 1"):
        dxf.fit(FLOW, lambda key: data(20), key=keys, non_finite="skip", **options)


def test_a_lost_loss_is_explained_and_nothing_before_it_is_lost():
    x = data(40)
    stream = [x] * 5 + [x.at[17, 1].set(3e38)] + [x] * 10
    options = {"key": KEY, "optimizer": SGD, "num_steps": 16, "eval_every": 4}
    with pytest.raises(dxf.NonFiniteError) as caught:
        dxf.fit(FLOW, iter(stream), **options)
    message = str(caught.value)
    assert "The loss is inf and its gradient has norm inf at step 5, batch 5." in message
    assert "1 of 40 rows of the batch have a log-density that is not finite" in message
    assert "the first being number 17" in message
    assert "widest input is that of `Chain[0] > Shift`" in message
    assert "to 3e+38" in message
    good = dxf.fit(FLOW, iter(stream), **options | {"num_steps": 4})
    jax.tree.map(np.testing.assert_array_equal, caught.value.fit.params, good.params)
    np.testing.assert_array_equal(caught.value.fit.history.loss, good.history.loss)


@pytest.mark.parametrize("event_shape", [(2,), (2, 3, 1)])
def test_the_layer_that_lost_a_number_is_named(event_shape):
    event_ndims = len(event_shape)

    def make():
        def layer(x):
            slope = hk.get_parameter("slope", (), init=jnp.ones)
            scales = jnp.full(event_shape, -40.0), slope * jnp.full(event_shape, -80.0)
            return distrax.Chain(
                [
                    distrax.Block(distrax.ScalarAffine(0.0, log_scale=scale), event_ndims)
                    for scale in scales
                ]
            )

        zeros = jnp.zeros(event_shape)
        base = distrax.Independent(distrax.Normal(zeros, jnp.ones_like(zeros)), event_ndims)
        return distrax.Transformed(base, Learned(layer, event_ndims))

    flow = dxf.transform(make)
    with pytest.raises(dxf.NonFiniteError) as caught:
        dxf.fit(flow, lambda key: jax.random.normal(key, (8, *event_shape)), key=KEY, num_steps=2)
    message = str(caught.value)
    assert "8 of 8 rows of the batch have a log-density that is not finite" in message
    assert ("with entries from" in message) == (event_ndims > 1)
    assert (
        "first layer whose output is not finite is `Chain[1] > BlockScalarAffine`, in 8 of 8"
        in message
    )
    assert re.search(r"its input had values from -\d.*e\+17 to \d.*e\+17", message)  # e^40


def test_a_lost_gradient_names_its_parameters():
    def make():
        def layer(x):
            root = jnp.sqrt(hk.get_parameter("root", (), init=jnp.zeros))
            return dxf.Shift(jnp.full(2, root))

        base = distrax.Independent(distrax.Normal(jnp.zeros(2), jnp.ones(2)), 1)
        return distrax.Transformed(base, Learned(layer))

    flow = dxf.transform(make)
    message = "The gradient of 1 of 1 arrays of parameters is not finite, the first being `~:root`"
    with pytest.raises(dxf.NonFiniteError, match=message):
        dxf.fit(flow, lambda key: jax.random.normal(key, (8, 2)), key=KEY, num_steps=2)


def test_ctrl_c_returns_what_was_reached():
    def interrupt(step, params):
        if step == 8:
            raise KeyboardInterrupt

    options = {"key": KEY, "num_steps": 20, "optimizer": SGD, "eval_every": 4}
    with pytest.raises(dxf.FitInterrupted, match="after 8 of 20 steps") as caught:
        dxf.fit(FLOW, data(), callback=interrupt, **options)
    good = dxf.fit(FLOW, data(), **options | {"num_steps": 8})
    jax.tree.map(np.testing.assert_array_equal, caught.value.fit.params, good.params)
    assert isinstance(caught.value, KeyboardInterrupt)


def test_cosine_adam():
    assert dxf.training.cosine_adam(10, 1e-3) is dxf.training.cosine_adam(num_steps=10)
    params = {"mlp": {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}}
    optimizer = dxf.training.cosine_adam(10, 1e-2, warmup_steps=4, weight_decay=0.5)
    state = optimizer.init(params)
    grads = jax.tree.map(jnp.zeros_like, params)
    shrunk = []
    for _ in range(10):
        updates, state = optimizer.update(grads, state, params)
        np.testing.assert_array_equal(updates["mlp"]["b"], 0.0)
        shrunk.append(-float(updates["mlp"]["w"][0, 0]) / 0.5)
    expected = [0, 2.5e-3, 5e-3, 7.5e-3]
    expected += [1e-2 * 0.5 * (1 + np.cos(np.pi * t / 6)) for t in range(6)]
    np.testing.assert_allclose(shrunk, expected, rtol=1e-5, atol=1e-9)
    with pytest.raises(ValueError, match="`warmup_steps` must be less than `num_steps`"):
        dxf.training.cosine_adam(10, warmup_steps=10)


@pytest.mark.parametrize(
    ("make", "shrunk"),
    [
        (lambda: dxf.flows.maf(3, num_layers=3, hidden_sizes=(7,)), {"w_0", "w_1"}),
        (lambda: dxf.flows.realnvp(3, num_layers=3, hidden_sizes=(7,)), {"w"}),
        (lambda: dxf.flows.planar(3, num_layers=3), set()),  # its "w" is no network's
        (lambda: dxf.flows.bernstein(3), set()),
    ],
)
def test_weight_decay_shrinks_matrices_of_networks_alone(make, shrunk):
    optimizer = dxf.training.cosine_adam(10, weight_decay=0.1)
    params = dxf.transform(make).init(KEY, jnp.ones((1, 3)))
    params = jax.tree.map(jnp.ones_like, params)
    grads = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    moved = {name for arrays in updates.values() for name, update in arrays.items() if update.any()}
    assert moved == shrunk


def test_an_optimizer_may_look_at_the_loss():
    plateau = optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(0.5, patience=1))
    fitted = dxf.fit(FLOW, data(50), key=KEY, num_steps=200, batch_size=50, optimizer=plateau)
    assert fitted.history.loss[-1] < fitted.history.loss[0]


def test_progress_bar_shows_the_loss(capsys):
    options = {"key": KEY, "num_steps": 20, "optimizer": OPTIMIZER}
    dxf.fit(FLOW, data(), progress=True, **options)
    assert "loss=" in capsys.readouterr().err
    dxf.fit(FLOW, data(), progress=False, **options)
    dxf.fit(FLOW, data(), **options)  # not a terminal
    assert capsys.readouterr().err == ""


class Shell:
    kernel: object = None


@pytest.mark.parametrize("kernel", [None, object()])
def test_progress_bar_shows_in_notebooks(capsys, monkeypatch, kernel):
    shell = Shell()
    shell.kernel = kernel
    ipython = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    with progress_bar(10, 0, None) as bar:
        bar.update(10)
    assert ("10/10" in capsys.readouterr().err) == (kernel is not None)
    with progress_bar(10, 0, False) as bar:
        bar.update(10)
    assert capsys.readouterr().err == ""


def test_a_fit_has_a_short_repr_and_is_a_tuple():
    options = {"num_steps": 20, "optimizer": OPTIMIZER, "validation": 0.2}
    fitted = dxf.fit(FLOW, data(), key=KEY, **options)
    params, history = fitted
    loss, best = history.loss[-1], history.validation_loss.min()
    assert re.fullmatch(
        rf"Fit\(4 parameters, History\(20 steps, last loss {loss:.4f}, best validation loss "
        rf"{best:.4f}, \d+\.\d s\)\)",
        repr(fitted),
    )
    assert params is fitted.params
    several = dxf.fit(FLOW, data(), key=jax.random.split(KEY, 3), **options)
    low, high = several.history.loss[:, -1].min(), several.history.loss[:, -1].max()
    assert f"3 fits, 20 steps, last loss {low:.4f} to {high:.4f}, " in repr(several)
    assert len(repr(several)) < 200


def test_start_up_that_is_not_known_is_nan():
    options = {"key": KEY, "num_steps": 20, "optimizer": OPTIMIZER}
    one_chunk = dxf.fit(FLOW, data(), **options).history
    assert np.isnan(one_chunk.compile_seconds)
    assert one_chunk.train_seconds > 0
    assert dxf.fit(FLOW, data(), eval_every=5, **options).history.compile_seconds >= 0
