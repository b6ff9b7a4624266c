"""Diagnostics: each accepts what is right, and refuses what is wrong."""

import functools

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import distrax_flows as dxf
from distrax_flows import diagnostics, flows, supports

KEY = jax.random.key(0)
NORMAL = dxf.transform(lambda: flows.realnvp(2, num_layers=1, hidden_sizes=(4,)))
PARAMS = NORMAL.init_without_data(0)  # N(0, 1) in two dimensions
DATA = np.asarray(jax.random.normal(jax.random.key(1), (500, 2)))


def posterior(context):
    """The posterior of x ~ N(0, 1) given x + N(0, 1/4), for contexts (kind, observation).

    Kinds: 0 is right, 1 too narrow, 2 ignores the observation, 3 is shifted.
    """
    kind, seen = context[..., 0], context[..., 1]
    scale = jnp.sqrt(0.2) * jnp.where(kind == 1, 0.7, 1.0)
    loc = 0.8 * seen + jnp.where(kind == 3, 0.2, 0.0)
    loc, scale = jnp.where(kind == 2, 0.0, loc), jnp.where(kind == 2, 1.0, scale)
    base = distrax.MultivariateNormalDiag(loc[..., None], scale[..., None])
    return distrax.Transformed(base, dxf.Shift(jnp.zeros(1)))


POSTERIOR = dxf.transform(lambda context: posterior(context))


# Pareto-smoothed importance sampling.


@pytest.mark.parametrize("k", [0.3, 0.7, 1.2])
def test_pareto_weights_have_their_shape(k):
    """Weights u^-k have k; the estimate's standard deviation is (1 + k) / sqrt(tail)."""
    uniform = jax.random.uniform(KEY, (100_000, 8))
    found = diagnostics.pareto_smooth(-k * jnp.log(uniform)).pareto_k
    assert found.shape == (8,)
    assert np.all(np.abs(found - k) < 4 * (1 + k) / np.sqrt(949))


@pytest.mark.slow
def test_smoothing_lessens_the_error_of_a_heavy_mean():
    """The mean of weights u^-0.6 is 1 / 0.4, and its variance is infinite."""
    log_weights = -0.6 * jnp.log(jax.random.uniform(KEY, (1000, 400)))
    smoothed = diagnostics.pareto_smooth(log_weights).log_weights
    rough, smooth = (jnp.exp(values).mean(axis=0) - 1 / 0.4 for values in (log_weights, smoothed))
    assert jnp.sqrt(jnp.mean(smooth**2)) < 0.7 * jnp.sqrt(jnp.mean(rough**2))
    assert abs(jnp.mean(smooth)) < 0.05 / 0.4  # the price: a small bias


def test_smoothing_keeps_small_weights_order_and_constants():
    log_weights = jax.random.normal(KEY, (1000,))
    smoothed = diagnostics.pareto_smooth(log_weights).log_weights
    np.testing.assert_array_equal(np.argsort(smoothed), np.argsort(log_weights))
    is_tail = log_weights >= jnp.sort(log_weights)[-95]
    np.testing.assert_array_equal(smoothed[~is_tail], log_weights[~is_tail])
    assert smoothed.max() <= log_weights.max()
    shifted = diagnostics.pareto_smooth(log_weights + 100.0)
    np.testing.assert_allclose(shifted.log_weights, smoothed + 100, atol=1e-4)


@pytest.mark.parametrize(
    ("log_weights", "k"),
    [
        (np.zeros(1000), -np.inf),
        (np.full(1000, -np.inf), np.inf),
        (np.where(np.arange(1000) < 20, np.arange(1000) / 5, -np.inf), np.inf),
        (np.where(np.arange(1000) < 1, np.nan, 0.0), np.nan),
        (np.arange(20.0), np.inf),
    ],
    ids=["equal", "none", "few weights", "NaN", "few samples"],
)
def test_k_of_weights_without_a_tail(log_weights, k):
    np.testing.assert_equal(float(diagnostics.pareto_smooth(jnp.asarray(log_weights)).pareto_k), k)


@pytest.mark.parametrize("size", [2, 50])
def test_rounding_of_a_perfect_proposal_is_no_tail(size):
    p = distrax.MultivariateNormalDiag(jnp.zeros(size), jnp.ones(size))
    x = p.sample(seed=0, sample_shape=(10_000,))
    log_weights = p.log_prob(x) - jnp.sum(jax.scipy.stats.norm.logpdf(x[:, ::-1]), axis=-1)
    assert diagnostics.pareto_smooth(log_weights).pareto_k < 0.5


