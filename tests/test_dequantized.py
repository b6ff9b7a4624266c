"""Flows of integers: probabilities of images of 2 by 2 pixels and 4 levels, all of them."""

import functools
import itertools

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

import distrax_flows as dxf
from distrax_flows import bases, diagnostics, flows, supports
from distrax_flows.modules import Dequantize

LEVELS = 4
IMAGES = np.array(list(itertools.product(range(LEVELS), repeat=4)), np.uint8).reshape(-1, 2, 2, 1)
SMALL = {"num_layers": 2, "num_scales": 1, "hidden_channels": 4}
ALPHA = 0.05
KEY = jax.random.key(0)


LOC = np.array([-0.8, 0.3, 0.1, 1.0]).reshape(2, 2, 1)
SCALE = np.array([0.5, 1.0, 0.7, 1.4]).reshape(2, 2, 1)


def gaussian_pixels():
    normal = distrax.Independent(distrax.Normal(jnp.asarray(LOC), jnp.asarray(SCALE)), 3)
    return flows.Transformed(normal, distrax.Block(distrax.ScalarAffine(0.0, 1.0), 3))


@pytest.mark.parametrize("alpha", [None, 0.0, ALPHA])
def test_probabilities_of_all_images(alpha, x64):
    """Gaussians behind the logit, so that each probability is a difference of their CDFs."""
    flow = dxf.transform(lambda: flows.dequantized(gaussian_pixels(), LEVELS, alpha=alpha))
    images = IMAGES.astype(np.float64)
    low, high = (_z(images + step, alpha) for step in (0, 1))
    expected = np.prod(scipy.stats.norm.cdf(high) - scipy.stats.norm.cdf(low), axis=(-3, -2, -1))
    bounds = diagnostics.likelihood_bounds(flow, {}, images, key=1, num_samples=10_000)
    np.testing.assert_allclose(np.exp(bounds.importance_weighted), expected, rtol=0.1)
    np.testing.assert_allclose(np.exp(bounds.importance_weighted).sum(), expected.sum(), rtol=0.01)
    assert (bounds.elbo < np.log(expected)).all()
    # Only without a margin do samples not have to be rounded to the first or last level.
    mass = np.prod(
        np.diff(scipy.stats.norm.cdf([_z(0 * LOC, alpha), _z(4 + 0 * LOC, alpha)]), axis=0)
    )
    np.testing.assert_allclose(expected.sum(), mass, rtol=1e-9)
    assert mass == pytest.approx(1, rel=1e-9) if alpha == 0 else mass < 0.99


def _z(x, alpha):
    """Where a number in [0, L] lies on the Gaussian of its pixel, in standard deviations."""
    x = x / LEVELS
    y = x - 0.5 if alpha is None else scipy.special.logit(alpha + (1 - 2 * alpha) * x)
    return (y - LOC) / SCALE


@pytest.mark.parametrize("num_levels", [4, 256])
def test_uniform_images_need_the_bits_of_their_levels(num_levels):
    """Pixels uniform between 0 and L, so log P = -D log L for every image and every noise."""
    wide = (1 - 2 * ALPHA) ** -1

    def make():
        zeros = jnp.zeros((2, 2, 1))
        logistic = distrax.Independent(distrax.Logistic(zeros, jnp.ones_like(zeros)), 3)
        return flows.dequantized(logistic_flow(logistic), num_levels)

    def logistic_flow(base):
        return flows.Transformed(base, distrax.Block(distrax.ScalarAffine(0.0, 1.0), 3))

    flow = dxf.transform(make)
    images = jax.random.randint(KEY, (50, 2, 2, 1), 0, num_levels)
    bits = diagnostics.bits_per_dim(flow, {}, images, key=0, num_samples=3)
    # The logistic base is uniform behind the logit, over [0, L] and a margin outside of it.
    expected = np.log2(num_levels * wide)
    np.testing.assert_allclose(bits.elbo, expected, rtol=1e-5)
    np.testing.assert_allclose(bits.importance_weighted, expected, rtol=1e-5)
    assert bits.elbo_stderr < 1e-4


