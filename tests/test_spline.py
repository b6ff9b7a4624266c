"""Rational-quadratic splines: guarantees beyond the laws."""

import functools

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distrax_flows import RationalQuadraticSpline, ScanChain

BOUNDARIES = ("unconstrained", "lower_identity", "upper_identity", "identity", "circular")


def textbook(params, x):
    """Durkan et al., eqs. 4-8, on [-3, 3] with linear tails' inside: plain code, plain autodiff."""
    num_bins = (params.shape[-1] - 1) // 3
    size, least = 6.0, 6.0 / (5 * num_bins)
    widths, heights, raw = jnp.split(params, [num_bins, 2 * num_bins])
    widths = least + (size - num_bins * least) * jax.nn.softmax(widths)
    heights = least + (size - num_bins * least) * jax.nn.softmax(heights)
    slopes = heights / widths
    padded = jnp.concatenate([slopes[:1], slopes, slopes[-1:]])
    mean = 2 * padded[1:] * padded[:-1] / (padded[1:] + padded[:-1])
    bound = np.log(10.0)
    knot_slopes = mean * jnp.exp(bound * jnp.tanh(raw / bound))
    x_knots = jnp.concatenate([jnp.array([-3.0]), -3.0 + jnp.cumsum(widths)])
    y_knots = jnp.concatenate([jnp.array([-3.0]), -3.0 + jnp.cumsum(heights)])
    k = jnp.searchsorted(x_knots[1:-1], x, side="right")
    z = (x - x_knots[k]) / widths[k]
    s, d0, d1 = slopes[k], knot_slopes[k], knot_slopes[k + 1]
    q = s + (d1 + d0 - 2 * s) * z * (1 - z)
    y = y_knots[k] + heights[k] * (s * z**2 + d0 * z * (1 - z)) / q
    slope = s**2 * (d1 * z**2 + 2 * s * z * (1 - z) + d0 * (1 - z) ** 2) / q**2
    return y, jnp.log(slope)


@pytest.mark.slow
@pytest.mark.parametrize("num_bins", [1, 2, 5])
def test_values_and_two_derivatives_are_the_textbooks(num_bins, x64):
    rng = np.random.default_rng(0)
    params, xs = jnp.asarray(rng.normal(size=3 * num_bins + 1)), rng.uniform(-2.9, 2.9, size=15)

    def ours(params, x):
        return jnp.stack(RationalQuadraticSpline(params, -3.0, 3.0).forward_and_log_det(x))

    def reference(params, x):
        return jnp.stack(textbook(params, x))

    for order in (lambda f: f, lambda f: jax.jacrev(f, (0, 1)), lambda f: jax.hessian(f, (0, 1))):
        actual, expected = (
            jax.jit(jax.vmap(order(f), (None, 0)))(params, xs) for f in (ours, reference)
        )
        for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-9)


@pytest.mark.parametrize("boundary_slopes", BOUNDARIES)
@pytest.mark.parametrize("num_bins", [8, 16, 32])
def test_float32_round_trip_keeps_its_promise_at_extreme_logits(num_bins, boundary_slopes):
    def errors(params, x):
        spline = RationalQuadraticSpline(params, -5.0, 5.0, boundary_slopes)
        y, log_det = spline.forward_and_log_det(x)
        return jnp.abs(spline.inverse(y) - x).max(), jnp.exp(log_det.min())

    spline = RationalQuadraticSpline(jnp.zeros(3 * num_bins + 1), -5.0, 5.0, boundary_slopes)
    rng = np.random.default_rng(num_bins)
    x = jnp.asarray(rng.uniform(-5, 5, size=20_000), jnp.float32)
    for scale in (1.0, 10.0, 100.0):
        params = rng.normal(scale=scale, size=(20_000, 3 * num_bins + 1))
        error, slope = jax.jit(errors)(jnp.asarray(params, jnp.float32), x)
        assert error < spline.round_trip_bound
        assert slope > spline.min_slope
    # The promise is of use: a few thousandths, a few hundredths at the worst setting.
    assert spline.round_trip_bound < (0.03 if "identity" in boundary_slopes else 0.005)