def test_few_positive_weights_are_no_tail():
    """Size 300 of the tail, whose quartile is its 75th: less than three quarters are positive."""
    log_weights = np.where(
        np.arange(10_000) < 225, np.random.default_rng(0).normal(size=10_000), -np.inf
    )
    assert diagnostics.pareto_smooth(jnp.asarray(log_weights)).pareto_k == np.inf


def test_evidence_tells_tails_that_are_too_light():
    def log_density(scale, x):
        return -0.5 * jnp.sum((x / scale) ** 2, axis=-1)

    def found(scale, **options):
        density = functools.partial(log_density, scale)
        return diagnostics.evidence(NORMAL, PARAMS, density, key=1, **options)

    assert found(0.8).pareto_k < 0.5
    with pytest.warns(UserWarning, match=r"k-hat 0\.8\d, above 0.7: the flow has too little"):
        assert found(3.0).pareto_k > 0.7
    assert found(3.0, annealing=dxf.Annealing(4)).pareto_k < 0.7


# Divergences and moments.


def test_kl_divergences_both_ways():
    p = distrax.MultivariateNormalDiag(jnp.zeros(2), jnp.ones(2))
    q = distrax.MultivariateNormalDiag(jnp.ones(2), jnp.full(2, 2.0))
    for first, second in ((p, q), (q, p)):
        found = diagnostics.kl_divergence(first, second, key=KEY)
        assert abs(found.value - first.kl_divergence(second)) < 4 * found.stderr
    assert found.stderr == pytest.approx(np.sqrt(2 * (9 * 9 / 16 + 1 / 16 * 0) / 1e4), rel=1)


def test_kl_needs_distributions_of_one_kind_of_event():
    vector = distrax.MultivariateNormalDiag(jnp.zeros(1), jnp.ones(1))
    for other in (distrax.Normal(0.0, 1.0), distrax.Normal(jnp.zeros(5), jnp.ones(5))):
        with pytest.raises(ValueError, match="must have the same batch and event shapes"):
            diagnostics.kl_divergence(vector, other, key=0)
    outside = distrax.Independent(distrax.Uniform(jnp.zeros(1), jnp.ones(1)), 1)
    found = diagnostics.kl_divergence(vector, outside, key=0)
    assert found == (np.inf, np.inf)


def test_kl_of_a_flow_that_misses_a_mode():
    """Mass 1/2 is missing: KL(flow || data) is log 2, and KL(data || flow) about 18."""
    modes = distrax.MixtureSameFamily(
        distrax.Categorical(probs=jnp.full(2, 0.5)),
        distrax.MultivariateNormalDiag(jnp.array([[0.0, 0.0], [6.0, 0.0]]), jnp.ones((2, 2))),
    )
    flow = NORMAL.distribution(PARAMS)
    reverse = diagnostics.kl_divergence(flow, modes, key=KEY)
    forward = diagnostics.kl_divergence(modes, flow, key=KEY)
    assert reverse.value == pytest.approx(np.log(2), abs=0.02)
    assert abs(forward.value - (9 - np.log(2))) < 4 * forward.stderr + 0.02


def test_estimates_of_a_distribution():
    flow = dxf.transform(lambda context: posterior(context))
    contexts = jnp.array([[0.0, 1.0], [2.0, 1.0]])
    distribution = flow.distribution(flow.init(0, jnp.zeros((2, 1)), contexts), contexts)
    normal = scipy.stats.norm([[0.8], [0.0]], [[np.sqrt(0.2)], [1.0]])
    exact = {
        "estimate_mean": normal.mean(),
        "estimate_variance": normal.var(),
        "estimate_entropy": normal.entropy()[:, 0],
    }
    for name, value in exact.items():
        estimate = getattr(distribution, name)(seed=1)
        assert estimate.value.shape == value.shape
        error = (np.asarray(estimate.value) - value) / np.asarray(estimate.stderr)
        assert np.all(np.abs(error) < 4), name
    # The standard errors themselves, from those of Gaussians.
    scales = normal.std()
    mean, variance = distribution.estimate_mean(1), distribution.estimate_variance(1)
    np.testing.assert_allclose(mean.stderr, scales / 100, rtol=0.05)
    np.testing.assert_allclose(variance.stderr, np.sqrt(2) * scales**2 / 100, rtol=0.1)
    with pytest.raises(ValueError, match="`num_samples` must be at least 2; got num_samples=1"):
        distribution.estimate_variance(1, num_samples=1)


