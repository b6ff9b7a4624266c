"""Normalisation bijectors and layers: their statistics, and the resulting maps."""

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import distrax_flows as dxf
from distrax_flows.modules import (
    ActNormLayer,
    BatchNormLayer,
    Learned,
    LULinearLayer,
    Stack,
    Standardize,
    compose,
)

EPSILON = 1e-5


def data(*shape, seed=0):
    """Columns of different means and deviations, correlated."""
    rng = np.random.default_rng(seed)
    size = shape[-1]
    mix = np.eye(size) + 0.3 * rng.normal(size=(size, size))
    return (rng.normal(size=shape) @ mix * np.linspace(0.1, 5, size) + 7).astype(np.float32)


def own(params, n):
    """Of stacked parameters those of one repetition, named as if it stood alone."""
    return {
        name.removeprefix("stack/layers/"): {key: leaf[n] for key, leaf in leaves.items()}
        for name, leaves in params.items()
    }


def test_act_norm_is_a_shift_of_a_scale():
    loc, log_scale, x = data(3), data(3, seed=1) / 10, data(4, 3, seed=2)
    bijector = dxf.ActNorm(loc, log_scale)
    expected = distrax.Chain([dxf.Shift(loc), dxf.Scale(log_scale)])
    for method in ("forward_and_log_det", "inverse_and_log_det"):
        for actual, wanted in zip(
            getattr(bijector, method)(x), getattr(expected, method)(x), strict=True
        ):
            np.testing.assert_allclose(actual, wanted, rtol=1e-5)


def test_one_scale_for_all_dimensions_counts_in_all():
    bijector = dxf.ActNorm(jnp.zeros(1), jnp.full(1, 0.5))
    np.testing.assert_allclose(bijector.forward_log_det_jacobian(jnp.zeros((2, 3))), [1.5, 1.5])


def test_batch_norm_is_that_of_the_papers(x64):
    mean, loc, log_scale = (data(3, seed=seed).astype(np.float64) for seed in range(3))
    log_scale /= 10
    variance = np.array([0.0, 1e-6, 9.0])
    bijector = dxf.BatchNorm(mean, variance, loc, log_scale, epsilon=1e-3)
    x = data(5, 3, seed=4).astype(np.float64)
    u, log_det = bijector.inverse_and_log_det(x)
    np.testing.assert_allclose(
        u, loc + np.exp(log_scale) * (x - mean) / np.sqrt(variance + 1e-3), rtol=1e-12
    )
    np.testing.assert_allclose(
        log_det, np.sum(log_scale - 0.5 * np.log(variance + 1e-3)) * np.ones(5), rtol=1e-12
    )


