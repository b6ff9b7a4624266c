"""Planar, radial and Sylvester flows and their layers: guarantees beyond the laws."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distrax_flows import Householder, Permutation, Planar, Radial, Reverse, Rotation, Sylvester
from distrax_flows.modules import (
    HouseholderLayer,
    Learned,
    PlanarLayer,
    RadialLayer,
    Stack,
    SylvesterLayer,
)

ACTIVATIONS = {
    "tanh": jnp.tanh,
    "arctan": jnp.arctan,
    "softplus": jax.nn.softplus,
    "leaky_relu": jax.nn.leaky_relu,
    "identity": lambda a: a,
}
each_activation = pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)


def normal(*shape, seed=0, scale=1.0):
    return jnp.asarray(np.random.default_rng(seed).normal(scale=scale, size=shape))


@jax.jit
def there_and_back(bijector, x):
    """The event after both directions, and both log-dets."""
    y, log_det = bijector.forward_and_log_det(x)
    x_again, log_det_back = bijector.inverse_and_log_det(y)
    return x_again, log_det, log_det_back


@jax.jit
def leaves_with_gradients(bijector, x):
    """Values, log-dets and gradients of both directions."""

    def total(bijector, x):
        out = bijector.forward_and_log_det(x), bijector.inverse_and_log_det(x)
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(out)), out

    gradients, out = jax.grad(total, argnums=(0, 1), has_aux=True)(bijector, x)
    return jax.tree.leaves((gradients, out))


def assert_all_finite(leaves):
    for leaf in leaves:
        assert np.isfinite(leaf).all()


def test_planar_keeps_a_feasible_u():
    w, u, x = normal(50, 3), normal(50, 3, seed=1), normal(50, 3, seed=2)
    planar = Planar(w, u, jnp.ones(50))
    dot = np.sum(w * u, axis=-1)
    plain = x + u * jnp.tanh(jnp.sum(w * x, axis=-1, keepdims=True) + 1)
    same = np.abs(planar.forward(x) - plain).max(axis=-1) < 1e-6
    np.testing.assert_array_equal(same, dot >= 0)
    assert 10 < same.sum() < 40, "both signs of w . u occur"


def test_planar_slope_is_at_least_a_twentieth():
    # Along w, at the steepest place of tanh, however far u is from feasible.
    w = jnp.array([1.0, 0.0])
    for against, expected in ((0.1, None), (1.0, None), (1e3, 0.05), (1e15, 0.05)):
        planar = Planar(w, jnp.array([-against, 1.0]), jnp.array(0.0))
        slope = jnp.exp(planar.forward_log_det_jacobian(jnp.zeros(2)))
        assert slope >= 0.05 - 1e-6
        if expected is not None:
            np.testing.assert_allclose(slope, expected, rtol=0.03)


@pytest.mark.parametrize("length", [0.0, 1e-37, 1e-25, 1e-6, 1e-3, 1e4, 1e15])
def test_planar_is_finite_for_any_length_of_w(length):
    directions = normal(8, 3)
    w = length * directions / jnp.linalg.norm(directions, axis=-1, keepdims=True)
    x = jnp.concatenate([normal(6, 8, 3, seed=2), jnp.full((1, 8, 3), 1e4), jnp.zeros((1, 8, 3))])
    for scale in (1.0, 1e4, 1e15):
        planar = Planar(w, normal(8, 3, seed=1, scale=scale), normal(8, seed=3))
        assert_all_finite(leaves_with_gradients(planar, x))


def test_planar_without_direction_is_a_shift(x64):
    u, x = normal(20, 3), normal(20, 3, seed=1)
    for length in (0.0, 1e-25, 1e-9):
        w = length * normal(20, 3, seed=2)
        y, log_det = Planar(w, u, jnp.array(0.5)).forward_and_log_det(x)
        np.testing.assert_allclose(y, x + u * np.tanh(0.5), atol=1e-7)
        np.testing.assert_allclose(log_det, 0.0, atol=1e-7)


def test_planar_gradient_is_exact_for_small_w(x64):
    # In single precision, against double: where |w| is small, rounding must not be divided by it.
    def value(w, u, x):
        return jnp.sum(Planar(w, u, jnp.ones((), w.dtype)).forward(x))

    gradient = jax.jit(jax.vmap(jax.grad(value), (0, None, None)))
    w = np.geomspace(1e-9, 1.0, 19)[:, None] * np.array([0.6, -0.8, 0.0])
    u, x = np.array([-1.0, 0.5, 2.0]), np.array([0.3, 0.1, -0.7])
    single = gradient(*(jnp.asarray(a, jnp.float32) for a in (w, u, x)))
    np.testing.assert_allclose(single, gradient(w, u, x), atol=1e-5)


@each_activation
def test_planar_inverse_in_double_precision(activation, x64):
    w, u = normal(100, 3, scale=3.0), normal(100, 3, seed=1, scale=3.0)
    planar = Planar(w, u, normal(100, seed=2), activation)
    x = normal(5, 100, 3, seed=3, scale=5.0)
    x_again, log_det, log_det_back = there_and_back(planar, x)
    np.testing.assert_allclose(x_again, x, atol=1e-10)
    np.testing.assert_allclose(log_det_back, -log_det, atol=1e-9)
    assert log_det.min() < -1
    assert log_det.max() > 1


def test_planar_inverse_where_it_is_steep():
    # y moves 1e6 times as fast as x: a bracket from |y| alone would be far too coarse.
    planar = Planar(jnp.array([1e3, 0.0]), jnp.array([1e3, 0.0]), jnp.array(0.0))
    x = jnp.stack([jnp.linspace(-0.01, 0.01, 101), jnp.ones(101)], axis=-1)
    x_again, log_det, log_det_back = there_and_back(planar, x)
    np.testing.assert_allclose(x_again, x, atol=1e-3)  # y is a thousand, and so rounded
    steep = log_det > 5
    np.testing.assert_allclose(log_det_back[steep], -log_det[steep], atol=1e-2)
    assert log_det.max() > 13


@pytest.mark.parametrize("kind", ["planar", "radial", "sylvester"])
def test_gradient_of_the_inverse_is_the_inverse_of_the_jacobian(kind, x64):
    bijector = {
        "planar": Planar(normal(3), -normal(3), normal()),
        "radial": Radial(normal(3), normal(), normal(seed=1) - 2.0),
        "sylvester": Sylvester(normal(2, 2), -normal(2, 2), normal(2), Householder(normal(3, 3))),
    }[kind]
    x = normal(20, 3, seed=5)
    y = bijector.forward(x)
    forward = jax.jit(jax.vmap(jax.jacfwd(bijector.forward)))(x)
    for jacobian in (jax.jacfwd, jax.jacrev):
        inverse = jax.jit(jax.vmap(jacobian(bijector.inverse)))(y)
        np.testing.assert_allclose(
            inverse @ forward, np.broadcast_to(np.eye(3), (20, 3, 3)), atol=1e-9
        )


def test_parameters_get_the_gradients_of_the_implicit_function(x64):
    # x(y, theta) with f(x, theta) = y: dx/dtheta = -(df/dx)^-1 df/dtheta.
    def forward(w, x):
        return Planar(w, jnp.array([-2.0, 1.0]), jnp.array(0.3)).forward(x)

    w, x = jnp.array([1.5, 0.5]), jnp.array([0.2, -0.4])
    by_w, by_x = jax.jit(jax.jacfwd(forward, argnums=(0, 1)))(w, x)
    y = forward(w, x)
    inverse = jax.jacrev(lambda w: Planar(w, jnp.array([-2.0, 1.0]), jnp.array(0.3)).inverse(y))
    np.testing.assert_allclose(jax.jit(inverse)(w), -jnp.linalg.solve(by_x, by_w), atol=1e-10)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_sylvester_of_one_unit_is_planar(sign, x64):
    angle, x = jnp.array(0.7), normal(20, 2)
    direction = jnp.array([np.cos(0.7), np.sin(0.7)])
    sylvester = Sylvester(
        jnp.array([[1.5 * sign]]), jnp.array([[2.0]]), jnp.array([0.3]), Rotation(angle)
    )
    planar = Planar(2.0 * direction, 1.5 * sign * direction, jnp.array(0.3))
    for method in ("forward_and_log_det", "inverse_and_log_det"):
        for ours, theirs in zip(
            getattr(sylvester, method)(x), getattr(planar, method)(x), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_sylvester_is_the_formula_where_it_is_feasible(x64):
    r1, r2 = jnp.abs(normal(3, 3)), jnp.abs(normal(3, 3, seed=1))
    b, x, order = normal(3, seed=2), normal(10, 5, seed=3), (4, 2, 0, 1, 3)
    ours = Sylvester(r1, r2, b, Permutation(order)).forward(x)
    q = np.eye(5)[list(order)][:, :3]  # y = Q x, the first columns of Q
    theirs = x + np.tanh(x @ q @ np.triu(r2).T + b) @ np.triu(r1).T @ q.T
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    # What is below the diagonal doesn't count.
    full = Sylvester(r1 + np.tri(3, k=-1), r2 - np.tri(3, k=-1), b, Permutation(order))
    np.testing.assert_array_equal(full.forward(x), ours)


@each_activation
def test_sylvester_inverse_in_double_precision(activation, x64):
    # M = D, parameters per event, no orthogonal map.
    r1, r2 = normal(20, 6, 6), normal(20, 6, 6, seed=1)
    sylvester = Sylvester(r1, r2, normal(20, 6, seed=2), unit=activation)
    x = normal(3, 20, 6, seed=3)
    x_again, log_det, log_det_back = there_and_back(sylvester, x)
    # Errors grow with the condition of the triangular matrices.
    np.testing.assert_allclose(x_again, x, atol=1e-8)
    np.testing.assert_allclose(log_det_back, -log_det, atol=1e-7)


def test_sylvester_is_finite_for_any_diagonal():
    values = jnp.array([0.0, 1e-25, -1e-25, 1.0, -1.0, 1e4, -1e4])
    first, second = (v.reshape(-1) for v in jnp.meshgrid(values, values))
    r1, r2 = (normal(2, 2, seed=4) + v[:, None, None] * jnp.eye(2) for v in (first, second))
    sylvester = Sylvester(r1, r2, normal(first.size, 2), Reverse())
    x = jnp.stack([jnp.zeros((first.size, 3)), jnp.full((first.size, 3), 1e4)])
    assert_all_finite(leaves_with_gradients(sylvester, x))


def test_sylvester_is_a_pytree_with_its_orthogonal_map():
    sylvester = Sylvester(jnp.eye(2), jnp.eye(2), jnp.zeros(2), Rotation(jnp.array(0.1)))
    leaves = jax.tree.leaves(sylvester)
    assert len(leaves) == 4
    assert sylvester.num_units == 2
    moved = jax.tree.map(lambda leaf: leaf + 1, sylvester)
    assert moved.orthogonal.angle == pytest.approx(1.1)


def test_radial_at_its_centre(x64):
    center = normal(3)
    for raw_beta, slope in ((0.7, np.exp(5 * np.tanh(0.14))), (-1e3, np.exp(-5)), (1e3, np.exp(5))):
        radial = Radial(center, jnp.array(0.5), jnp.array(raw_beta))
        np.testing.assert_array_equal(radial.forward(center), center)
        np.testing.assert_allclose(radial.inverse(center), center)
        np.testing.assert_allclose(
            jax.jacfwd(radial.forward)(center), slope * np.eye(3), atol=1e-9 * slope
        )
        np.testing.assert_allclose(
            radial.forward_log_det_jacobian(center), 3 * np.log(slope), rtol=1e-9
        )
        assert_all_finite(leaves_with_gradients(radial, center))


def test_radial_slopes_stay_between_one_and_that_at_the_centre(x64):
    x = normal(300, 3, scale=3.0)
    for raw_beta in (-3.0, 2.0):
        radial = Radial(jnp.zeros(3), jnp.array(1.0), jnp.array(raw_beta))
        values = np.linalg.svd(jax.vmap(jax.jacfwd(radial.forward))(x), compute_uv=False)
        ends = sorted([1.0, float(jnp.exp(radial.log_slope))])
        assert values.min() > ends[0] - 1e-9
        assert values.max() < ends[1] + 1e-9


def test_radial_for_extreme_parameters():
    raw_alpha, raw_beta = (
        v.reshape(-1)
        for v in jnp.meshgrid(*2 * [jnp.array([-1e15, -1e3, -5.0, 0.0, 5.0, 1e3, 1e15])])
    )
    radial = Radial(normal(raw_alpha.size, 3), raw_alpha, raw_beta)
    x = normal(5, raw_alpha.size, 3, seed=1) * jnp.geomspace(1e-6, 1e4, 5)[:, None, None]
    x = jnp.concatenate([x, radial.center[None]])
    assert_all_finite(leaves_with_gradients(radial, x))
    x_again, log_det, log_det_back = there_and_back(radial, x)
    # exp(5) is the worst condition.
    np.testing.assert_allclose(x_again, x, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        log_det_back[:, raw_alpha > -3], -log_det[:, raw_alpha > -3], atol=1e-3
    )


LAYERS = {
    "planar": PlanarLayer,
    "radial": RadialLayer,
    "sylvester": lambda **options: SylvesterLayer(2, HouseholderLayer(2), **options),
}
each_layer = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)


def transformed(make):
    """`make(context)` as a function of parameters, events, context and direction."""

    def call(x, context, method="forward_and_log_det"):
        return getattr(Learned(make(context)), method)(x)

    flow = hk.without_apply_rng(hk.transform(call))
    return jax.jit(flow.init), jax.jit(flow.apply, static_argnames="method")


@each_layer
def test_layers_start_at_the_identity_and_learn(layer):
    init, apply = transformed(lambda context: Stack(layer(context=context, hidden_sizes=(8,)), 2))
    x, context = normal(50, 3), normal(50, 4, seed=1)
    params = init(jax.random.key(0), x, context)
    y, log_det = apply(params, x, context)
    np.testing.assert_allclose(y, x, atol=1e-5)
    np.testing.assert_allclose(log_det, 0.0, atol=1e-6)

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        z, log_det = apply(params, x, context, method="inverse_and_log_det")
        return jnp.mean(jnp.sum(jnp.square(z - 1), axis=-1) / 2 - log_det)

    first, _ = loss(params)
    # The first step moves what is zero; after it, everything has a gradient.
    for _ in range(20):
        value, gradient = loss(params)
        params = jax.tree.map(lambda p, g: p - 0.02 * g, params, gradient)
    assert value < first - 1e-3
    for leaf in jax.tree.leaves(gradient):
        assert np.abs(leaf).max() > 0


@each_layer
def test_context_changes_the_map_row_by_row(layer):
    init, apply = transformed(lambda context: layer(context=context, hidden_sizes=(8,)))
    x, context = normal(7, 5, 3), normal(5, 4, seed=1)
    params = init(jax.random.key(0), x, context)
    rng = np.random.default_rng(2)
    params = jax.tree.map(lambda p: p + rng.normal(scale=0.5, size=p.shape).astype(p.dtype), params)
    y, log_det = apply(params, x, context)
    assert y.shape == (7, 5, 3)
    assert log_det.shape == (7, 5)
    # Each row of the context has its own map, the same for all events that meet it.
    for row in range(5):
        alone, log_det_alone = apply(params, x[:, row], context[row])
        np.testing.assert_allclose(alone, y[:, row], atol=1e-4, rtol=1e-5)
        np.testing.assert_allclose(log_det_alone, log_det[:, row], atol=1e-4)
    other, _ = apply(params, x, context + 1)
    assert np.abs(other - y).max(axis=(0, 2)).min() > 1e-3
    x_again, _ = apply(params, y, context, method="inverse_and_log_det")
    np.testing.assert_allclose(x_again, x, atol=1e-3)
