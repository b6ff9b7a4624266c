"""`batch_size`: flows evaluate and sample many rows, a few at a time."""

import functools

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_modules import jittered

import distrax_flows as dxf
from distrax_flows.functional._chunks import Chunks, cut


def build(context=None):
    return dxf.flows.realnvp(2, num_layers=2, hidden_sizes=(8,), context=context)


@functools.cache
def make(conditional=False):
    """A small flow away from the identity, and its parameters."""
    flow = dxf.transform(build if conditional else lambda: build())
    context = jnp.zeros(3) if conditional else None
    return flow, jittered(flow.init(jax.random.key(0), jnp.zeros(2), context), scale=0.1)


def normal(shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def affine():
    """Draws have mean (1, -2) and deviations (0.5, 3)."""
    base = distrax.Independent(distrax.Normal(jnp.zeros(2), jnp.ones(2)), 1)
    shift = dxf.Shift(jnp.array([1.0, -2.0]))
    scale = dxf.Scale(jnp.log(jnp.array([0.5, 3.0])))
    return distrax.Transformed(base, distrax.Chain([shift, scale]))


@pytest.mark.parametrize(
    ("batch_shape", "batch_size"),
    [((), 1), ((6,), 3), ((7,), 3), ((7,), 1), ((2, 1, 5), 4), ((7,), 7), ((7,), 8), ((0,), 3)],
)
def test_values_do_not_depend_on_the_batch_size(batch_shape, batch_size):
    flow, params = make()
    x = normal((*batch_shape, 2))
    log_prob = flow.log_prob(params, x, batch_size=batch_size)
    assert log_prob.shape == batch_shape
    np.testing.assert_allclose(log_prob, flow.log_prob(params, x), atol=1e-5)


@pytest.mark.parametrize(
    ("batch_shape", "context_shape"),
    [((7,), ()), ((7,), (1,)), ((7,), (7,)), ((), (7,)), ((3, 1), (4,)), ((5, 3), (3,))],
)
def test_contexts_broadcast_as_they_do_without(batch_shape, context_shape):
    flow, params = make(conditional=True)
    x, context = normal((*batch_shape, 2)), normal((*context_shape, 3), seed=1)
    log_prob = flow.log_prob(params, x, context, batch_size=2)
    expected = flow.log_prob(params, x, context)
    assert log_prob.shape == expected.shape
    np.testing.assert_allclose(log_prob, expected, atol=1e-5)


def test_directions_in_chunks():
    flow, params = make()
    x = normal((5, 2))
    z, log_det = flow.inverse(params, x, batch_size=2)
    for actual, expected in zip((z, log_det), flow.inverse(params, x), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-5)
    x_again, log_det_back = flow.forward(params, z, batch_size=3)
    np.testing.assert_allclose(x_again, x, atol=1e-4)
    np.testing.assert_allclose(log_det_back, -log_det, atol=1e-4)


@pytest.mark.parametrize(
    ("sample_shape", "context_shape"),
    [(11, None), ((3, 5), None), ((11,), ()), ((11,), (1,)), ((3,), (5,)), ((), (11,))],
)
def test_every_draw_has_noise_of_its_own(sample_shape, context_shape):
    flow, params = make(conditional=context_shape is not None)
    # Equal contexts: what differs is the noise.
    context = None if context_shape is None else jnp.ones((*context_shape, 3))
    as_tuple = (sample_shape,) if isinstance(sample_shape, int) else sample_shape
    batch_shape = as_tuple + (context_shape or ())
    draw = functools.partial(flow.sample_and_log_prob, params, jax.random.key(0), sample_shape)
    sample, log_prob = draw(context, batch_size=4)
    assert sample.shape == (*batch_shape, 2)
    assert log_prob.shape == batch_shape
    assert len(np.unique(np.asarray(sample).reshape(-1, 2)[:, 0])) == log_prob.size
    np.testing.assert_allclose(flow.log_prob(params, sample, context), log_prob, atol=1e-4)
    again = flow.sample(params, jax.random.key(0), sample_shape, context, batch_size=4)
    np.testing.assert_allclose(again, sample, rtol=1e-5, atol=1e-5)
    # One that holds all rows is none.
    np.testing.assert_array_equal(draw(context, batch_size=log_prob.size)[0], draw(context)[0])


def test_draws_follow_the_density():
    flow = dxf.transform(affine)
    sample, other = (
        np.asarray(flow.sample({}, jax.random.key(seed), (40_001,), batch_size=1000))
        for seed in (0, 1)
    )
    assert np.abs(sample - other).min() > 0
    error = 5 * np.array([0.5, 3.0]) / 200  # five standard errors
    np.testing.assert_array_less(np.abs(sample.mean(axis=0) - [1.0, -2.0]), error)
    np.testing.assert_array_less(np.abs(sample.std(axis=0) - [0.5, 3.0]), error)
    assert abs(np.corrcoef(sample.T)[0, 1]) < 5 / 200
    # Rows are independent, also from chunk to chunk.
    lagged = np.mean((sample[1000:, 0] - 1.0) * (sample[:-1000, 0] - 1.0)) / 0.25
    assert abs(lagged) < 5 / 200


def test_each_draw_follows_its_own_context():
    flow = dxf.transform(lambda context: distrax.Transformed(base(context), dxf.Shift(context)))

    def base(context):
        zeros = jnp.zeros_like(context)
        return distrax.Independent(distrax.Normal(zeros, 1e-3 + zeros), 1)

    context = 100 * normal((5, 2))
    sample = flow.sample({}, jax.random.key(0), (3,), context, batch_size=4)
    np.testing.assert_allclose(sample, np.broadcast_to(context, (3, 5, 2)), atol=0.01)


@pytest.mark.parametrize("with_context_rows", [False, True])
def test_gradients_are_those_without(with_context_rows):
    flow, params = make(conditional=True)
    x, context = normal((7, 2)), normal((7, 3) if with_context_rows else (3,), seed=1)
    weights = normal((7,), seed=2)

    def loss(params, x, context, batch_size):
        return flow.log_prob(params, x, context, batch_size=batch_size) @ weights

    actual, expected = (
        jax.grad(loss, argnums=(0, 1, 2))(params, x, context, size) for size in (3, None)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), actual, expected)


