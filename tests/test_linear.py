"""Linear bijectors and layers, and their matrices."""

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.stats

import distrax_flows as dxf
from distrax_flows.modules import (
    HouseholderLayer,
    Learned,
    LULinearLayer,
    OrthogonalLayer,
    ScaleLayer,
    Stack,
    compose,
)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def matrix_of(bijector, size, dtype=np.float32):
    """The matrix whose columns are the images of the unit vectors."""
    return np.asarray(bijector.forward(jnp.eye(size, dtype=dtype))).T


def reflection(v):
    return np.eye(v.size) - 2 * np.outer(v, v) / (v @ v)


@pytest.mark.parametrize(("num_reflections", "size"), [(1, 3), (2, 2), (4, 3), (7, 7)])
def test_householder_is_a_product_of_reflections(num_reflections, size, x64):
    vectors = normal(num_reflections, size).astype(np.float64)
    bijector = dxf.Householder(vectors)
    expected = np.linalg.multi_dot([np.eye(size), *map(reflection, vectors), np.eye(size)])
    np.testing.assert_allclose(matrix_of(bijector, size, np.float64), expected, atol=1e-13)
    back = np.asarray(bijector.inverse(jnp.eye(size, dtype=np.float64))).T
    np.testing.assert_allclose(back, expected.T, atol=1e-13)


@pytest.mark.parametrize("near", [False, True])
def test_householder_is_orthogonal_in_single_precision(near):
    # Nearly equal mirrors are the hard case: S is then far from diagonal.
    vectors = np.ones((40, 40), np.float32) + 1e-3 * normal(40, 40) if near else normal(40, 40)
    q = matrix_of(dxf.Householder(vectors), 40).astype(np.float64)
    np.testing.assert_allclose(q.T @ q, np.eye(40), atol=5e-6)


def test_householder_counts_only_directions():
    vectors = normal(3, 4)
    expected = matrix_of(dxf.Householder(vectors), 4)
    for length in (1e-18, 1e-3, 1e3, 1e38):
        scaled = matrix_of(dxf.Householder(vectors * np.float32(length)), 4)
        np.testing.assert_allclose(scaled, expected, atol=1e-6)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("length", [0.0, 1e-45, 1e-30, 1e-18, 1e18, 3e38])
def test_householder_has_finite_gradients_for_vectors_of_any_length(direction, length):
    def total(vectors, x):
        return jnp.sum(getattr(dxf.Householder(vectors), direction)(x) * weights)

    unit = np.array([[1.0, -0.5, 0.25], [0.1, 0.2, 1.0]], np.float32)
    weights = jnp.array([1.0, 2.0, 3.0])
    vectors = jnp.asarray(unit).at[0].multiply(length)
    x = 1e4 * jnp.array([1.0, -2.0, 0.5])
    for gradient in jax.grad(total, argnums=(0, 1))(vectors, x):
        assert np.isfinite(gradient).all()
    if length < 1e-19:
        alone = matrix_of(dxf.Householder(unit[1:]), 3)
        np.testing.assert_allclose(matrix_of(dxf.Householder(vectors), 3), alone, atol=1e-6)


def test_lu_linear_is_the_matrix_of_its_factors(x64):
    lu = normal(5, 5).astype(np.float64)
    sign, permutation = (1, -1, 1, -1, -1), (3, 0, 4, 2, 1)
    bijector = dxf.LULinear(lu, sign, permutation)
    lower = np.tril(lu, -1) + np.eye(5)
    upper = np.triu(lu, 1) + np.diag(sign * np.exp(np.diag(lu)))
    expected = np.eye(5)[list(permutation)] @ lower @ upper
    np.testing.assert_allclose(matrix_of(bijector, 5, np.float64), expected, rtol=1e-12)
    y = normal(3, 5).astype(np.float64)
    x, log_det = bijector.inverse_and_log_det(y)
    np.testing.assert_allclose(x, np.linalg.solve(expected, y.T).T, rtol=1e-9)
    np.testing.assert_allclose(log_det, -np.linalg.slogdet(expected)[1] * np.ones(3), rtol=1e-12)


