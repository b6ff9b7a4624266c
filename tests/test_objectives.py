"""Custom objectives, and parameters that are not trained."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import distrax_flows as dxf
from distrax_flows import flows, modules
from distrax_flows.training import Loss, MaximumLikelihood

KEY = jax.random.key(0)
X = 3 + jax.random.normal(jax.random.key(1), (400, 2))
FLOW = dxf.transform(lambda: flows.realnvp(2, num_layers=2, hidden_sizes=(8,)))
OPTIMIZER = optax.adam(1e-2)
OPTIONS = {"key": KEY, "num_steps": 60, "eval_every": 20, "optimizer": OPTIMIZER}


def negative_log_prob(flow, params, batch, key):
    return -flow.log_prob(params, batch.x, batch.context)


def energy_score(flow, params, batch, key):
    """Szekely & Rizzo's energy distance to the data, up to a constant, by samples."""
    a, b = flow.sample(params, key, (2, len(batch.x)))
    near, far = (jnp.sqrt(jnp.sum((a - x) ** 2, axis=-1) + 1e-6) for x in (batch.x, b))
    return Loss(near - 0.5 * far, extras={"spread": jnp.mean(far)})


def fit(**options):
    return dxf.fit(FLOW, X, **{**OPTIONS, **options})


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_maximum_likelihood_is_one_of_them():
    weights = jnp.arange(400.0)
    for options in ({}, {"validation": 0.3, "weights": weights}, {"ema_decay": 0.9}):
        own, default = fit(objective=negative_log_prob, **options), fit(**options)
        assert_same(own.params, default.params)
        assert_same(own.history.loss, default.history.loss)
        # Summed over rows that are filled up to a size, in another order.
        np.testing.assert_allclose(
            own.history.validation_loss, default.history.validation_loss, rtol=3e-7
        )
    assert_same(fit(objective=MaximumLikelihood()).params, fit().params)


def test_samples_may_be_fitted_without_a_density():
    options = {"num_steps": 600, "objective": energy_score, "validation": 0.25}
    fitted = fit(**options, optimizer=dxf.training.cosine_adam(600, 3e-2))
    x = FLOW.sample(fitted.params, KEY, (4000,))
    np.testing.assert_allclose(x.mean(axis=0), X.mean(axis=0), atol=0.2)
    np.testing.assert_allclose(x.std(axis=0), X.std(axis=0), atol=0.25)
    history = fitted.history
    assert history.extras.keys() == {"spread"}
    assert history.extras["spread"].shape == (600,)
    # Two standard normals in the plane are sqrt(pi) apart.
    np.testing.assert_allclose(history.extras["spread"][-100:].mean(), np.pi**0.5, atol=0.25)
    assert history.validation_loss.shape == (30,)


@pytest.mark.slow
def test_extras_of_several_fits_and_of_resumed_ones(tmp_path):
    several = fit(objective=energy_score, key=jax.random.split(KEY, 3))
    assert several.history.extras["spread"].shape == (3, 60)
    single = fit(objective=energy_score, key=jax.random.split(KEY, 3)[1])
    np.testing.assert_allclose(
        several.history.extras["spread"][1], single.history.extras["spread"], rtol=1e-4
    )

    def stop(step, params):
        if step == 20:
            raise KeyboardInterrupt

    options = {"objective": energy_score, "checkpoint_dir": tmp_path}
    with pytest.raises(dxf.FitInterrupted):
        fit(**options, callback=stop)
    resumed, whole = fit(**options, resume=True), fit(objective=energy_score)
    assert_same(resumed.params, whole.params)
    assert_same(resumed.history.extras, whole.history.extras)
    with pytest.raises(dxf.CheckpointError, match="`objective` is energy_score there"):
        fit(checkpoint_dir=tmp_path, resume=True)