def test_vmap_over_parameters():
    flow, params = make()
    x = normal((7, 2))
    ensemble = jax.tree.map(lambda leaf: jnp.stack([leaf, 1.5 * leaf]), params)
    actual, expected = (
        jax.vmap(lambda params, size=size: flow.log_prob(params, x, batch_size=size))(ensemble)
        for size in (3, None)
    )
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    assert np.abs(actual[0] - actual[1]).max() > 1e-3


def test_gradients_of_draws():
    flow, params = make()

    def loss(params, scale):
        moved = jax.tree.map(lambda leaf: scale * leaf, params)
        return jnp.sum(flow.sample(moved, jax.random.key(0), 5, batch_size=2) ** 2)

    slope = jax.grad(loss, argnums=1)(params, 1.0)
    numerical = (loss(params, 1.01) - loss(params, 0.99)) / 0.02
    np.testing.assert_allclose(slope, numerical, rtol=0.02)
    assert abs(slope) > 0.01


def test_one_trace_for_all_chunks():
    traces = []

    def counted():
        traces.append(None)
        return build()

    flow = dxf.transform(counted)
    params = flow.init(jax.random.key(0), jnp.zeros((1, 2)))
    del traces[:]
    for seed in range(3):
        flow.log_prob(params, normal((17, 2), seed), batch_size=5)
    assert len(traces) == 1
    for seed in range(3):
        flow.sample(params, jax.random.key(seed), (17,), batch_size=5)
    assert len(traces) == 2
    # All rows at once is what a call without does.
    flow.log_prob(params, normal((17, 2)))
    flow.log_prob(params, normal((17, 2)), batch_size=17)
    flow.log_prob(params, normal((17, 2)), batch_size=100)
    assert len(traces) == 3


def temporary_bytes(f, *args):
    return jax.jit(f).lower(*args).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("method", ["log_prob", "gradient", "sample"])
def test_memory_is_that_of_one_chunk(method):
    flow = dxf.transform(lambda: dxf.flows.realnvp(2, num_layers=2, hidden_sizes=(32, 32)))
    params = flow.init(jax.random.key(0), jnp.zeros((1, 2)))
    x = normal((20_000, 2))

    def log_prob(params, x, batch_size):
        return flow.log_prob(params, x, batch_size=batch_size)

    def gradient(params, x, batch_size):
        return jax.grad(lambda params: log_prob(params, x, batch_size).sum())(params)

    def sample(params, x, batch_size):
        return flow.sample(params, jax.random.key(0), 20_000, batch_size=batch_size)

    f = {"log_prob": log_prob, "gradient": gradient, "sample": sample}[method]
    whole, chunked = (
        temporary_bytes(functools.partial(f, batch_size=size), params, x) for size in (None, 501)
    )
    assert chunked < whole / 5


def test_flows_with_state_evaluate_in_chunks():
    def make(is_training):
        batch_norm = dxf.modules.BatchNormLayer(is_training)
        return distrax.Transformed(affine(), dxf.modules.Learned(lambda x: batch_norm(x)))

    flow = dxf.transform_with_state(make)
    x = normal((7, 2))
    variables = flow.init(jax.random.key(0), x)
    actual = flow.evaluation.log_prob(variables, x, batch_size=3)
    np.testing.assert_allclose(actual, flow.evaluation.log_prob(variables, x), atol=1e-5)


@pytest.mark.usefixtures("wrong_types")
@pytest.mark.parametrize("batch_size", [0, -1, 2.0, True, "3"])
def test_batch_sizes_are_positive_integers(batch_size):
    flow, params = make()
    with pytest.raises(ValueError, match=r"`batch_size` must be an integer of at least 1; got"):
        flow.log_prob(params, jnp.zeros((2, 2)), batch_size=batch_size)
    with pytest.raises(ValueError, match=r"`batch_size` must be an integer of at least 1; got"):
        flow.sample(params, jax.random.key(0), 2, batch_size=batch_size)


def test_chunks_keep_the_order_of_rows():
    chunks = cut((2, 4), np.int64(3))
    assert chunks == Chunks((2, 4), 3)
    assert (chunks.num_rows, chunks.num_chunks) == (8, 3)
    rows = jnp.arange(16.0).reshape(2, 4, 2)
    np.testing.assert_array_equal(chunks.split(rows, 1)[2, :, 0], [12.0, 14.0, 14.0])
    np.testing.assert_array_equal(chunks.join(chunks.split(rows, 1)), rows)
    assert chunks.join(chunks.split(rows, 1)[..., 0]).shape == (2, 4)
    np.testing.assert_array_equal(chunks.split(rows[:, :1], 1)[0, :, 0], [0.0, 0.0, 0.0])