def test_lu_linear_takes_the_factors_of_any_invertible_matrix(x64):
    matrix = normal(6, 6).astype(np.float64)
    permutation, lower, upper = scipy.linalg.lu(matrix, p_indices=True)
    diagonal = np.diag(upper)
    lu = np.tril(lower, -1) + np.triu(upper, 1) + np.diag(np.log(np.abs(diagonal)))
    bijector = dxf.LULinear(lu, np.sign(diagonal), permutation)
    np.testing.assert_allclose(matrix_of(bijector, 6, np.float64), matrix, atol=1e-13)


def test_lu_linear_of_zeros_is_the_identity():
    np.testing.assert_array_equal(matrix_of(dxf.LULinear(jnp.zeros((4, 4))), 4), np.eye(4))


def test_lu_linear_solves_one_system_for_all_events():
    """A matrix without batch axes is not repeated for every event."""

    def solve(lu, y):
        return dxf.LULinear(lu).inverse(y)

    jaxpr = str(jax.make_jaxpr(solve)(jnp.zeros((3, 3)), jnp.zeros((100, 3))))
    assert jaxpr.count("= triangular_solve[") == 2
    assert "f32[100,3,3]" not in jaxpr


BIJECTORS = [
    dxf.Householder(normal(2, 3)),
    dxf.Orthogonal(np.linalg.qr(normal(3, 3))[0]),
    dxf.LULinear(normal(3, 3), permutation=(1, 2, 0)),
    dxf.ActNorm(normal(3), normal(3, seed=1)),
    dxf.BatchNorm(normal(3), normal(3) ** 2, normal(3, seed=1), normal(3, seed=2)),
]


@pytest.mark.parametrize("bijector", BIJECTORS, ids=lambda bijector: type(bijector).__name__)
@pytest.mark.parametrize("direction", ["forward_and_log_det", "inverse_and_log_det"])
def test_on_the_last_axis_of_larger_events(bijector, direction, strict):
    """Such as a 1x1 convolution of images [H, W, C]: H W vectors, H W log-dets."""
    x = jnp.asarray(normal(5, 4, 2, 3))
    y, log_det = getattr(distrax.Block(bijector, 2), direction)(x)
    expected, one_log_det = getattr(bijector, direction)(x.reshape(-1, 3))
    np.testing.assert_allclose(y, expected.reshape(x.shape), rtol=1e-5, atol=1e-6)
    assert log_det.shape == (5,)
    np.testing.assert_allclose(log_det, 4 * 2 * one_log_det[0] * np.ones(5), rtol=1e-5, atol=1e-6)


def transformed(make_layer, method="forward"):
    return hk.without_apply_rng(hk.transform(lambda x: getattr(Learned(make_layer()), method)(x)))


@pytest.mark.parametrize("size", [1, 2, 24])
@pytest.mark.parametrize(
    "make_layer", [LULinearLayer, OrthogonalLayer, lambda: HouseholderLayer(3)]
)
def test_layers_start_at_a_random_orthogonal_matrix(make_layer, size):
    forward = transformed(make_layer)
    matrices = []
    for seed in (0, 1):
        params = forward.init(jax.random.key(seed), jnp.zeros(size))
        matrices.append(np.asarray(forward.apply(params, jnp.eye(size)), np.float64).T)
        np.testing.assert_allclose(matrices[-1].T @ matrices[-1], np.eye(size), atol=5e-6)
    if size > 1:
        assert np.abs(matrices[0] - matrices[1]).max() > 0.01