def test_one_loss_of_all_rows_and_weights_of_its_own():
    def of_all(flow, params, batch, key):
        return jnp.mean(negative_log_prob(flow, params, batch, key))

    def first_half_only(flow, params, batch, key):
        weights = 2.0 * (jnp.arange(len(batch.x)) < len(batch.x) // 2)
        return Loss(negative_log_prob(flow, params, batch, key), weights)

    options = {"num_steps": 5, "eval_every": None, "batch_size": 100, "validation": X}
    expected = fit(**options)
    of_all_rows = fit(objective=of_all, **options)
    np.testing.assert_allclose(of_all_rows.history.loss, expected.history.loss, rtol=1e-5)
    np.testing.assert_allclose(
        of_all_rows.history.validation_loss, expected.history.validation_loss, rtol=1e-5
    )
    params = FLOW.init(KEY, X)
    halved = dxf.fit(
        FLOW, lambda key: X, objective=first_half_only, params=params, key=KEY, num_steps=1
    )
    np.testing.assert_allclose(
        halved.history.loss[0], -FLOW.log_prob(params, X[:200]).mean(), rtol=1e-5
    )


def test_flows_with_state():
    def make(is_training):
        mix = modules.compose(modules.BatchNormLayer(is_training), lambda x: dxf.Reverse())
        return flows.realnvp(2, num_layers=2, hidden_sizes=(8,), between=mix)

    def own(flow, params, batch, key):
        if not isinstance(flow, dxf.StatefulFlow):  # in validation
            return -flow.log_prob(params, batch.x)
        log_prob, state = flow.log_prob(*params, batch.x, is_training=True)
        return Loss(-log_prob, state=state)

    flow = dxf.transform_with_state(make)
    options = {**OPTIONS, "validation": 0.25}
    assert_same(
        dxf.fit(flow, X, objective=own, **options).params, dxf.fit(flow, X, **options).params
    )


CALLS = []


@dataclasses.dataclass(frozen=True)
class Scaled:
    """Of equal values, equal: compiled once."""

    factor: float

    def __call__(self, flow, params, batch, key):
        CALLS.append(self.factor)
        return self.factor * negative_log_prob(flow, params, batch, key)


def test_equal_objectives_share_what_is_compiled():
    fit(objective=Scaled(2.0))
    calls = len(CALLS)
    fit(objective=Scaled(2.0))
    assert len(CALLS) == calls
    fit(objective=Scaled(3.0))
    assert len(CALLS) > calls


@pytest.mark.usefixtures("wrong_types")
@pytest.mark.parametrize(
    ("objective", "error", "message"),
    [
        (3, TypeError, r"`objective` must be a function `\(flow, params, batch, key\) -> loss`"),
        (
            lambda flow, params, batch, key: batch.x,
            ValueError,
            r"`objective` must return .* \[128\]; got shape \(128, 2\) and dtype float32",
        ),
        (
            lambda flow, params, batch, key: jnp.zeros((), int),
            ValueError,
            r"must return a floating-point loss.*got shape \(\) and dtype int32",
        ),
        (
            lambda flow, params, batch, key: Loss(jnp.zeros(()), extras={"x": batch.x}),
            ValueError,
            r"must return extras of shape \[\]; got 'x' of shape \(128, 2\)",
        ),
    ],
)
def test_what_is_no_objective_is_refused_before_training(objective, error, message):
    with pytest.raises(error, match=message):
        fit(objective=objective)


def test_a_lost_number_names_the_rows_or_the_parameters():
    def log_of(flow, params, batch, key):
        return jnp.log(batch.x[:, 0]) + flow.log_prob(params, batch.x)

    with pytest.raises(dxf.NonFiniteError, match="1 of 400 rows of the batch have a loss that is"):
        dxf.fit(FLOW, lambda key: X.at[7, 0].set(-1.0), objective=log_of, key=KEY, num_steps=3)

    def root(flow, params, batch, key):
        return jnp.sqrt(0.0 * jnp.sum(flow.log_prob(params, batch.x)))

    with pytest.raises(dxf.NonFiniteError, match=r"The gradient of \d+ of \d+ arrays"):
        fit(objective=root)


def is_last(module_name, name, value):
    return "linear_out" in module_name


def moved(before, after):
    """`(module, name)` of the parameters that differ."""
    return {
        (module, name)
        for module, arrays in before.items()
        for name in arrays
        if not np.array_equal(arrays[name], after[module][name])
    }


LAST = {("stack/layers/mlp/linear_out", name) for name in "wb"}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": optax.adamw(1e-2, weight_decay=0.1)},
        {"ema_decay": 0.9},
        {"validation": 0.25, "patience": 1},
        {"objective": energy_score},
    ],
    ids=["plain", "decay", "average", "patience", "objective"],
)
def test_frozen_parameters_stay_to_the_bit(options):
    params = fit(num_steps=20).params
    fitted = fit(params=params, trainable=is_last, **options)
    assert moved(params, fitted.params) == LAST


