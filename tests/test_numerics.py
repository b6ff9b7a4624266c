"""Small numerics: the root finder and the norm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distrax_flows._numerics import find_root, safe_norm


def test_roots_of_lines_are_found_and_never_nan():
    # On functions that are almost lines quadratic interpolation divides zero by zero.
    rng = np.random.default_rng(0)
    sizes = 10 ** rng.uniform(-6, 2, size=(2, 500_000))
    low, high = (np.abs(rng.normal(size=sizes.shape)) * sizes).astype(np.float32)
    low[::7] = 0.0
    high[1::7] = 0.0

    @jax.jit
    def root(low, high):
        zeros = jnp.zeros_like(low)
        return find_root(lambda u: high * u - low * (1 - u), zeros, zeros + 1)

    exact = low / (low.astype(np.float64) + high)
    np.testing.assert_allclose(root(low, high), exact, atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_roots_of_steep_and_flat_functions(dtype, x64):
    eps = np.finfo(dtype).eps
    a = jnp.asarray(np.linspace(-0.999, 50.0, 200), dtype)
    target = jnp.asarray(np.linspace(-30.0, 30.0, 200), dtype)

    def f(x):
        return x + a * jnp.tanh(x) - target

    x = jax.jit(lambda a, y: find_root(f, y - jnp.abs(a), y + jnp.abs(a)))(a, target)
    assert x.dtype == dtype
    np.testing.assert_allclose(f(x), 0.0, atol=100 * eps)


def test_a_root_at_an_end_of_an_empty_bracket_and_nan():
    def root(low, high, target):
        return find_root(lambda x: x**3 - target, *map(jnp.float32, (low, high)))

    np.testing.assert_allclose(root(0.0, 2.0, 0.0), 0.0, atol=1e-6)
    np.testing.assert_allclose(root(0.0, 2.0, 8.0), 2.0, rtol=1e-6)
    np.testing.assert_allclose(root(2.0, 2.0, 8.0), 2.0, rtol=1e-6)
    assert np.isnan(root(0.0, 2.0, jnp.nan))


def test_gradients_are_those_of_the_implicit_function(x64):
    def root(target, a):
        return find_root(lambda x: x + a * jnp.tanh(x) - target, target - 3.0, target + 3.0)

    target, a = jnp.float64(0.7), jnp.float64(2.0)
    x = root(target, a)
    slope = 1 + a * (1 - jnp.tanh(x) ** 2)
    by_target, by_a = jax.grad(root, (0, 1))(target, a)
    np.testing.assert_allclose(by_target, 1 / slope, rtol=1e-12)
    np.testing.assert_allclose(by_a, -jnp.tanh(x) / slope, rtol=1e-12)
    forward = jax.jvp(lambda y: root(y, a), (target,), (1.0,))[1]
    np.testing.assert_allclose(forward, by_target, rtol=1e-12)
    second = jax.grad(jax.grad(root))(target, a)
    step = 1e-5
    numeric = (jax.grad(root)(target + step, a) - jax.grad(root)(target - step, a)) / (2 * step)
    np.testing.assert_allclose(second, numeric, rtol=1e-6)


def test_norms_of_any_size_with_gradients():
    for size in (0.0, 1e-30, 1.0, 1e30):
        x = size * jnp.array([3.0, 4.0])
        np.testing.assert_allclose(safe_norm(x), 5 * size, rtol=1e-6)
        expected = [0.6, 0.8] if size else [0.0, 0.0]
        np.testing.assert_allclose(jax.grad(safe_norm)(x), expected, rtol=1e-6)
