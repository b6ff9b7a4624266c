"""Small numerics: the root finder and the norm."""

import functools

import cases
import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distrax_flows import ScanChain
from distrax_flows._core.numerics import hard_clip, safe_norm
from distrax_flows._core.roots import find_root
from distrax_flows.bijectors._base import Bijector


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


class Arcsinh(Bijector):
    """`arcsinh(c y)`, by a root or in closed form."""

    def __init__(self, c, by_root):
        super().__init__(event_ndims_in=0)
        self._c, self._by_root = c, by_root

    def forward_and_log_det(self, y):
        x = jnp.arcsinh(self._c * y)
        if self._by_root:
            ends = jnp.full_like(y, -5.0), jnp.full_like(y, 5.0)
            x = find_root(lambda x: jnp.sinh(x) - self._c * y, *ends)
        return x, jnp.log(self._c) - jnp.log(jnp.cosh(x))


@pytest.mark.slow
@pytest.mark.parametrize("argument", [0, 1])
def test_three_derivatives_pass_a_root_in_a_stack(argument, x64):
    # Differentiated twice, a scan drops custom rules.
    def total(c, y, *, by_root, stacked):
        layer = functools.partial(Arcsinh, by_root=by_root)
        layers = ScanChain(layer, c) if stacked else distrax.Chain([layer(a) for a in c[::-1]])
        return sum(map(jnp.sum, layers.forward_and_log_det(y)))

    def direction(t, **options):
        c, y = jnp.array([1.3, 0.7, 2.1]), jnp.array([0.8, -0.3])
        return total(c * t, y, **options) if argument == 0 else total(c, y * t, **options)

    for stacked in (False, True):
        roots = functools.partial(direction, by_root=True, stacked=stacked)
        exact = functools.partial(direction, by_root=False, stacked=False)
        for _ in range(4):
            np.testing.assert_allclose(roots(1.0), exact(1.0), rtol=1e-10)
            roots, exact = jax.grad(roots), jax.grad(exact)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["logistic_mixture", "planar"])
def test_second_derivatives_of_stacked_inverses(name, x64):
    case = next(case for case in cases.CASES if case.name == name)
    raw = np.stack([case.raw(seed, dtype=np.float64) for seed in range(2)])
    y = case.events(dtype=np.float64)

    def total(raw, stacked):
        layers = [case.build(row) for row in raw]
        chain = ScanChain(case.build, raw) if stacked else distrax.Chain(layers[::-1])
        return sum(map(jnp.sum, chain.inverse_and_log_det(y)))

    def second(stacked):
        first = jax.grad(functools.partial(total, stacked=stacked))
        return jax.jit(jax.grad(lambda raw: jnp.sum(jnp.sin(first(raw)))))

    stacked, unrolled = second(True), second(False)
    # At zero the bracket of a mixture's root is a single point.
    for scale in (0.0, 1.0):
        got, wanted = stacked(scale * raw), unrolled(scale * raw)
        np.testing.assert_allclose(got, wanted, rtol=1e-7, atol=1e-9)


def test_rounding_is_clipped_without_its_derivative():
    low, high = np.float32([0.1, 0.3])
    x = jnp.array([0.05, low, 0.2, high, 0.30001])
    for f in (hard_clip, jax.jit(hard_clip)):
        np.testing.assert_array_equal(f(x, low, high), np.clip(x, low, high))
        np.testing.assert_array_equal(jax.grad(lambda x, f=f: f(x, low, high).sum())(x), 1.0)


def test_norms_of_any_size_with_gradients():
    for size in (0.0, 1e-30, 1.0, 1e30):
        x = size * jnp.array([3.0, 4.0])
        np.testing.assert_allclose(safe_norm(x), 5 * size, rtol=1e-6)
        expected = [0.6, 0.8] if size else [0.0, 0.0]
        np.testing.assert_allclose(jax.grad(safe_norm)(x), expected, rtol=1e-6)