def test_a_mask_freezes_as_a_function_does():
    params = FLOW.init(KEY, X)
    mask = {
        module: {name: is_last(module, name, None) for name in arrays}
        for module, arrays in params.items()
    }
    by_mask, by_function = (fit(params=params, trainable=t) for t in (mask, is_last))
    assert_same(by_mask.params, by_function.params)
    assert moved(params, by_mask.params) == LAST
    # The norm is that of the gradient of what is trained.
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)
    history = dxf.fit(
        FLOW, lambda key: X, params=params, trainable=is_last, key=KEY, num_steps=1
    ).history
    gradient = jax.grad(lambda params: -FLOW.log_prob(params, X).mean())(params)
    expected = optax.tree.norm([gradient[module][name] for module, name in LAST])
    np.testing.assert_allclose(history.grad_norm[0], expected, rtol=1e-4)


@pytest.mark.slow
def test_ensembles_and_checkpoints_of_frozen_parameters(tmp_path):
    keys = jax.random.split(KEY, 2)
    params = jax.vmap(FLOW.init, (0, None))(keys, X)
    options = {"key": keys, "params": params, "trainable": is_last}
    options |= {"ema_decay": 0.9, "validation": 0.25, "checkpoint_dir": tmp_path}

    def stop(step, params):
        if step == 40:
            raise KeyboardInterrupt

    with pytest.raises(dxf.FitInterrupted):
        fit(**options, callback=stop)
    resumed = fit(**options, resume=True)
    whole = fit(**{**options, "checkpoint_dir": None})
    assert_same(resumed.params, whole.params)
    assert moved(params, whole.params) == LAST
    del options["trainable"]
    with pytest.raises(dxf.CheckpointError, match=r"`frozen` is .* there"):
        fit(**options, resume=True)


def test_reverse_kl_with_frozen_parameters():
    params = FLOW.init(KEY, X)
    fitted = dxf.fit_to_density(
        FLOW,
        lambda x: -0.5 * jnp.sum((x - 2) ** 2, axis=-1),
        params=params,
        trainable=is_last,
        key=KEY,
        num_steps=20,
        optimizer=OPTIMIZER,
    )
    assert moved(params, fitted.params) == LAST


def test_statistics_stay_fixed_whatever_is_trainable():
    flow = dxf.transform(lambda: flows.realnvp(2, num_layers=1, standardize=True))
    params = flow.init(KEY, X)
    fitted = dxf.fit(flow, X, params=params, trainable=lambda *_: True, **OPTIONS)
    assert not any(module == "standardize" for module, _ in moved(params, fitted.params))


@pytest.mark.usefixtures("wrong_types")
@pytest.mark.parametrize(
    ("trainable", "error", "message"),
    [
        ("linear_out", TypeError, r"`trainable` must be a function .*; got 'linear_out'"),
        ({"linear": {"w": True}}, ValueError, "`trainable` must have the entries of the param"),
        (lambda *_: False, ValueError, "`trainable` must leave something to train"),
    ],
)
def test_what_chooses_nothing_is_refused(trainable, error, message):
    with pytest.raises(error, match=message):
        fit(trainable=trainable)