def test_slope_inside_a_bin_is_bounded_as_claimed():
    # With d <= D the relative slopes at the ends: at least min(d / 2, 1 / (1 + D)).
    rng = np.random.default_rng(0)
    d0, d1 = 10 ** rng.uniform(-4, 3, size=(2, 5000, 1))
    z = np.linspace(0, 1, 2001)
    q = 1 + (d0 + d1 - 2) * z * (1 - z)
    slope = (d1 * z**2 + 2 * z * (1 - z) + d0 * (1 - z) ** 2) / q**2
    least = np.minimum(np.minimum(d0, d1) / 2, 1 / (1 + np.maximum(d0, d1)))
    assert np.all(slope > least)


@pytest.mark.parametrize("boundary_slopes", BOUNDARIES)
def test_zero_parameters_are_the_identity(boundary_slopes):
    spline = RationalQuadraticSpline(jnp.zeros(25), -2.0, 4.0, boundary_slopes)
    x = jnp.linspace(-6.0, 8.0, 1001)
    y, log_det = spline.forward_and_log_det(x)
    np.testing.assert_allclose(y, x, atol=5e-6)
    np.testing.assert_allclose(log_det, 0.0, atol=5e-6)


@pytest.mark.parametrize("boundary_slopes", BOUNDARIES)
def test_range_is_kept_and_slopes_join(boundary_slopes, x64):
    params = np.random.default_rng(1).normal(scale=3.0, size=(100, 25))
    spline = RationalQuadraticSpline(jnp.asarray(params), -2.0, 4.0, boundary_slopes)
    for end in (-2.0, 4.0):
        y, inside = spline.forward_and_log_det(end - 1e-12 * np.sign(end))
        np.testing.assert_allclose(y, end, atol=1e-6)
        outside = spline.forward_log_det_jacobian(end + 1e-12 * np.sign(end))
        np.testing.assert_allclose(inside, outside, atol=1e-6)
    far, log_det = spline.forward_and_log_det(jnp.array([[-100.0], [100.0]]))
    for row, kind in ((0, "lower_identity"), (1, "upper_identity")):
        if boundary_slopes in ("identity", kind):
            np.testing.assert_array_equal(far[row], [-100.0, 100.0][row])
            np.testing.assert_array_equal(log_det[row], 0.0)


def test_circular_wraps(x64):
    params = np.random.default_rng(2).normal(size=25)
    spline = RationalQuadraticSpline(jnp.asarray(params), -np.pi, np.pi, "circular")
    x = jnp.linspace(-3.1, 3.1, 50)
    for turns in (-2, 1, 3):
        y, log_det = spline.forward_and_log_det(x + 2 * np.pi * turns)
        np.testing.assert_allclose(y, spline.forward(x) + 2 * np.pi * turns, atol=1e-9)
        np.testing.assert_allclose(log_det, spline.forward_log_det_jacobian(x), atol=1e-9)
        np.testing.assert_allclose(spline.inverse(y), x + 2 * np.pi * turns, atol=1e-9)


ENDS = {np.float32: [(0.1, 0.3), (-np.pi, np.pi), (0.0, 1e3)], np.float64: [(-0.3, 1e-6)]}


@pytest.mark.parametrize("dtype", ENDS)
@pytest.mark.parametrize("boundary_slopes", BOUNDARIES)
def test_intervals_are_mapped_onto_themselves_to_the_bit(boundary_slopes, dtype, x64):
    rng = np.random.default_rng(0)
    params = rng.normal(size=(16, 200, 1, 13)) * rng.choice([0.3, 3.0, 30.0], (200, 1, 1))
    for low, high in ENDS[dtype]:
        ends = np.array([low, high], dtype)
        inside = rng.uniform(*ends, size=40).astype(dtype).clip(*ends)
        x = np.concatenate([ends, np.nextafter(ends, ends[::-1], dtype=dtype), inside])
        options = {"range_min": low, "range_max": high, "boundary_slopes": boundary_slopes}
        make = functools.partial(RationalQuadraticSpline, **options)
        stack = ScanChain(make, jnp.asarray(params, dtype))
        for direction in (stack.forward, stack.inverse):
            y = jax.jit(direction)(x)
            assert y.dtype == dtype
            np.testing.assert_array_equal(y[:, :2], np.broadcast_to(ends, (200, 2)))
            assert ends[0] <= y.min() < y.max() <= ends[1]


def test_a_uniform_base_gives_finite_densities_at_the_ends():
    params = jnp.asarray(np.random.default_rng(0).normal(size=(1000, 13)), jnp.float32)
    base = distrax.Uniform(jnp.zeros(1000), jnp.ones(1000))
    density = distrax.Transformed(base, RationalQuadraticSpline(params, 0.0, 1.0))
    for end in (0.0, 1.0):
        assert np.isfinite(density.log_prob(jnp.full(1000, end))).all()