def test_the_exact_noise_makes_the_bound_tight(x64):
    """With q(u | v) the law of x - v given v, every sample of the bound is log P(v)."""
    slopes = jnp.array([0.5, 1.0, -0.7, 2.0]).reshape(2, 2, 1)

    class Exponential(distrax.Distribution):
        """Density `slope exp(slope u) / (exp(slope) - 1)` on (0, 1)."""

        event_shape = (2, 2, 1)

        def __init__(self, batch_shape=()):
            super().__init__()
            self._batch_shape = batch_shape

        def log_prob(self, value):
            log_prob = jnp.log(slopes / jnp.expm1(slopes)) + slopes * value
            return jnp.sum(jnp.where((value > 0) & (value < 1), log_prob, -jnp.inf), (-3, -2, -1))

        def _sample_n(self, key, n):
            u = jax.random.uniform(key, (n, *self._batch_shape, 2, 2, 1))
            return jnp.log1p(u * jnp.expm1(slopes)) / slopes

    # The density of x on (0, L) is exp(slope x), normalised: given its level, that of u is q.
    class OfLevels(distrax.Distribution):
        event_shape, batch_shape = (2, 2, 1), ()

        def log_prob(self, value):
            log_prob = jnp.log(slopes / jnp.expm1(LEVELS * slopes)) + slopes * value
            return jnp.sum(log_prob, (-3, -2, -1))

        def _sample_n(self, key, n):
            u = jax.random.uniform(key, (n, 2, 2, 1))
            return jnp.log1p(u * jnp.expm1(LEVELS * slopes)) / slopes

    def make(noise):
        return flows.Transformed(OfLevels(), Dequantize(LEVELS, noise, 3), is_discrete=True)

    tight = dxf.transform(lambda: make(lambda v: Exponential(v.shape[:-3])))
    images = IMAGES.astype(np.float64)
    log_p = tight.log_prob({}, images, key=1)
    np.testing.assert_allclose(np.exp(log_p).sum(), 1, rtol=1e-12)
    np.testing.assert_allclose(log_p, tight.log_prob({}, images, key=2), rtol=1e-12)
    loose = dxf.transform(lambda: make(None))
    bounds = diagnostics.likelihood_bounds(loose, {}, IMAGES, key=1, num_samples=2_000)
    assert (bounds.elbo < log_p).all()
    np.testing.assert_allclose(bounds.importance_weighted, log_p, atol=0.1)
    # Samples are levels with these probabilities.
    counts = np.bincount(_index(tight.sample({}, KEY, (40_000,))), minlength=256)
    error = (counts / 40_000 - np.exp(log_p)) / np.sqrt(np.exp(log_p) / 40_000)
    assert np.abs(error).max() < 5
    # What is sampled has the weight of the noise that it was rounded from.
    v, of_samples = tight.sample_and_log_prob({}, KEY, (100,))
    np.testing.assert_allclose(of_samples, log_p[_index(v)], rtol=1e-9)


def _index(images):
    return np.asarray(images).reshape(len(images), 4).astype(int) @ LEVELS ** np.arange(4)[::-1]


def test_all_uses_share_the_noise():
    """Haiku would give the modules of a second use other names, and other parameters."""

    def noise(image):
        shift = hk.Linear(1, b_init=jnp.ones)(image)
        support = distrax.Block(supports.interval(0.0, 1.0).bijector(), 1)
        normal = distrax.Independent(distrax.Normal(shift, jnp.ones_like(shift)), 1)
        return flows.Transformed(normal, support)

    def twice(v):
        normal = distrax.Independent(distrax.Normal(jnp.zeros(1), jnp.ones(1)), 1)
        flow = flows.dequantized(flows.Transformed(normal, dxf.Reverse()), LEVELS, noise=noise)
        return flow.log_prob(v), flow.sample_and_log_prob(seed=0, sample_shape=(3,))

    assert list(hk.transform(twice).init(KEY, jnp.zeros((5, 1)))) == ["noise/linear"]


@pytest.mark.slow
def test_variational_noise_starts_uniform_and_is_trained():
    def noise(image):
        return flows.image_realnvp(
            (2, 2, 1),
            context_map=image,
            between=lambda x: dxf.Reverse(),
            base=bases.logistic((2, 2, 1)),
            support=supports.interval(0.0, 1.0),
            **SMALL,
        )

    def make(noise=None):
        return flows.dequantized(flows.image_glow((2, 2, 1), **SMALL), LEVELS, noise=noise)

    flow = dxf.transform(functools.partial(make, noise))
    data = np.random.default_rng(0).binomial(3, 0.5, (200, 2, 2, 1)).astype(np.uint8)
    start = flow.init(0, data)
    fitted = dxf.fit(flow, data, key=0, num_steps=3, batch_size=50, params=start)
    plain = dxf.transform(make)
    same = {name: start[name] for name in plain.init(0, data)}
    for estimates in zip(
        *(
            diagnostics.likelihood_bounds(model, of, data, key=1, num_samples=400)
            for model, of in ((flow, start), (plain, same))
        ),
        strict=True,
    ):
        np.testing.assert_allclose(*estimates, atol=0.3)
    fixed = dxf.modules.is_fixed
    for module, name, value in _entries(start):
        change = np.abs(value - fitted.params[module][name]).max()
        assert (change == 0) == fixed(module, name, value), (module, name)