@pytest.mark.parametrize(
    "make_layer", [LULinearLayer, OrthogonalLayer, lambda: HouseholderLayer(2)]
)
def test_repetitions_differ_in_a_stack(make_layer):
    def one(x):
        return Learned(make_layer()).forward(x)

    flow = hk.without_apply_rng(
        hk.transform(lambda x: Learned(Stack(make_layer(), 3)).forward_and_log_det(x))
    )
    params = jax.jit(flow.init)(jax.random.key(0), jnp.zeros(4))
    total, log_det = flow.apply(params, jnp.eye(4))
    np.testing.assert_allclose(log_det, 0.0, atol=1e-6)
    layer = hk.without_apply_rng(hk.transform(one))
    matrices = []
    for n in range(3):
        own = {
            name.removeprefix("stack/layers/"): {key: leaf[n] for key, leaf in leaves.items()}
            for name, leaves in params.items()
        }
        matrices.append(np.asarray(layer.apply(own, jnp.eye(4))).T)
        np.testing.assert_allclose(matrices[n].T @ matrices[n], np.eye(4), atol=1e-5)
    for n in range(3):
        assert np.abs(matrices[n] - matrices[n - 1]).max() > 0.01
    np.testing.assert_allclose(total.T, matrices[2] @ matrices[1] @ matrices[0], atol=1e-5)


def test_lu_linear_layer_learns_its_factors_and_keeps_its_rotation():
    def loss(params):
        x, log_det = inverse.apply(params, jnp.asarray(normal(20, 3)))
        return jnp.mean(0.5 * jnp.sum(x**2, axis=-1) - log_det)

    inverse = transformed(LULinearLayer, "inverse_and_log_det")
    params = inverse.init(jax.random.key(0), jnp.zeros(3))
    gradients = jax.grad(loss)(params)
    assert np.all(gradients["lu_linear_layer"]["lu"] != 0)
    np.testing.assert_array_equal(
        gradients["lu_linear_layer/orthogonal_layer"]["fixed_vectors"], 0.0
    )


def test_weight_decay_leaves_a_fixed_rotation_alone():
    forward = transformed(OrthogonalLayer)
    params = forward.init(jax.random.key(0), jnp.zeros(3))
    decayed = jax.tree.map(lambda leaf: 0.01 * leaf, params)
    np.testing.assert_allclose(
        forward.apply(decayed, jnp.eye(3)), forward.apply(params, jnp.eye(3)), atol=1e-6
    )


def test_scale_layer_starts_at_the_identity_and_learns():
    forward = transformed(ScaleLayer, "forward_and_log_det")
    params = forward.init(jax.random.key(0), jnp.zeros(2))
    x = jnp.array([[1.0, 2.0]])
    np.testing.assert_array_equal(forward.apply(params, x)[0], x)
    doubled = jax.tree.map(lambda leaf: leaf + np.log(2), params)
    y, log_det = forward.apply(doubled, x)
    np.testing.assert_allclose(y, 2 * x, rtol=1e-6)
    np.testing.assert_allclose(log_det, [2 * np.log(2)], rtol=1e-6)


def test_layers_compose_in_a_flow():
    def make():
        layer = compose(LULinearLayer(), HouseholderLayer(2), OrthogonalLayer(), ScaleLayer())
        return distrax.Transformed(
            distrax.Independent(distrax.Normal(jnp.zeros(3), jnp.ones(3)), 1),
            Learned(Stack(layer, 2)),
        )

    flow = dxf.transform(make)
    params = flow.init(jax.random.key(0), jnp.zeros((4, 3)))
    moved = jax.tree.map(lambda leaf: leaf + 0.3 * normal(*leaf.shape), params)
    x, log_prob = flow.sample_and_log_prob(moved, jax.random.key(1), (50,))
    np.testing.assert_allclose(flow.log_prob(moved, x), log_prob, atol=1e-3)
    # A linear map of normal noise: the density is a known one.
    matrix = np.asarray(flow.forward(moved, jnp.eye(3))[0], np.float64).T
    expected = scipy.stats.multivariate_normal(cov=matrix @ matrix.T).logpdf(x)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-4, atol=1e-3)