# Calibration.


def test_calibrated_p_values_are_uniform():
    """Of 40 seeds and four quantities; the four are nearly independent."""
    p_values = []
    for seed in range(40):
        x = jax.random.normal(jax.random.key(seed), (200, 2))
        found = diagnostics.calibration(NORMAL, PARAMS, x, key=seed + 1000, num_samples=50)
        p_values.append(found.p_values)
    for column in np.array(p_values).T:
        assert scipy.stats.kstest(column, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("scale", [0.7, 1.4])
def test_wrong_scales_are_found(scale):
    found = diagnostics.calibration(NORMAL, PARAMS, scale * DATA, key=2)
    assert found.names == ("x[0]", "x[1]", "hpd", "tarp")
    assert found.p_value < 0.01
    levels = np.linspace(0.1, 0.9, 9)
    hpd = found.coverage(levels)[:, 2]
    assert np.all((hpd - levels) * (1 - scale) > 0)  # above the line if too wide


def posterior_case(kind):
    x, noise = jax.random.normal(jax.random.key(3), (2, 400, 1))
    context = jnp.concatenate([jnp.full((400, 1), float(kind)), x + noise / 2], axis=-1)
    return diagnostics.calibration(POSTERIOR, {}, x, context, key=4, num_samples=100)


def test_the_right_posterior_is_calibrated():
    assert posterior_case(0).p_value > 0.05


@pytest.mark.parametrize("kind", [1, 2, 3], ids=["too narrow", "prior", "shifted"])
def test_wrong_posteriors_are_not(kind):
    found = posterior_case(kind)
    assert found.p_value < 0.01
    if kind == 2:  # of all quantities, only that with a reference sees the context
        np.testing.assert_array_less(0.05, found.p_values[:2])
        assert found.p_values[2] < 0.01


def test_hpd_coverage_is_that_of_an_interval():
    """A posterior too narrow by .7: its central 80 % interval holds x with probability .630."""
    found = posterior_case(1)
    half_width = 0.7 * scipy.stats.norm.ppf(0.9)
    exact = scipy.stats.norm.cdf(half_width) - scipy.stats.norm.cdf(-half_width)
    assert found.coverage([0.8])[0, 1] == pytest.approx(exact, abs=4 * np.sqrt(exact / 4 / 400))


def test_the_band_and_the_p_value_agree():
    levels = np.arange(1, 51) / 51
    inside = []
    for seed in range(30):
        x = 1.1 * jax.random.normal(jax.random.key(seed), (200, 2))
        found = diagnostics.calibration(NORMAL, PARAMS, x, key=seed, num_samples=50)
        low, high = found.band(levels, confidence=0.95)
        curves = found.coverage(levels)
        is_inside = ((low[:, None] <= curves) & (curves <= high[:, None])).all(axis=0)
        np.testing.assert_array_equal(is_inside, found.p_values >= 0.05)
        inside += list(is_inside)
    assert 0 < np.mean(inside) < 1


def test_ties_are_broken_at_random():
    ranks = diagnostics.rank_among(np.zeros((9, 10_000, 1)), np.zeros((10_000, 1)))
    counts = np.bincount(ranks[:, 0], minlength=10)
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.slow
def test_calibration_of_images_and_integers():
    def pixels():
        flow = flows.image_realnvp((2, 2, 1), num_layers=1, num_scales=1, hidden_channels=2)
        return flows.dequantized(flow, num_levels=4)

    flow = dxf.transform(pixels)
    x = jax.random.randint(KEY, (200, 2, 2, 1), 0, 4)
    params = flow.init(0, x)
    x = flow.sample(params, 5, (200,))
    found = diagnostics.calibration(flow, params, x, key=2, num_samples=50)
    assert found.names[3] == "x[1,1,0]"
    assert found.p_values.min() > 0.005


@pytest.mark.usefixtures("wrong_types")
def test_what_calibration_refuses():
    with pytest.raises(ValueError, match="`x` must be a batch of at least two events; got"):
        diagnostics.calibration(NORMAL, PARAMS, DATA[0], key=0)
    with pytest.raises(ValueError, match="`context` must have a row for each event; got"):
        diagnostics.calibration(POSTERIOR, {}, DATA[:, :1], DATA[:9], key=0)
    with pytest.raises(ValueError, match="`x` must not hold NaN; 1 of 500 events do, the first"):
        diagnostics.calibration(NORMAL, PARAMS, np.where(DATA[3] == DATA, np.nan, DATA), key=0)
    with pytest.raises(ValueError, match="must not hold NaN; got it in 0 events and 2 sets"):
        diagnostics.rank_among(np.full((3, 2, 1), np.nan), np.zeros((2, 1)))
    with pytest.raises(ValueError, match="`confidence` must be between 0 and 1"):
        diagnostics.Calibration(np.zeros((2, 1), int), 5, ("x[0]",)).band([0.5], 1.0)


def test_few_events_are_not_refused_for_their_number():
    """The first event has no earlier one as its reference."""
    p_values = [
        diagnostics.calibration(
            NORMAL, PARAMS, jax.random.normal(jax.random.key(seed), (5, 2)), key=seed
        ).p_values[3]
        for seed in range(60)
    ]
    assert np.mean(np.array(p_values) < 0.05) < 0.15


def test_gross_errors_of_many_dimensions_are_found():
    """More quantities than simulations could tell apart."""
    ranks = np.random.default_rng(0).integers(0, 101, (500, 400))
    names = tuple(map(str, range(400)))
    assert diagnostics.Calibration(ranks, 100, names).p_value > 0.05
    ranks[:, 7] = ranks[:, 7] // 2
    assert diagnostics.Calibration(ranks, 100, names).p_value < 1e-6


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        (np.zeros((3, 2), int), r"`ranks` must be \[N, Q\], with a column for each of 1 names"),
        (np.full((3, 1), 101), "`ranks` must be from 0 to 100, .* got ranks from 101 to 101"),
    ],
)
def test_wrong_ranks(ranks, message):
    with pytest.raises(ValueError, match=message):
        _ = diagnostics.Calibration(ranks, 100, ("x[0]",)).p_values