def _entries(params):
    return [(module, name, value) for module in params for name, value in params[module].items()]


def test_integers_of_any_kind_are_taken():
    flow = dxf.transform(lambda: flows.dequantized(flows.maf(3, num_layers=1), LEVELS))
    data = np.random.default_rng(0).integers(0, LEVELS, (64, 3))
    data[:, 1] = 2  # an event's constant entry has a probability, though no density
    params = flow.init(0, data)
    expected = flow.log_prob(params, data.astype(np.float32), key=1)
    for dtype in (np.uint8, np.int64):
        np.testing.assert_array_equal(flow.log_prob(params, data.astype(dtype), key=1), expected)
    assert flow.is_discrete
    fits = [
        dxf.fit(flow, data.astype(dtype), key=0, num_steps=3, batch_size=16, validation=0.2)
        for dtype in (np.uint8, np.float32)
    ]
    assert fits[0].history.loss.tolist() == fits[1].history.loss.tolist()
    drawn = dxf.fit(
        flow, lambda key: jax.random.randint(key, (16, 3), 0, LEVELS), key=0, num_steps=2
    )
    assert np.isfinite(drawn.history.loss).all()


def test_memory_maps_of_integers_stay_on_disk(tmp_path):
    flow = dxf.transform(lambda: flows.dequantized(flows.maf(3, num_layers=1), LEVELS))
    data = np.random.default_rng(0).integers(0, LEVELS, (64, 3)).astype(np.uint8)
    np.save(tmp_path / "x.npy", data)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    options = {"key": 0, "num_steps": 3, "batch_size": 16, "validation": 0.2}
    losses = [dxf.fit(flow, x, **options).history.loss.tolist() for x in (data, mapped)]
    assert losses[0] == losses[1]


MAF = dxf.transform(lambda: flows.dequantized(flows.maf(2, num_layers=1), LEVELS))


@pytest.mark.parametrize("bad", [-1.0, 4.0, 1.5])
def test_what_is_no_level_has_probability_zero(bad):
    params = MAF.init(0, np.zeros((1, 2)))
    log_prob = MAF.log_prob(params, jnp.array([[1.0, bad], [1.0, 2.0]]), key=0)
    assert log_prob[0] == -jnp.inf
    assert jnp.isfinite(log_prob[1])
    with pytest.raises(ValueError, match="must lie in the support of the flow; 1 of 40 rows"):
        dxf.fit(
            MAF,
            np.array([[1.0, bad]] + [[1.0, 2.0], [0.0, 3.0], [2.0, 0.0]] * 13),
            key=0,
            batch_size=8,
        )


def test_levels_survive_noise_and_rounding():
    """Also the highest of 256, beside which float32 has few numbers."""
    flow = dxf.transform(
        lambda: flows.dequantized(flows.maf(100, num_layers=1, hidden_sizes=(8,)), 256)
    )
    v = np.full((2_000, 100), 255.0)
    v[::2] = 0
    params = flow.init(0, v[:2])
    z, log_det = flow.inverse(params, v, key=0)
    back, log_det_back = flow.forward(params, z, key=1)
    np.testing.assert_array_equal(back, v)
    np.testing.assert_allclose(log_det, -log_det_back, rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: _dequantized(0),
            "`num_levels` must be an integer of at least 1; got num_levels=0",
        ),
        (
            lambda: _dequantized(4, alpha=0.5),
            "`alpha` must be at least 0 and less than 1/2, or None; got alpha=0.5",
        ),
        (
            lambda: _dequantized(4).log_prob({}, jnp.zeros(2)),
            "`key` must be given to `log_prob`",
        ),
        (
            lambda: diagnostics.bits_per_dim(_dequantized(4), {}, jnp.full((3, 2), 0.5), key=0),
            "`x` must hold integers, the levels of a `flows.dequantized`",
        ),
        (
            lambda: diagnostics.bits_per_dim(_dequantized(4), {}, jnp.zeros((0, 2)), key=0),
            r"`x` must hold at least one event; got x.shape=\(0, 2\)",
        ),
        (
            lambda: diagnostics.likelihood_bounds(
                _dequantized(4), {}, jnp.array([[0.0, 1.0], [jnp.nan, 1.0]]), key=0
            ),
            "1 of 2 events have NaN, the first being event 1",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def _dequantized(num_levels, **options):
    def make():
        normal = distrax.Independent(distrax.Normal(jnp.zeros(2), jnp.ones(2)), 1)
        real = flows.Transformed(normal, dxf.Shift(jnp.zeros(2)))
        return flows.dequantized(real, num_levels, **options)

    flow = dxf.transform(make)
    assert flow.event_shape == (2,)
    return flow