@pytest.mark.parametrize("make_layer", [ActNormLayer, Standardize])
@pytest.mark.parametrize("batch_shape", [(50,), (5, 10), (2, 5, 5)])
def test_data_dependent_initialisation(make_layer, batch_shape):
    inverse = hk.without_apply_rng(hk.transform(lambda x: Learned(make_layer()).inverse(x)))
    x = data(*batch_shape, 3)
    z = np.asarray(inverse.apply(inverse.init(None, x), x)).reshape(-1, 3)
    np.testing.assert_allclose(z.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(z.std(axis=0), 1.0, rtol=1e-5)


@pytest.mark.parametrize("make_layer", [ActNormLayer, Standardize])
def test_dimensions_that_do_not_vary_keep_deviation_one(make_layer):
    inverse = hk.without_apply_rng(hk.transform(lambda x: Learned(make_layer()).inverse(x)))
    # A sum of equal numbers is not, in floating point, a multiple of them.
    x = np.full((10_001, 2), 0.1, np.float32)
    x[:, 1] = 1e4 + np.linspace(-1, 1, 10_001)
    params = inverse.init(None, x)
    loc, log_scale = jax.tree.leaves(params)
    if make_layer is Standardize:
        loc, log_scale = log_scale, loc
    assert loc[0] == np.float32(0.1)
    assert log_scale[0] == 0
    np.testing.assert_allclose(loc[1], 1e4, rtol=1e-6)
    np.testing.assert_allclose(log_scale[1], np.log(np.std(x[:, 1].astype(np.float64))), rtol=1e-4)
    row = jnp.array([3.0, 4.0])
    np.testing.assert_array_equal(inverse.apply(inverse.init(None, row), row + 1), [1.0, 1.0])


def test_act_norm_layer_learns():
    def loss(params):
        x, log_det = inverse.apply(params, data(20, 2, seed=5))
        return jnp.mean(jnp.sum(x**2, axis=-1) - log_det)

    inverse = hk.without_apply_rng(
        hk.transform(lambda x: Learned(ActNormLayer()).inverse_and_log_det(x))
    )
    gradients = jax.grad(loss)(inverse.init(None, data(20, 2)))
    assert all(np.all(leaf != 0) for leaf in jax.tree.leaves(gradients))


def stack_inverse(make_layer, x):
    """The inverse of three repetitions and of one; the parameters of the three."""
    three, one = (
        hk.without_apply_rng(hk.transform(lambda x, make=make: Learned(make()).inverse(x)))
        for make in (lambda: Stack(make_layer(), 3), make_layer)
    )
    return three, one, three.init(jax.random.key(0), x)


def test_every_repetition_in_a_stack_is_initialised_on_what_reaches_it():
    def make_layer():
        return compose(LULinearLayer(), ActNormLayer())

    x = data(300, 3)
    three, one, params = stack_inverse(make_layer, x)
    z = x
    for n in reversed(range(3)):
        z = np.asarray(one.apply(own(params, n), z))
        np.testing.assert_allclose(z.mean(axis=0), 0.0, atol=1e-4)
        np.testing.assert_allclose(z.std(axis=0), 1.0, rtol=1e-4)
    np.testing.assert_allclose(three.apply(params, x), z, atol=1e-5)


def test_normalisation_before_the_rotation_is_of_the_data():
    x = data(300, 3)
    three, _, params = stack_inverse(lambda: compose(ActNormLayer(), LULinearLayer()), x)
    statistics = params["stack/layers/act_norm_layer"]
    np.testing.assert_allclose(statistics["loc"][-1], x.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(statistics["log_scale"][-1], np.log(x.std(axis=0)), rtol=1e-4)
    np.testing.assert_allclose(statistics["loc"][:-1], 0.0, atol=1e-4)
    # A rotation keeps the sum of the variances, if not each.
    z = np.asarray(three.apply(params, x))
    np.testing.assert_allclose(z.mean(axis=0), 0.0, atol=1e-4)
    np.testing.assert_allclose(z.var(axis=0).sum(), 3.0, rtol=1e-4)


def batch_norm(is_training, method="inverse_and_log_det", event_ndims=1):
    """Compiled, as a function of parameters, state and input."""
    transformed = hk.without_apply_rng(
        hk.transform_with_state(
            lambda x: getattr(
                Learned(BatchNormLayer(is_training, decay=0.9), event_ndims=event_ndims), method
            )(x)
        )
    )
    return transformed.init, jax.jit(transformed.apply)


def moved(params):
    return jax.tree.map(lambda leaf: leaf + jnp.linspace(0.1, 0.3, leaf.size), params)


def test_batch_norm_in_training_normalises_by_the_batch():
    init, apply = batch_norm(is_training=True)
    params, state = init(None, data(40, 3))
    params = moved(params)
    loc, log_scale = (params["batch_norm_layer"][name] for name in ("loc", "log_scale"))
    x = data(30, 3, seed=1) + 4
    (u, log_det), _ = apply(params, state, x)
    np.testing.assert_allclose(u.mean(axis=0), loc, rtol=1e-4)
    np.testing.assert_allclose(u.std(axis=0), np.exp(log_scale), rtol=1e-3)
    expected = dxf.BatchNorm(x.mean(axis=0), x.var(axis=0), loc, log_scale, EPSILON)
    for actual, wanted in zip((u, log_det), expected.inverse_and_log_det(x), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-4)


def test_running_statistics_follow_their_formula():
    init, apply = batch_norm(is_training=True)
    first = data(40, 3)
    params, state = init(None, first)
    mean, variance = first.mean(axis=0), first.var(axis=0)
    for seed in range(1, 4):
        np.testing.assert_allclose(state["batch_norm_layer"]["mean"], mean, rtol=1e-5)
        np.testing.assert_allclose(state["batch_norm_layer"]["variance"], variance, rtol=1e-5)
        x = seed * data(25, 3, seed=seed)
        _, state = apply(params, state, x)
        mean = 0.9 * mean + 0.1 * x.mean(axis=0)
        variance = 0.9 * variance + 0.1 * x.var(axis=0)


def test_batch_norm_in_evaluation_is_a_bijector_and_keeps_its_state():
    init, inverse = batch_norm(is_training=False)
    forward = batch_norm(is_training=False, method="forward_and_log_det")[1]
    params, state = init(None, data(40, 3))
    params = moved(params)
    x = data(6, 3, seed=1)
    (u, log_det), same = inverse(params, state, x)
    jax.tree.map(np.testing.assert_array_equal, same, state)
    (x_again, log_det_back), same = forward(params, state, u)
    jax.tree.map(np.testing.assert_array_equal, same, state)
    np.testing.assert_allclose(x_again, x, rtol=1e-5)
    np.testing.assert_allclose(log_det_back, -log_det, rtol=1e-5)
    # One row is as good as many.
    (row, _), _ = inverse(params, state, x[0])
    np.testing.assert_allclose(row, u[0], rtol=1e-5)


def test_batch_norm_samples_by_the_running_statistics_in_both_modes():
    init, _ = batch_norm(is_training=True)
    params, state = init(None, data(40, 3))
    u = data(5, 3, seed=1)
    results = [
        batch_norm(is_training, "forward_and_log_det")[1](params, state, u)
        for is_training in (True, False)
    ]
    jax.tree.map(np.testing.assert_array_equal, *results)


def test_gradients_flow_through_the_statistics_of_the_batch(x64):
    def loss(x):
        (u, log_det), _ = apply(params, state, x)
        return jnp.sum(u * weights) - jnp.sum(log_det)

    def expected(x):
        deviation = jnp.sqrt(jnp.var(x, axis=0) + EPSILON)
        u = (x - jnp.mean(x, axis=0)) / deviation
        return jnp.sum(u * weights) + len(x) * jnp.sum(jnp.log(deviation))

    init, apply = batch_norm(is_training=True)
    x = data(8, 3).astype(np.float64)
    weights = data(8, 3, seed=2).astype(np.float64)
    params, state = init(None, x)
    np.testing.assert_allclose(jax.grad(loss)(x), jax.grad(expected)(x), rtol=1e-9, atol=1e-10)


def test_batch_norm_of_images_is_per_channel():
    init, apply = batch_norm(is_training=True, event_ndims=3)
    x = data(4, 5, 6, 2)
    params, state = init(None, x)
    (u, log_det), _ = apply(params, state, x)
    np.testing.assert_allclose(np.mean(u, axis=(0, 1, 2)), 0.0, atol=1e-4)
    expected = -0.5 * 5 * 6 * np.sum(np.log(x.var(axis=(0, 1, 2)) + EPSILON))
    np.testing.assert_allclose(log_det, expected * np.ones(4), rtol=1e-4)


def test_batch_norm_starts_from_a_single_row_in_evaluation():
    init, _ = batch_norm(is_training=False)
    _, state = init(None, jnp.array([3.0, 4.0]))
    np.testing.assert_array_equal(state["batch_norm_layer"]["mean"], [3.0, 4.0])
    np.testing.assert_array_equal(state["batch_norm_layer"]["variance"], [1.0, 1.0])


def test_batch_norm_keeps_state_at_every_depth_of_a_stack():
    def call(x, is_training):
        layer = compose(BatchNormLayer(is_training, decay=0.5), LULinearLayer())
        return Learned(Stack(layer, 3)).inverse_and_log_det(x)

    flow = hk.without_apply_rng(hk.transform_with_state(call))
    x = data(200, 3)
    params, state = flow.init(jax.random.key(0), x, False)
    (statistics,) = state.values()
    np.testing.assert_allclose(statistics["mean"][2], x.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(statistics["mean"][:2], 0.0, atol=1e-4)
    apply = jax.jit(flow.apply, static_argnums=3)
    (_, log_det), new_state = apply(params, state, x + 2, True)
    assert log_det.shape == (200,)
    (new_statistics,) = new_state.values()
    np.testing.assert_allclose(new_statistics["mean"][2], x.mean(axis=0) + 1, rtol=1e-4)
    # Of the shift nothing is left after the first normalisation.
    np.testing.assert_allclose(new_statistics["mean"][:2], 0.0, atol=1e-4)
    _, same = apply(params, new_state, x, False)
    jax.tree.map(np.testing.assert_array_equal, same, new_state)
