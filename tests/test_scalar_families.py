"""Scalar bijectors and families: guarantees beyond the laws."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special, stats

from distrax_flows import (
    CircularShift,
    Exp,
    LogisticMixtureCDF,
    Logit,
    Sinh,
    Softplus,
    SumOfSquares,
    families,
)

FAMILIES = {
    "bernstein": families.bernstein(degree=8),
    "circular_spline": families.circular_spline(num_bins=4, range_min=-3.0, range_max=3.0),
    "deep_sigmoidal": families.deep_sigmoidal(num_units=3, num_layers=2),
    "logistic_mixture": families.logistic_mixture(num_components=3),
    "sum_of_squares": families.sum_of_squares(degree=2),
}

each_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)


@each_family
def test_zero_parameters_are_the_identity(family):
    @jax.jit
    def both(params, x):
        bijector = family.bijector(params)
        return bijector.forward_and_log_det(x), bijector.inverse_and_log_det(x)

    x = jnp.linspace(-2.9, 2.9, 101)
    for y, log_det in both(jnp.zeros(family.num_params), x):
        np.testing.assert_allclose(y, x, atol=2e-6)
        np.testing.assert_allclose(log_det, 0.0, atol=2e-6)


@each_family
def test_families_work_in_couplings(family, x64):
    weights = np.random.default_rng(0).normal(size=(2, family.num_params))

    def conditioner(x):
        return (weights[0] * jnp.sin(x) + weights[1])[..., None, :]

    @jax.jit
    def there_and_back(x):
        bijector = distrax.SplitCoupling(1, 1, conditioner, family.bijector)
        y, log_det = bijector.forward_and_log_det(x)
        return y, log_det, *bijector.inverse_and_log_det(y)

    x = np.random.default_rng(1).uniform(-2.9, 2.9, size=(20, 2))
    y, log_det, x_again, log_det_back = there_and_back(x)
    np.testing.assert_array_equal(y[:, 0], x[:, 0])
    expected, expected_log_det = family.bijector(conditioner(x[:1, :1])[0]).forward_and_log_det(
        x[:1, 1]
    )
    np.testing.assert_allclose(y[:1, 1], expected, atol=1e-12)
    np.testing.assert_allclose(log_det[:1], expected_log_det, atol=1e-12)
    np.testing.assert_allclose(x_again, x, atol=1e-9)
    np.testing.assert_allclose(log_det_back, -log_det, atol=1e-8)


def _forward(bijector, x):
    return bijector.forward_and_log_det(x)


def _inverse(bijector, y):
    return bijector.inverse_and_log_det(y)


class TestLogisticMixtureCDF:
    def test_is_the_logit_of_the_distribution_function(self, x64):
        params = jnp.asarray(np.random.default_rng(0).normal(size=14))
        bijector = LogisticMixtureCDF(params, min_slope=1e-12)
        weights, means, log_scales = (np.asarray(a) for a in bijector.mixture)
        assert bijector.num_components == len(weights) == 4
        np.testing.assert_allclose(weights.sum(), 1.0)
        parts = stats.logistic(means[:, None], np.exp(log_scales)[:, None])
        x = np.linspace(-6.0, 6.0, 51)
        cdf, sf, pdf = (weights @ f(x) for f in (parts.cdf, parts.sf, parts.pdf))
        scale = np.exp(3 * np.tanh(params[-2] / 3))
        y, log_det = bijector.forward_and_log_det(x)
        np.testing.assert_allclose(y, scale * (np.log(cdf) - np.log(sf)) + params[-1], atol=1e-9)
        np.testing.assert_allclose(np.exp(log_det), scale * pdf / (cdf * sf), rtol=1e-9)

    def test_logistic_noise_becomes_the_mixture(self, x64):
        # x = F^-1(sigma(noise)): the inverse of the bijector, with a = b = 0.
        params = jnp.array([0.5, -0.5, -4.0, 2.0, -1.0, 0.3, 0.0, 0.0])
        bijector = LogisticMixtureCDF(params, min_slope=1e-12)
        weights, means, log_scales = (np.asarray(a) for a in bijector.mixture)
        noise = distrax.Logistic(jnp.zeros(()), jnp.ones(()))
        density = distrax.Transformed(noise, distrax.Inverse(bijector))
        x = np.linspace(-9.0, 9.0, 40)
        expected = weights @ stats.logistic.pdf(x, means[:, None], np.exp(log_scales)[:, None])
        np.testing.assert_allclose(density.prob(x), expected, rtol=1e-8)

    def test_slopes_are_bounded_for_any_parameters(self):
        rng = np.random.default_rng(0)
        choices = [-1e3, -30.0, -1.0, 0.0, 1.0, 30.0, 1e3]
        params = rng.choice(choices, size=(20_000, 11)).astype(np.float32)
        params[:, -2] = 0.0
        x = rng.uniform(-50.0, 50.0, size=20_000).astype(np.float32)
        for eps, c in ((0.01, 3.0), (0.1, 1.0)):
            bijector = LogisticMixtureCDF(jnp.asarray(params), max_log_scale=c, min_slope=eps)
            slope = np.exp(bijector.forward_log_det_jacobian(x))
            assert 0.999 * eps < slope.min() < 1.1 * eps
            assert 0.9 * np.exp(c) < slope.max() < np.exp(c) + eps

    @pytest.mark.parametrize("scale", [1.0, 30.0])
    def test_bracket_holds_the_root(self, scale):
        rng = np.random.default_rng(0)
        params = jnp.asarray(rng.normal(scale=scale, size=(20_000, 17)), jnp.float32)
        x = jnp.asarray(rng.uniform(-8.0, 8.0, size=20_000), jnp.float32)
        y, log_det = jax.jit(_forward)(LogisticMixtureCDF(params), x)
        # What rounding y costs at this slope, a few times over.
        bound = 1e-6 * (1 + np.abs(y) * np.exp(-log_det) + np.abs(x) + scale * np.exp(-log_det))
        x_again, _ = jax.jit(_inverse)(LogisticMixtureCDF(params), y)
        assert np.all(np.abs(x_again - x) < 10 * bound)

    def test_components_part_under_gradient_descent(self):
        rng = np.random.default_rng(0)
        modes = rng.choice([-2.0, 2.0], size=500)
        x = jnp.asarray(modes + rng.normal(scale=0.3, size=500), jnp.float32)

        def loss(params):
            y, log_det = LogisticMixtureCDF(params).forward_and_log_det(x)
            return jnp.mean(0.5 * y**2 - log_det)

        for optimizer, num_steps in ((optax.sgd(0.1), 5), (optax.adam(0.03), 300)):
            params = jnp.zeros(14)
            state = optimizer.init(params)
            gradient = jax.jit(jax.value_and_grad(loss))
            value = None
            for _ in range(num_steps):
                value, updates = gradient(params)
                updates, state = optimizer.update(updates, state)
                params = optax.apply_updates(params, updates)
            _, means, log_scales = LogisticMixtureCDF(params).mixture
            assert np.unique(means).size == np.unique(log_scales).size == 4
        # A normal density of the same variance would have 1.2; both modes are found.
        assert value < 0.6
        assert means.min() < -1
        assert means.max() > 1


class TestSumOfSquares:
    def test_is_the_integral_of_a_sum_of_squares(self, x64):
        low, high, degree, eps = -2.0, 4.0, 4, 0.05
        params = np.random.default_rng(0).normal(size=2 * degree + 3)
        bounded = 3 * np.tanh(params[1:] / 3)
        first, second = bounded[: degree + 1], 0.5 * bounded[degree + 1 :]
        p = [np.polynomial.Chebyshev(a, domain=[low, high]) for a in (first, second)]
        slope = sum((q + np.sqrt((1 - eps) / 2)) ** 2 for q in p) + eps
        integral = slope.integ(lbnd=(low + high) / 2)
        bijector = SumOfSquares(jnp.asarray(params), degree, low, high)
        x = np.linspace(low, high, 101)
        y, log_det = bijector.forward_and_log_det(x)
        offset = (low + high) / 2 + (high - low) * params[0]
        np.testing.assert_allclose(y, offset + integral(x), atol=1e-11)
        np.testing.assert_allclose(np.exp(log_det), slope(x), rtol=1e-11)
        # Lines outside.
        for end, far in ((low, np.float32(-50.0)), (high, np.float32(70.0))):
            line = offset + integral(end) + slope(end) * (far - end)
            np.testing.assert_allclose(bijector.forward(far), line, rtol=1e-12)
            np.testing.assert_allclose(bijector.inverse(line), far, rtol=1e-12)

    @pytest.mark.parametrize("degree", [1, 3, 8])
    def test_slopes_are_bounded_for_any_parameters(self, degree):
        rng = np.random.default_rng(degree)
        params = rng.choice([-1e4, -1.0, 0.0, 1.0, 1e4], size=(20_000, 2 * degree + 3))
        x = rng.uniform(-7.0, 7.0, size=20_000).astype(np.float32)
        bijector = SumOfSquares(jnp.asarray(params, jnp.float32), degree, -5.0, 5.0)
        slope = np.exp(bijector.forward_log_det_jacobian(x))
        assert slope.min() > 0.999 * 0.05
        assert slope.max() < 2 * (1 + 3 * (degree + 1)) ** 2

    def test_float32_round_trip_keeps_its_promise(self):
        rng = np.random.default_rng(0)
        signs = 1e3 * rng.choice([-1.0, 1.0], size=(5000, 9)) * (np.arange(9) > 0)
        x = rng.uniform(-5.0, 5.0, size=5000).astype(np.float32)
        for params in (rng.normal(size=(5000, 9)), signs):
            bijector = SumOfSquares(jnp.asarray(params, jnp.float32), 3, -5.0, 5.0)
            y, _ = jax.jit(_forward)(bijector, x)
            x_again, _ = jax.jit(_inverse)(bijector, y)
            assert np.abs(x_again - x).max() < 1e-4 * 10

    def test_polynomials_part_under_gradient_descent(self):
        x = jnp.asarray(np.random.default_rng(0).exponential(size=500), jnp.float32)

        @jax.jit
        @jax.grad
        def gradient(params):
            y, log_det = SumOfSquares(params, 2, -5.0, 5.0).forward_and_log_det(x)
            return jnp.mean(0.5 * y**2 - log_det)

        params = jnp.zeros(7)
        for _ in range(20):
            params -= 0.01 * gradient(params)
        # Were p_1 and p_2 proportional, they would be one square.
        p = np.array(params[1:]).reshape(2, 3) * np.array([[1.0], [0.5]])
        p[:, 0] += np.sqrt(0.95 / 2)
        assert np.linalg.svd(p, compute_uv=False)[1] > 1e-3


TINY = np.finfo(np.float32).tiny  # the least number inside of a support that begins at 0


class TestExp:
    def test_is_numpys_and_stays_inside(self):
        x = jnp.array([-1e4, -80.0, 0.5, 80.0, 1e4])
        y, log_det = Exp().forward_and_log_det(x)
        largest = np.finfo(np.float32).max
        np.testing.assert_allclose(y, [TINY, *np.exp([-80, 0.5, 80]), largest], rtol=1e-4)
        np.testing.assert_array_equal(log_det, x)
        back, log_det_back = Exp().inverse_and_log_det(y[1:-1])
        np.testing.assert_allclose(back, x[1:-1], rtol=1e-6)
        np.testing.assert_allclose(log_det_back, -x[1:-1], rtol=1e-6)

    def test_density_of_a_normal_variable(self, x64):
        density = distrax.Transformed(distrax.Normal(jnp.zeros(()), jnp.ones(())), Exp())
        y = np.geomspace(1e-3, 1e3, 30)
        np.testing.assert_allclose(density.prob(y), stats.lognorm.pdf(y, 1.0), rtol=1e-9)


class TestSinh:
    def test_is_numpys(self, x64):
        x = np.linspace(-50.0, 50.0, 101)
        y, log_det = Sinh().forward_and_log_det(x)
        np.testing.assert_allclose(y, np.sinh(x), rtol=1e-14)
        np.testing.assert_allclose(log_det, np.log(np.cosh(x)), rtol=1e-13, atol=1e-15)
        x_again, log_det_back = Sinh().inverse_and_log_det(y)
        np.testing.assert_allclose(x_again, x, rtol=1e-13)
        np.testing.assert_allclose(log_det_back, -log_det, rtol=1e-13, atol=1e-15)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_is_accurate_from_the_smallest_to_the_largest_number(self, dtype, x64):
        info = np.finfo(dtype)
        y = np.geomspace(4 * float(info.tiny), float(info.max) / 4, 2001).astype(dtype)
        y = np.concatenate([-y, [0.0], y]).astype(dtype)
        x, log_det = jax.jit(Sinh().inverse_and_log_det)(y)
        assert x.dtype == log_det.dtype == dtype
        expected = np.arcsinh(y.astype(np.longdouble))
        np.testing.assert_allclose(x, expected, rtol=8 * info.eps)
        log_slope = np.logaddexp(expected, -expected) - np.log(np.longdouble(2))
        np.testing.assert_allclose(log_det, -log_slope, rtol=8 * info.eps, atol=2 * info.eps)
        slope = jax.vmap(jax.grad(Sinh().inverse))(y)
        np.testing.assert_allclose(
            slope, 1 / np.hypot(1, y.astype(np.longdouble)), rtol=8 * info.eps, atol=info.tiny
        )

    def test_stays_finite_far_out(self):
        y, log_det = Sinh().forward_and_log_det(jnp.array([-1e4, 1e4]))
        np.testing.assert_allclose(np.abs(y), np.finfo(np.float32).max / 2, rtol=1e-2)
        np.testing.assert_allclose(log_det, 1e4 - np.log(2), rtol=1e-6)

    def test_density_of_a_normal_variable(self, x64):
        density = distrax.Transformed(distrax.Normal(jnp.zeros(()), jnp.ones(())), Sinh())
        y = np.linspace(-30.0, 30.0, 31)
        np.testing.assert_allclose(density.prob(y), stats.johnsonsu.pdf(y, 0.0, 1.0), rtol=1e-9)


class TestSoftplus:
    def test_is_scipys(self, x64):
        x = np.linspace(-50.0, 50.0, 101)
        y, log_det = Softplus().forward_and_log_det(x)
        np.testing.assert_allclose(y, np.logaddexp(x, 0.0), rtol=1e-14)
        np.testing.assert_allclose(log_det, special.log_expit(x), rtol=1e-14)
        x_again, log_det_back = Softplus().inverse_and_log_det(y)
        np.testing.assert_allclose(x_again, x, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(log_det_back, -log_det, rtol=1e-12, atol=1e-15)

    def test_is_stable_far_out(self):
        x = jnp.array([-1e4, -80.0, 1e4])
        y, log_det = Softplus().forward_and_log_det(x)
        np.testing.assert_allclose(y, [TINY, np.exp(-80.0), 1e4], rtol=1e-5)
        np.testing.assert_allclose(log_det, [-1e4, -80.0, 0.0], atol=1e-5)
        np.testing.assert_allclose(Softplus().inverse(y)[1:], x[1:], rtol=1e-6)

    def test_density_of_a_normal_variable(self, x64):
        density = distrax.Transformed(distrax.Normal(jnp.zeros(()), jnp.ones(())), Softplus())
        y = np.linspace(1e-3, 8.0, 30)
        expected = stats.norm.pdf(np.log(np.expm1(y))) / -np.expm1(-y)
        np.testing.assert_allclose(density.prob(y), expected, rtol=1e-9)


class TestLogit:
    @pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.0, 5.0)])
    def test_is_scipys(self, low, high, x64):
        bijector = Logit(low, high)
        assert (bijector.low, bijector.high) == (low, high)
        share = np.linspace(0.001, 0.999, 50)
        y, log_det = bijector.forward_and_log_det(low + (high - low) * share)
        np.testing.assert_allclose(y, special.logit(share), atol=1e-12)
        slope = 1 / ((high - low) * share * (1 - share))
        np.testing.assert_allclose(np.exp(log_det), slope, rtol=1e-12)
        x, log_det_back = bijector.inverse_and_log_det(y)
        np.testing.assert_allclose(x, low + (high - low) * share, rtol=1e-12)
        np.testing.assert_allclose(log_det_back, -log_det, atol=1e-12)

    def test_sigmoid_stays_within_the_closed_interval(self):
        rng = np.random.default_rng(0)
        for low, width in rng.uniform(-2.0, 2.0, size=(200, 2)):
            high = low + abs(width) + 0.01
            x = Logit(low, high).inverse(jnp.linspace(-40.0, 40.0, 81))
            assert x.min() >= np.float32(low)
            assert x.max() <= np.float32(high)
            assert np.all(np.diff(x) >= 0)

    def test_inverse_is_stable_far_out(self):
        x, log_det = Logit().inverse_and_log_det(jnp.array([-1e4, -80.0, 0.0, 80.0, 1e4]))
        last = np.nextafter(np.float32(1), np.float32(0))
        np.testing.assert_allclose(x[:3], [TINY, np.exp(-80.0), 0.5], rtol=1e-5)
        np.testing.assert_array_equal(x[3:], last)  # inside, where the density is not zero
        np.testing.assert_allclose(log_det, [-1e4, -80.0, -2 * np.log(2), -80.0, -1e4], rtol=1e-6)


OUTSIDE = {
    "exp": (distrax.Inverse(Exp()), [-1e4, -1.0, -0.0, 0.0, 1e-45, -np.inf]),
    "softplus_above": (distrax.Inverse(Softplus(5.0)), [-1e4, 4.0, 5.0, -np.inf]),
    "softplus": (distrax.Inverse(Softplus()), [-1e4, -1.0, -0.0, 0.0, 1e-45, -np.inf]),
    "logit": (Logit(), [-1e4, -1.0, 0.0, 1.0, 1e4, 1e-45, -np.inf, np.inf]),
    "wide_logit": (Logit(-3.0, 5.0), [-1e4, -3.0, 5.0, 1e4]),
}


@pytest.mark.parametrize(
    "bijector",
    [Exp(), Sinh(), Softplus(), Softplus(5.0), Logit(), Logit(-3.0, 5.0)],
    ids=["exp", "sinh", "softplus", "softplus_above", "logit", "wide_logit"],
)
def test_gradients_are_finite_far_out(bijector):
    x = jnp.array([-1e4, -100.0, -1.0, 0.0, 1.0, 100.0, 1e4])
    for direction in (bijector.forward_and_log_det, bijector.inverse_and_log_det):
        for output in (0, 1):
            gradient = jax.grad(lambda x, f=direction, i=output: jnp.sum(f(x)[i]))(x)
            assert np.isfinite(gradient).all()


@pytest.mark.parametrize(("onto_the_line", "outside"), OUTSIDE.values(), ids=OUTSIDE)
def test_density_is_zero_outside_the_support(onto_the_line, outside):
    base = distrax.Normal(jnp.zeros(()), jnp.ones(()))
    density = distrax.Transformed(base, distrax.Inverse(onto_the_line))
    x = jnp.asarray(outside, jnp.float32)
    y, log_det = onto_the_line.forward_and_log_det(x)
    assert np.all(np.isfinite(y))
    np.testing.assert_array_equal(log_det, -np.inf)
    np.testing.assert_array_equal(density.log_prob(x), -np.inf)
    for total in (onto_the_line.forward, onto_the_line.forward_log_det_jacobian, density.log_prob):
        np.testing.assert_array_equal(jax.grad(lambda x, f=total: jnp.sum(f(x)))(x), 0.0)
    # What is not a number stays so, rather than become an impossible event.
    for result in onto_the_line.forward_and_log_det(jnp.float32(np.nan)):
        assert np.isnan(result)


class TestCircularShift:
    @pytest.mark.parametrize("shift", [0.0, 1.0, -4.0, 1e-8, -1e-8, 1e3])
    def test_result_is_the_place_on_the_circle(self, shift):
        low, high = -np.pi, np.pi
        steps = np.float32(1e-7) * np.arange(-30, 30, dtype=np.float32)
        x = np.linspace(-20.0, 20.0, 5001, dtype=np.float32)
        x = jnp.concatenate([x, steps + np.float32(low), steps + np.float32(high), steps])
        bijector = CircularShift(jnp.float32(shift), low, high)
        for direction, sign in ((bijector.forward, 1), (bijector.inverse, -1)):
            y = direction(x)
            assert y.min() >= np.float32(low)
            assert y.max() < np.float32(high)
            exact = np.asarray(x, np.float64) + sign * shift
            np.testing.assert_allclose(np.cos(y), np.cos(exact), atol=1e-4)
            np.testing.assert_allclose(np.sin(y), np.sin(exact), atol=1e-4)

    def test_turns_over_and_back(self):
        x = jnp.linspace(-3.0, 2.9, 50)
        bijector = CircularShift(jnp.linspace(-10.0, 10.0, 50), -3.0, 3.0)
        np.testing.assert_allclose(bijector.inverse(bijector.forward(x)), x, atol=2e-6)

    def test_gradients_are_those_of_a_shift(self):
        def forward(x, shift):
            return CircularShift(shift, -3.0, 3.0).forward(x)

        # Before the jump, at it, and beyond it.
        for x in (-3.0, 0.0, 1.0, 1.5, 2.9, 40.0):
            assert jax.grad(forward, (0, 1))(x, jnp.array(2.0)) == (1.0, 1.0)
            inverse = jax.grad(lambda y: CircularShift(jnp.array(2.0), -3.0, 3.0).inverse(y))
            assert inverse(x) == 1.0

    def test_turns_a_von_mises_density(self, x64):
        base = distrax.as_distribution(_von_mises())
        density = distrax.Transformed(base, CircularShift(jnp.array(2.0), -np.pi, np.pi))
        x = np.linspace(-3.1, 3.1, 40)
        expected = stats.vonmises.pdf(x, kappa=1.5, loc=2.0)
        np.testing.assert_allclose(density.prob(x), expected, rtol=1e-9)


def _von_mises():
    from tensorflow_probability.substrates import jax as tfp

    zero = jnp.zeros((), jnp.float64)
    return tfp.distributions.VonMises(zero, zero + 1.5)


def test_circular_spline_is_a_map_of_the_circle(x64):
    family = families.circular_spline(num_bins=5, range_min=-3.0, range_max=3.0)
    params = jnp.asarray(np.random.default_rng(0).normal(size=family.num_params))
    bijector = family.bijector(params)
    x = np.linspace(-3.0, 3.0, 2001)[:-1]
    y, log_det = jax.jit(_forward)(bijector, x)
    assert -3.0 <= y.min() < y.max() < 3.0
    # Once around, at a continuous pace, wherever it starts.
    assert np.sum(np.diff(y) < 0) == 1
    steps = np.mod(np.diff(np.append(y, y[0])), 6.0)
    np.testing.assert_allclose(steps.sum(), 6.0)
    assert np.abs(np.diff(np.append(log_det, log_det[0]))).max() < 0.1
    # The last parameter is the turn.
    turned = family.bijector(params.at[-1].add(1.0)).forward(x)
    np.testing.assert_allclose(np.mod(turned - y, 6.0), 1.0, atol=1e-12)
    base = distrax.Uniform(jnp.array(-3.0), jnp.array(3.0))
    grid = np.linspace(-3.0, 3.0, 20_001)[:-1]
    prob = jax.jit(distrax.Transformed(base, bijector).prob)(grid)
    np.testing.assert_allclose(prob.sum() * 6.0 / 20_000, 1.0, atol=1e-6)


def test_deep_sigmoidal_is_a_chain_of_mixtures():
    family = families.deep_sigmoidal(num_units=2, num_layers=3)
    params = jnp.asarray(np.random.default_rng(0).normal(size=24), jnp.float32)
    y = x = jnp.linspace(-3.0, 3.0, 7)
    for layer in (2, 1, 0):
        y, _ = jax.jit(_forward)(LogisticMixtureCDF(params[8 * layer : 8 * layer + 8]), y)
    actual, _ = jax.jit(_forward)(family.bijector(params), x)
    np.testing.assert_allclose(actual, y, atol=1e-5)