# Two-sample test.


@pytest.mark.slow
def test_a_classifier_tells_a_missing_mode_and_nothing_else():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    other = rng.normal(size=(400, 2))
    far = other + 4 * rng.integers(0, 2, (400, 1))
    same, missed = diagnostics.c2st(x, other), diagnostics.c2st(far, x)
    assert same.p_value > 0.05
    assert abs(same.accuracy - 0.5) < 0.08
    assert missed.p_value < 1e-6
    # The best classifier is right in 3/4 of all cases, less what overlaps.
    assert missed.accuracy == pytest.approx(0.74, abs=0.04)


@pytest.mark.usefixtures("wrong_types")
def test_what_c2st_refuses():
    with pytest.raises(ValueError, match="`x` and `y` must have one shape, and at least 5"):
        diagnostics.c2st(DATA, DATA[:-1])
    with pytest.raises(ValueError, match="`y` must be finite; got 1 events"):
        diagnostics.c2st(DATA, np.where(DATA[3] == DATA, np.inf, DATA))
    with pytest.raises(ValueError, match="`num_folds` must be at least 2; got num_folds=1"):
        diagnostics.c2st(DATA, DATA, num_folds=1)
    with pytest.raises(ValueError, match="`x` must vary; its dimension 1 is constant"):
        diagnostics.c2st(DATA * [1, 0], DATA)


# Audit.


def test_a_sound_flow_has_no_problem():
    found = diagnostics.audit(NORMAL, PARAMS, DATA, key=0)
    assert found.problems == ()
    assert "no problem found" in str(found)
    assert found.outside.shape == (2,)


def test_a_wall_at_the_end_of_a_spline():
    def walled():
        base = distrax.Independent(distrax.Uniform(jnp.full(2, -5.0), jnp.full(2, 5.0)), 1)
        spline = dxf.RationalQuadraticSpline(jnp.zeros((2, 13)), -5.0, 5.0)
        return distrax.Transformed(base, distrax.Block(spline, 1))

    flow = dxf.transform(walled)
    x = np.random.default_rng(0).uniform(-5, 5, (1000, 2))
    assert diagnostics.audit(flow, {}, x, key=0).problems == ()
    found = diagnostics.audit(flow, {}, x * [1, 1.2], key=0)
    assert found.outside[0] == 0
    assert found.outside[1] == pytest.approx(1 / 6, abs=0.05)
    assert found.impossible == pytest.approx(1 / 6, abs=0.05)
    assert any("beyond all samples in x[1]" in problem for problem in found.problems)