@pytest.mark.parametrize("boundary_slopes", BOUNDARIES)
def test_pinned_ends_keep_their_slopes(boundary_slopes, x64):
    params = jnp.asarray(np.random.default_rng(0).normal(size=13))
    spline = RationalQuadraticSpline(params, -3.0, 3.0, boundary_slopes)
    for end, slope in ((-3.0, spline.knot_slopes[0]), (3.0, spline.knot_slopes[-1])):
        np.testing.assert_allclose(jax.grad(spline.forward)(end), slope, rtol=1e-12)
        np.testing.assert_allclose(jax.grad(spline.inverse)(end), 1 / slope, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("boundary_slopes", ["unconstrained", "circular"])
def test_second_derivatives_pass_a_stack(boundary_slopes, x64):
    # A scan, differentiated twice, drops custom derivatives.
    params = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7)))

    def make(params):
        return RationalQuadraticSpline(params, -3.0, 3.0, boundary_slopes)

    def stacked(x):
        return ScanChain(make, params).forward(x)

    def unrolled(x):
        return make(params[1]).forward(make(params[0]).forward(x))

    for x in (-3.0, 1.3):
        got, wanted = (jax.grad(jax.grad(f))(x) for f in (stacked, unrolled))
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("boundary_slopes", BOUNDARIES)
def test_knots_agree_with_the_map_and_with_distrax(boundary_slopes):
    params = jnp.asarray(np.random.default_rng(1).normal(size=(50, 25)), jnp.float32)
    low, high = -0.1, np.pi
    spline = RationalQuadraticSpline(params, low, high, boundary_slopes)
    theirs = distrax.RationalQuadraticSpline(params, low, high, boundary_slopes)
    for name in ("x_pos", "y_pos", "knot_slopes"):
        assert getattr(spline, name).shape == getattr(theirs, name).shape == (50, 9)
    x, y, slopes = spline.x_pos, spline.y_pos, spline.knot_slopes
    for knots in (x, y):
        ends = np.broadcast_to(np.float32([low, high]), (50, 2))
        np.testing.assert_array_equal(knots[:, [0, -1]], ends)
        assert np.all(np.diff(knots) > 0)
    at_knots = RationalQuadraticSpline(params[:, None], low, high, boundary_slopes)
    np.testing.assert_allclose(at_knots.forward(x), y, atol=2e-6)
    np.testing.assert_allclose(at_knots.inverse(y), x, atol=2e-5)
    slope = jax.grad(lambda x: at_knots.forward(x).sum())(x)
    np.testing.assert_allclose(slope, slopes, rtol=2e-3)
    for end, kind in ((0, "lower_identity"), (-1, "upper_identity")):
        if boundary_slopes in ("identity", kind):
            np.testing.assert_allclose(slopes[:, end], 1.0, rtol=1e-6)
            np.testing.assert_allclose(theirs.knot_slopes[:, end], 1.0, rtol=1e-6)
    if boundary_slopes == "circular":
        np.testing.assert_allclose(slopes[:, 0], slopes[:, -1], rtol=1e-6)


@pytest.mark.usefixtures("wrong_types")
def test_swapping_the_class_is_a_change_of_one_word():
    options = {"range_min": -3.0, "range_max": 3.0, "boundary_slopes": "identity"}
    x = jnp.linspace(-5.0, 5.0, 11)
    for spline in (RationalQuadraticSpline, distrax.RationalQuadraticSpline):
        bijector = spline(jnp.zeros(25), min_bin_size=1e-2, **options)
        np.testing.assert_allclose(bijector.forward(x), x, atol=1e-5)
        bijector = spline(jnp.zeros(25), -3.0, 3.0, "identity", 1e-4)
        assert bijector.num_bins == 8
        np.testing.assert_allclose(bijector.forward(x), x, atol=1e-5)
        # Raw widths, heights and slopes have the same places and the same sense.
        for place, moved in ((0, -2.5), (8, -2.5), (18, -1.5)):
            params = jnp.zeros(25).at[place].set(1.0)
            theirs = distrax.RationalQuadraticSpline(params, **options).forward(moved)
            ours = RationalQuadraticSpline(params, **options).forward(moved)
            assert jnp.sign(ours - moved) == jnp.sign(theirs - moved)
