"""Bernstein polynomials: guarantees beyond the laws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import BPoly

from distrax_flows import BernsteinPolynomial
from distrax_flows.bijectors.bernstein import _bernstein

DEGREES = (1, 2, 3, 4, 7, 32)
LOW, HIGH = -2.0, 4.0


def draw(degree, num=None, scale=1.0, seed=0, dtype=np.float32):
    shape = () if num is None else (num,)
    size = 1 + max(degree - 2, 1)
    params = np.random.default_rng(seed).normal(scale=scale, size=(*shape, size))
    return jnp.asarray(params.astype(dtype))


def _forward(bijector, x):
    return bijector.forward_and_log_det(x)


def _inverse(bijector, y):
    return bijector.inverse_and_log_det(y)


def polynomial(params, degree, **options):
    return BernsteinPolynomial(params, degree, LOW, HIGH, **options)


@pytest.mark.parametrize("degree", DEGREES)
def test_values_and_slopes_are_scipys(degree, x64):
    bijector = polynomial(draw(degree, dtype=np.float64), degree)
    coefficients = np.asarray(bijector.coefficients)
    assert coefficients.shape == (degree + 1,)
    assert np.all(np.diff(coefficients) > 0)
    expected = BPoly(coefficients[:, None], [LOW, HIGH])
    x = np.linspace(LOW, HIGH, 201)
    y, log_det = jax.jit(_forward)(bijector, x)
    np.testing.assert_allclose(y, expected(x), atol=1e-12)
    np.testing.assert_allclose(np.exp(log_det), expected.derivative()(x), rtol=1e-12)

    @jax.jit
    @jax.vmap
    @jax.grad
    def bend(x):
        return jnp.exp(bijector.forward_log_det_jacobian(x))

    inside = x[1:-1]
    np.testing.assert_allclose(bend(inside), expected.derivative(2)(inside), atol=1e-9)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_small_degrees_are_one_line(degree):
    x = jnp.linspace(-6.0, 8.0, 101)
    y, log_det = polynomial(jnp.array([0.1, 0.7]), degree).forward_and_log_det(x)
    slope = np.exp(3 * np.tanh(0.7 / 3))
    np.testing.assert_allclose(y, LOW + 0.1 * (HIGH - LOW) + slope * (x - LOW), rtol=1e-5)
    np.testing.assert_allclose(log_det, np.log(slope), rtol=1e-5)


@pytest.mark.parametrize("degree", DEGREES)
def test_zero_parameters_are_the_identity(degree):
    x = jnp.linspace(-6.0, 8.0, 1001)
    bijector = polynomial(0 * draw(degree), degree)
    for y, log_det in (jax.jit(_forward)(bijector, x), jax.jit(_inverse)(bijector, x)):
        np.testing.assert_allclose(y, x, atol=1e-5)
        np.testing.assert_allclose(log_det, 0.0, atol=1e-6)


@pytest.mark.parametrize("degree", DEGREES)
def test_lines_join_with_two_derivatives(degree, x64):
    bijector = polynomial(draw(degree, scale=2.0, dtype=np.float64), degree)

    def forward(x):
        return bijector.forward(x)

    derivatives = [jax.jit(f) for f in (forward, jax.grad(forward), jax.grad(jax.grad(forward)))]
    for end in (LOW, HIGH):
        for derivative in derivatives:
            inside, at, outside = (derivative(end + d) for d in (-1e-10, 0.0, 1e-10))
            np.testing.assert_allclose([inside, outside], at, atol=1e-6)
    # Lines they are, in both directions.
    far = jnp.array([-100.0, -50.0, 50.0, 100.0])
    y, log_det = bijector.forward_and_log_det(far)
    slopes = np.diff(bijector.coefficients)[[0, -1]] * degree / (HIGH - LOW)
    np.testing.assert_allclose(np.diff(y)[[0, -1]], 50 * slopes, rtol=1e-12)
    np.testing.assert_allclose(np.exp(log_det), np.repeat(slopes, 2), rtol=1e-12)
    np.testing.assert_allclose(bijector.inverse(y), far, rtol=1e-12)


@pytest.mark.parametrize("degree", [4, 16, 64])
@pytest.mark.parametrize("max_log_slope", [0.5, 3.0])
def test_slopes_are_bounded_for_any_parameters(degree, max_log_slope):
    rng = np.random.default_rng(degree)
    params = rng.choice([-1e4, -1.0, 0.0, 1.0, 1e4], size=(2000, degree - 1)).astype(np.float32)
    x = rng.uniform(-4.0, 6.0, size=2000).astype(np.float32)
    bijector = polynomial(jnp.asarray(params), degree, max_log_slope=max_log_slope)
    log_det = bijector.forward_log_det_jacobian(x)
    assert np.abs(log_det).max() < max_log_slope + 1e-5
    assert np.abs(log_det).max() > 0.9 * max_log_slope


@functools.partial(jax.jit, static_argnums=0)
def round_trip(degree, params, x):
    bijector = polynomial(params, degree)
    return bijector.inverse(bijector.forward(x))


@pytest.mark.parametrize("degree", [4, 16, 64])
def test_float32_round_trip_keeps_its_promise(degree):
    rng = np.random.default_rng(degree)
    x = rng.uniform(LOW, HIGH, size=2000).astype(np.float32)
    # The steepest slopes beside the flattest, at random and in two blocks; no shift.
    mixed = rng.choice([-1e3, 1e3], size=(2000, degree - 1))
    first_block = np.arange(degree - 1) < rng.integers(1, degree, size=(2000, 1))
    blocks = np.where(first_block, 1e3, -1e3)
    mixed[:, 0] = blocks[:, 0] = 0.0
    for params, share in ((draw(degree, 2000), 1e-5), (mixed, 2e-4), (blocks, 2e-4)):
        error = np.abs(round_trip(degree, jnp.asarray(params, np.float32), x) - x)
        assert error.max() < share * (HIGH - LOW)


@pytest.mark.parametrize("degree", [16, 64])
def test_rounding_errors_do_not_grow_with_the_degree(degree, x64):
    rng = np.random.default_rng(degree)
    steps = np.exp(rng.normal(scale=3.0, size=(2000, degree)))
    coefficients = np.cumsum(steps / steps.sum(axis=-1, keepdims=True), axis=-1)
    coefficients, u = coefficients.astype(np.float32), rng.uniform(size=2000).astype(np.float32)
    exact = jax.jit(_bernstein)(jnp.asarray(coefficients, np.float64), jnp.asarray(u, np.float64))
    rounded = jax.jit(_bernstein)(jnp.asarray(coefficients), jnp.asarray(u))
    assert rounded.dtype == np.float32
    # A perturbation of u by its own rounding, and one of the value by its own, a few times over.
    slope = jax.jit(jax.vmap(jax.grad(_bernstein, argnums=1)))
    slopes = slope(jnp.asarray(coefficients, np.float64), jnp.asarray(u, np.float64))
    eps = np.finfo(np.float32).eps
    assert np.max(np.abs(rounded - exact) / (eps * (exact + slopes))) < 4


def test_gradients_of_any_order_are_finite_at_the_ends(x64):
    coefficients = jnp.asarray(np.cumsum(np.random.default_rng(0).uniform(size=9)))

    def value(coefficients, u):
        return _bernstein(coefficients, u)

    for u in jnp.array([0.0, 0.3, 1.0]):
        expected = BPoly(np.asarray(coefficients)[:, None], [0.0, 1.0])
        by_u = value
        for order in range(1, 4):
            by_u = jax.grad(by_u, argnums=1)
            np.testing.assert_allclose(by_u(coefficients, u), expected(u, order), atol=1e-9)
        mixed = jax.jacfwd(jax.grad(value, argnums=1))(coefficients, u)
        basis = [BPoly(np.eye(9)[:, [k]], [0.0, 1.0])(u, 1) for k in range(9)]
        np.testing.assert_allclose(mixed, basis, atol=1e-12)


def test_one_polynomial_for_each_event_and_one_for_all_agree():
    params, x = draw(8), jnp.linspace(-3.0, 5.0, 6)
    shared = polynomial(params, 8).forward_and_log_det(x)
    own = polynomial(jnp.broadcast_to(params, (6, 7)), 8).forward_and_log_det(x)
    for a, b in zip(shared, own, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