def test_a_support_that_saturates():
    """Logits of standard deviation 20: a fifth of all samples round to 1 in float32."""

    def saturated():
        base = distrax.MultivariateNormalDiag(jnp.zeros(2), jnp.array([1.0, 20.0]))
        return distrax.Transformed(base, distrax.Block(distrax.Sigmoid(), 1))

    flow = dxf.transform(saturated)
    x = np.random.default_rng(0).uniform(size=(100, 2)).astype(np.float32)
    found = diagnostics.audit(flow, {}, x, key=0)
    exact = scipy.stats.norm.sf(17.3 / 20)
    assert found.at_ends[0] == 0
    assert found.at_ends[1] == pytest.approx(exact, abs=0.02)
    assert any("value of the outermost one in x[1]" in text for text in found.problems)


def test_directions_that_disagree():
    class Wrong(distrax.Bijector):
        def __init__(self):
            super().__init__(event_ndims_in=0)

        def forward_and_log_det(self, x):
            return 2 * x, jnp.full_like(x, jnp.log(2.0))

        def inverse_and_log_det(self, y):
            return y / 2.01, jnp.full_like(y, -jnp.log(2.1))

    def wrong():
        base = distrax.MultivariateNormalDiag(jnp.zeros(2), jnp.ones(2))
        return distrax.Transformed(base, distrax.Block(Wrong(), 1))

    found = diagnostics.audit(dxf.transform(wrong), {}, DATA, key=0)
    assert found.round_trip == pytest.approx(0.01 / 2.01, rel=0.01)
    assert found.log_det == pytest.approx(2 * np.log(1.05) / (2 * np.log(2.1)), rel=0.01)
    assert {text.split("`")[1] for text in found.problems} == {
        "round_trip",
        "round_trip_of_samples",
        "log_det",
        "log_prob",
    }


@pytest.mark.slow
def test_audit_of_a_conditional_flow_with_a_support():
    def conditional(context):
        return flows.maf(
            2,
            num_layers=1,
            hidden_sizes=(4,),
            context=context,
            support=supports.interval(0.0, 1.0),
        )

    flow = dxf.transform(conditional)
    x = np.random.default_rng(0).uniform(0.1, 0.9, (200, 2)).astype(np.float32)
    params = flow.init(0, x, DATA[:200])
    assert diagnostics.audit(flow, params, x, DATA[:200], key=0, num_samples=500).problems == ()
    found = diagnostics.audit(flow, params, 2 * x, DATA[:200], key=0, num_samples=500)
    assert found.impossible == np.any(2 * x > 1, axis=-1).mean()


@pytest.mark.usefixtures("wrong_types")
def test_what_audit_refuses():
    with pytest.raises(ValueError, match="`x` must be a non-empty batch of events; got"):
        diagnostics.audit(NORMAL, PARAMS, DATA[:0], key=0)
    with pytest.raises(ValueError, match="`context` must have a row for each event; got"):
        diagnostics.audit(POSTERIOR, {}, DATA[:, :1], DATA[:9], key=0)
    with pytest.raises(ValueError, match="`tolerance` must be a finite number above 0"):
        diagnostics.audit(NORMAL, PARAMS, DATA, key=0, tolerance=0.0)
    integers = dxf.transform(lambda: flows.dequantized(flows.maf(2), num_levels=4))
    with pytest.raises(ValueError, match="`flow` must have real events"):
        diagnostics.audit(integers, {}, np.zeros((5, 2), int), key=0)


def test_summary_counts_every_number():
    flow = dxf.transform_with_state(
        lambda is_training: flows.realnvp(
            2, between=dxf.modules.BatchNormLayer(is_training), standardize=True
        )
    )
    params, state = flow.init(0, DATA)
    size = sum(np.size(leaf) for leaf in jax.tree.leaves((params, state)))
    text = diagnostics.summary(flow, (params, state))
    assert sum(int(line.split()[-1].replace(",", "")) for line in text.splitlines()[2:]) == size
    assert "4 fixed" in text.splitlines()[0]
    assert "32 of state" in text.splitlines()[0]
