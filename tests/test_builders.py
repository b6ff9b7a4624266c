"""Builders: return values, and edge cases of options: scales, sizes, circles, reuse."""

import functools

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorflow_probability.substrates import jax as tfp
from test_flows import BUILDERS, HEAVY, build, each
from test_modules import jittered

import distrax_flows as dxf

KEY = jax.random.key(0)
X = jax.random.normal(KEY, (200, 2))
SMALL = {"num_layers": 1, "hidden_sizes": (4,)}
REAL, CIRCLE = dxf.supports.real(), dxf.supports.circle()


# Standardisation


@pytest.mark.parametrize("standardize", [True, "robust"])
@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e18, 1e37])
def test_data_of_any_scale_are_standardised(scale, standardize):
    flow = dxf.transform(lambda: dxf.flows.nice(2, standardize=standardize, **SMALL))
    params = [flow.init(KEY, factor * X) for factor in (1.0, scale)]
    expected = flow.log_prob(params[0], X) - 2 * np.log(scale)
    np.testing.assert_allclose(flow.log_prob(params[1], scale * X), expected, rtol=1e-4, atol=1e-2)


def test_outliers_leave_the_robust_scale_alone():
    flow = dxf.transform(lambda: dxf.flows.nice(2, standardize="robust", **SMALL))
    dirty = X.at[:5].set(1e7)
    clean, robust = (flow.log_prob(flow.init(KEY, x), X[5:]) for x in (X, dirty))
    np.testing.assert_allclose(robust.mean(), clean.mean(), atol=0.05)
    # Where half of the values are equal, there is no interquartile range.
    tied = jnp.where(jnp.arange(200)[:, None] < 160, 1.0, X)
    assert np.isfinite(flow.log_prob(flow.init(KEY, tied), tied)).all()


def test_no_rows_to_initialise_on():
    flow = dxf.transform(lambda: dxf.flows.nice(2, standardize=True, **SMALL))
    with pytest.raises(ValueError, match=r"at least one row, .* got an input of shape \(0, 2\)"):
        flow.init(KEY, X[:0])


@pytest.mark.parametrize("name", ["realnvp", "maf", "planar"])
def test_contexts_are_standardised_with_the_data(name):
    def make(context):
        return build(name, 2, context=context, standardize=True)

    flow = dxf.transform(make)
    context = jax.random.normal(jax.random.key(1), (200, 3))
    wild = jnp.array([1e6, 0.0, -1e9]) + jnp.array([1e3, 1e-9, 1e8]) * context
    logs = []
    for given in (context, wild):
        params = jittered(flow.init(KEY, X, given), scale=0.1)
        fixed, trained = hk.data_structures.partition(dxf.modules.is_fixed, params)
        fixed = hk.data_structures.filter(dxf.modules.is_fixed, flow.init(KEY, X, given))
        logs.append(flow.log_prob(hk.data_structures.merge(fixed, trained), X, given))
    assert np.ptp(logs[0]) > 1e-2
    np.testing.assert_allclose(logs[1], logs[0], atol=2e-2)


# Names


@each()
def test_names_come_before_all_parameters(name):
    options = BUILDERS[name] | {"name": "prior", "standardize": True}
    flow = dxf.transform(lambda: getattr(dxf.flows, name)(2, **options))
    params = jax.eval_shape(flow.init, KEY, X)
    assert all(module.startswith("prior/") for module in params)


def test_names_tell_flows_of_one_transform_apart():
    def both(x):
        prior, likelihood = (dxf.flows.maf(2, name=name, **SMALL) for name in ("a", "b"))
        return likelihood.log_prob(x) + prior.log_prob(x), prior.log_prob(x)

    transformed = hk.without_apply_rng(hk.transform(both))
    params = jittered(transformed.init(KEY, X))
    assert set(params) == {"a/stack/layers/made", "b/stack/layers/made"}
    _, log_prob = transformed.apply(params, X)
    alone = dxf.transform(lambda: dxf.flows.maf(2, name="a", **SMALL))
    np.testing.assert_allclose(log_prob, alone.log_prob(params, X), rtol=1e-6)


# One dimension


@pytest.mark.parametrize("name", ["glow", "realnvp", "iaf", "hint", "nsf_autoregressive"])
@pytest.mark.filterwarnings("ignore:Affine layers")
def test_between_acts_on_a_single_dimension_too(name):
    def make():
        between = {} if name == "glow" else {"between": dxf.modules.ActNormLayer()}
        return build(name, 1, **between)

    flow = dxf.transform(make)
    x = 1000 + X[:, :1]
    best = jnp.log(x.std()) + 0.5 * jnp.log(2 * jnp.pi * jnp.e)
    np.testing.assert_allclose(-flow.log_prob(flow.init(KEY, x), x).mean(), best, atol=1e-2)


@pytest.mark.parametrize("name", ["planar", "radial", "sylvester"])
def test_options_without_effect_are_refused(name):
    message = f"`{name}` takes no `between`, which would have no effect there"
    with pytest.raises(TypeError, match=message):
        dxf.transform(lambda: build(name, 2, between=lambda x: dxf.Reverse())).init(KEY, X)


def test_independent_dimensions_are_not_mixed():
    def make():
        return dxf.flows.independent(2, dxf.families.spline(), between=lambda x: dxf.Reverse())

    with pytest.raises(TypeError, match="`independent` takes no `between`"):
        dxf.transform(make).init(KEY, X)


@pytest.mark.parametrize(
    "make",
    [
        lambda: dxf.flows.maf(1, **SMALL),
        lambda: dxf.flows.nice(1, **SMALL),
        lambda: dxf.flows.glow(1, **SMALL),
        lambda: dxf.flows.hint(1, **SMALL),
        lambda: dxf.flows.realnvp(2, support=[REAL, CIRCLE], **SMALL),
        lambda: dxf.flows.independent(2, dxf.families.affine()),
    ],
)
def test_affine_layers_of_one_dimension_say_that_they_are_gaussian(make):
    with pytest.warns(UserWarning, match=r"Gaussian density .* `flows.nsf_coupling`"):
        dxf.transform(make).init_without_data(KEY)


def test_other_layers_of_one_dimension_say_nothing():
    for make in (
        lambda: dxf.flows.nsf_coupling(1, **SMALL),
        lambda: dxf.flows.planar(1, **SMALL),
        lambda: dxf.flows.maf(1, base=dxf.bases.gaussian_mixture(1, 2), **SMALL),
    ):
        dxf.transform(make).init(KEY, X[:, :1])


FAMILIES = [name for name in dxf.families.__all__ if name not in ("Family", "chain", "inverse")]


@pytest.mark.parametrize("name", FAMILIES)
def test_families_may_be_made_where_the_flow_is_built(name):
    """There, everything that JAX computes is traced."""
    make = getattr(dxf.families, name)
    flow = dxf.transform(lambda: dxf.flows.coupling(2, make(), num_layers=1, hidden_sizes=(2,)))
    params = flow.init(KEY, jnp.zeros((1, 2)))
    family = make()
    start = np.zeros(family.num_params) if family.start is None else family.start
    np.testing.assert_allclose(params["stack/layers/mlp/linear_out"]["b"][0], start, rtol=1e-6)


def bimodal(shape):
    near, side = jax.random.normal(KEY, shape), jax.random.bernoulli(jax.random.key(1), shape=shape)
    return jnp.where(side, 2.0, -2.0) + 0.4 * near


@functools.cache
def excess(name, data):
    """Nats by which a fit to symmetric data of known entropy misses it."""
    family = {
        "spline": dxf.families.spline(),
        "mixture": dxf.families.inverse(dxf.families.logistic_mixture()),
        "sigmoids": dxf.families.inverse(dxf.families.deep_sigmoidal()),
    }[name]
    flow = dxf.transform(lambda: dxf.flows.independent(1, family))
    if data == "peaks":
        x, entropy = bimodal((4000, 1)), 0.5 * np.log(2 * np.pi * np.e * 0.16) + np.log(2)
    else:
        x, entropy = jax.random.uniform(KEY, (4000, 1), minval=-1.7, maxval=1.7), np.log(3.4)
    optimizer = dxf.training.cosine_adam(1500, 1e-2)
    fitted = dxf.fit(flow, x, key=KEY, num_steps=1500, optimizer=optimizer)
    return -flow.log_prob(fitted.params, x).mean() - entropy


@pytest.mark.slow
@pytest.mark.parametrize("data", ["peaks", "uniform"])
@pytest.mark.parametrize("name", ["mixture", "sigmoids"])
def test_symmetric_data_are_no_saddle(name, data):
    # The best Gaussian misses by .94 and .11.
    assert excess(name, data) < excess("spline", data) + 0.1
    assert excess(name, data) < 0.09


@pytest.mark.slow
@pytest.mark.parametrize("name", ["logistic_mixture", "deep_sigmoidal"])
def test_symmetric_data_tell_components_apart_from_the_start(name):
    family = dxf.families.inverse(getattr(dxf.families, name)())
    x = jnp.concatenate([bimodal((500,)), -bimodal((500,))])

    def loss(params):
        z, log_det = family.bijector(params).inverse_and_log_det(x)
        return jnp.mean(0.5 * z**2 - log_det)

    means = slice(8, 16)
    at_zero, at_start = (
        jax.grad(loss)(jnp.asarray(params, jnp.float32))[means]
        for params in (np.zeros(family.num_params), family.start)
    )
    np.testing.assert_allclose(at_zero, 0.0, atol=1e-5)
    assert np.abs(at_start).max() > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["logistic_mixture", "deep_sigmoidal"])
def test_a_broken_start_does_not_add_up_over_layers(name):
    family = getattr(dxf.families, name)()
    flow = dxf.transform(lambda: dxf.flows.autoregressive(2, family, standardize=True))
    x = dxf.densities.get("moons").sample(seed=0, sample_shape=(1000,))
    z, _ = flow.inverse(flow.init(KEY, x), x)
    np.testing.assert_allclose(z.std(axis=0), 1.0, atol=0.1)
    # Maps that each flatten the data drove the scales up together, to 1e20 in three steps.
    history = dxf.fit(flow, x, key=KEY, num_steps=30).history
    assert history.loss.max() < history.loss[0] + 1
    assert history.loss[-5:].mean() < history.loss[0] - 0.15


@pytest.mark.slow
@pytest.mark.parametrize("name", ["logistic_mixture", "deep_sigmoidal"])
def test_a_broken_start_is_near_the_identity(name):
    family = getattr(dxf.families, name)()
    x = jnp.linspace(-5.0, 5.0, 101)
    y = family.bijector(jnp.array(family.start)).forward(x)
    assert 1e-2 < np.abs(y - x).max() < 0.5
    # In every structure, by the bias of the last layer or the parameters themselves.
    for make in (
        lambda: dxf.flows.coupling(2, family, **SMALL),
        lambda: dxf.flows.autoregressive(2, family, **SMALL),
    ):
        flow = dxf.transform(make)
        params = flow.init(KEY, X)
        z, _ = flow.inverse(params, jnp.stack([x, x], axis=-1))
        assert 1e-2 < np.abs(np.asarray(z)[:, ::-1] - np.asarray(x)[:, None]).max() < 0.5


# Circles


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "circles"),
    [
        (lambda: dxf.flows.independent(3, dxf.families.spline(), support=CIRCLE), [0, 1, 2]),
        (lambda: dxf.flows.maf(3, support=CIRCLE, **SMALL), [0, 1, 2]),
        (lambda: dxf.flows.glow(3, support=[CIRCLE, REAL, CIRCLE], **SMALL), [0, 2]),
    ],
    ids=["independent", "autoregressive", "with a line"],
)
@pytest.mark.filterwarnings("ignore:Affine layers")
def test_one_layer_transforms_every_circle(make, circles):
    flow = dxf.transform(make)
    angles = 3 * jnp.tanh(jax.random.normal(KEY, (50, 3)))
    params = jittered(flow.init(KEY, angles), scale=0.5)
    z, log_det = flow.inverse(params, angles)
    x, log_det_back = flow.forward(params, z)
    np.testing.assert_allclose(jnp.cos(x), jnp.cos(angles), atol=1e-3)
    np.testing.assert_allclose(log_det_back, -log_det, atol=1e-3)
    jacobian = jax.vmap(jax.jacfwd(lambda z: flow.forward(params, z)[0]))(z)
    slopes = jnp.abs(jacobian).max(axis=-1)[:, circles]
    assert (np.ptp(slopes, axis=0) > 1e-2).all()


@pytest.mark.slow
def test_independent_circles_are_independent():
    def make(context):
        family = dxf.families.spline()
        return dxf.flows.independent(2, family, support=CIRCLE, context=context)

    flow = dxf.transform(make)
    context = X[:, :1]
    angles = 3 * jnp.tanh(X)
    params = jittered(flow.init(KEY, angles, context), scale=0.5)
    jacobian = jax.vmap(jax.jacfwd(lambda x, c: flow.inverse(params, x, c)[0]))(angles, context)
    np.testing.assert_array_equal(jacobian[:, [0, 1], [1, 0]], 0.0)
    assert np.ptp(flow.log_prob(params, angles[0], context)) > 1e-2


@pytest.mark.slow
def test_the_ends_of_a_circle_are_one_point():
    clock = dxf.supports.circle(0.0, 24.0)
    flow = dxf.transform(lambda: dxf.flows.nsf_coupling(1, support=clock, **SMALL))
    params = jittered(flow.init(KEY, jnp.ones((1, 1))), scale=0.5)
    log_prob = flow.log_prob(params, jnp.array([[0.0], [24.0], [24.01], [-0.01]]))
    np.testing.assert_array_equal(log_prob[2:], -np.inf)
    assert log_prob[0] == log_prob[1] > -10
    hours = jnp.arange(0.0, 24.1, 0.5)[:, None]
    dxf.fit(flow, hours, key=0, num_steps=1, batch_size=8)
    # pi itself, and the double-precision number just below it, round to a float32 above pi.
    flow = dxf.transform(lambda: dxf.flows.nsf_coupling(1, support=CIRCLE, **SMALL))
    ends = np.array([[np.pi], [np.nextafter(np.pi, 0)], [-np.pi], [np.nextafter(-np.pi, 0)]])
    log_prob = flow.log_prob(params, jnp.asarray(ends, jnp.float32))
    assert np.isfinite(log_prob).all()
    assert len(np.unique(log_prob)) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"support": dxf.supports.interval(1e8, 1e8 + 1)},
        {"support": dxf.supports.circle(1e8, 1e8 + 1)},
        {"base": dxf.bases.uniform(1, 1e8, 1e8 + 1)},
    ],
    ids=["interval", "circle", "base"],
)
def test_intervals_that_the_dtype_cannot_resolve_are_refused(options):
    flow = dxf.transform(lambda: dxf.flows.nsf_coupling(1, **options, **SMALL))
    with pytest.raises(ValueError, match=r"`\[low, high\]` must be .* Subtract an offset"):
        flow.init(KEY, jnp.full((1, 1), 1e8))
    with jax.enable_x64(True):
        x = np.float64(1e8) + np.linspace(0.1, 0.9, 5)[:, None]
        assert np.isfinite(flow.log_prob(flow.init(KEY, x), x)).all() or "base" in options


# Empty batches


@pytest.mark.parametrize(
    "name",
    [
        "maf",
        "iaf",
        "nsf_coupling",
        pytest.param("bernstein_autoregressive", marks=pytest.mark.slow),
    ],
)
def test_empty_batches_give_empty_results(name):
    flow = dxf.transform(lambda context: build(name, 3, context=context))
    x, context = jnp.zeros((4, 3)), jnp.zeros((4, 2))
    params = flow.init(KEY, x, context)
    for rows, given, shape in [(0, 0, (0,)), (4, 0, None), (0, 4, None)]:
        if shape is None:
            with pytest.raises(ValueError, match="batch axes that broadcast"):
                flow.log_prob(params, x[:rows], context[:given])
            continue
        assert flow.log_prob(params, x[:rows], context[:given]).shape == shape
        assert flow.log_prob(params, x[:rows], context[0]).shape == shape
    assert flow.sample(params, KEY, (0,), context[0]).shape == (0, 3)
    assert flow.sample(params, KEY, (5,), context[:0]).shape == (5, 0, 3)
    sample, log_prob = flow.sample_and_log_prob(params, KEY, (0, 2), context)
    assert (sample.shape, log_prob.shape) == ((0, 2, 4, 3), (0, 2, 4))
    assert flow.log_prob(params, x[:0], context[:0], batch_size=3).shape == (0,)
    gradient = jax.grad(lambda p: flow.log_prob(p, x[:0], context[0]).sum())(params)
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(gradient))


# Distributions, inside of a user's own transform and outside


@pytest.mark.parametrize(
    "name",
    [
        "realnvp",
        "maf",
        "planar",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("sylvester", "glow", "hint")),
        *(pytest.param(name, marks=pytest.mark.slow) for name in HEAVY),
    ],
)
def test_uses_inside_of_a_transform_share_parameters(name):
    """Sampling first, then the density twice: the numbers of the flow from `transform`."""
    x = 3 + 2 * X[:20]

    def make():
        return build(name, 2, standardize=True)

    def run(x):
        density = make()
        sample, log_prob = density.sample_and_log_prob(seed=KEY, sample_shape=(3, 4))
        return density.log_prob(x), density.log_prob(x), sample, log_prob

    flow = dxf.transform(make)
    params = jittered(flow.init(KEY, x), scale=0.1)
    inside = hk.without_apply_rng(hk.transform(run))
    made = jax.eval_shape(inside.init, KEY, x)
    assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, params)
    first, second, sample, log_prob = jax.jit(inside.apply)(params, x)
    np.testing.assert_allclose(first, flow.log_prob(params, x), atol=1e-4)
    np.testing.assert_array_equal(first, second)
    expected = flow.sample_and_log_prob(params, KEY, (3, 4))
    np.testing.assert_allclose(sample, expected[0], atol=1e-4)
    np.testing.assert_allclose(log_prob, expected[1], atol=1e-3)


def test_a_second_use_at_initialisation_keeps_what_the_first_one_made():
    def make():
        support = [dxf.supports.positive(), CIRCLE]
        family = dxf.families.spline(2)
        return dxf.flows.coupling(2, family, support=support, standardize=True, **SMALL)

    def run(x):
        density = make()
        return density.log_prob(x), density.log_prob(2 * x)

    x = jnp.abs(X[:20])
    flow = dxf.transform(make)
    twice = jax.jit(hk.transform(run).init)(KEY, x)
    jax.tree.map(np.testing.assert_array_equal, twice, flow.init(KEY, x))


@pytest.mark.slow
def test_inside_of_scan_and_of_distrax():
    def glow():
        return dxf.flows.glow(2, dxf.families.additive(), **SMALL)

    def scanned(x):
        density = glow()
        return hk.scan(lambda carry, row: (carry, density.log_prob(row)), 0, x)[1]

    def squashed(x):
        tanh = distrax.Block(distrax.Tanh(), 1)
        density = distrax.Transformed(dxf.flows.maf(2, **SMALL), tanh)
        sample = density.sample(seed=KEY, sample_shape=3)
        return density.log_prob(x), sample

    scan = hk.without_apply_rng(hk.transform(scanned))
    params = jax.jit(scan.init)(KEY, X[:3])
    whole = dxf.transform(glow)
    expected = whole.log_prob(params, X[:3])
    np.testing.assert_allclose(scan.apply(params, X[:3]), expected, atol=1e-5)
    squash = hk.without_apply_rng(hk.transform(squashed))
    log_prob, sample = squash.apply(jax.jit(squash.init)(KEY, 0.1 * X), jnp.tanh(X))
    expected = distrax.MultivariateNormalDiag(jnp.zeros(2), jnp.ones(2)).log_prob(X)
    np.testing.assert_allclose(log_prob, expected - 2 * jnp.log(1 / jnp.cosh(X)).sum(-1), atol=1e-3)
    assert sample.shape == (3, 2)


def test_divergences_between_flows_are_estimated_or_refused():
    def run(x):
        flows = [dxf.flows.maf(2, **SMALL) for _ in range(2)]
        for flow in flows:
            flow.log_prob(x)
        other = distrax.Transformed(flows[1].distribution, flows[1].bijector)
        return (
            flows[0].kl_divergence(flows[1], seed=0, num_samples=1000),
            flows[0].kl_divergence(other, seed=0, num_samples=1000),
            flows,
            other,
        )

    def check(x):
        estimate, same, flows, other = run(x)
        for p, q in [(flows[0], flows[1]), (flows[0], other), (other, flows[0])]:
            with pytest.raises(NotImplementedError, match=r"no closed form\. Estimate it"):
                tfp.distributions.kl_divergence(p, q)
        with pytest.raises(NotImplementedError, match=r"no closed form\. Estimate it"):
            other.kl_divergence(flows[0])
        with pytest.raises(ValueError, match="`seed` must be given"):
            flows[0].kl_divergence(flows[1])
        return estimate, same

    inside = hk.without_apply_rng(hk.transform(check))
    params = jittered(inside.init(KEY, X), scale=0.3)
    estimate, same = inside.apply(params, X)
    assert estimate > 0.01
    assert estimate == same


@each()
def test_infinite_events_have_no_density(name):
    flow = dxf.transform(lambda: build(name, 2))
    params = jittered(flow.init(KEY, X), scale=0.1)
    x = jnp.array([[np.inf, 0.0], [0.0, -np.inf], [np.nan, 0.0], [1.0, 1.0]])
    log_prob = flow.log_prob(params, x)
    np.testing.assert_array_equal(log_prob[:3], [-np.inf, -np.inf, np.nan])
    np.testing.assert_allclose(log_prob[3], flow.log_prob(params, x[3]), rtol=1e-5)


@pytest.mark.parametrize(
    "base",
    [
        lambda: None,
        lambda: dxf.bases.uniform(2, -1.0, 1.0),
        lambda: dxf.bases.student_t(2),
        lambda: dxf.bases.gaussian_mixture(2, 3, covariance="full"),
        lambda: distrax.Independent(distrax.Logistic(jnp.zeros(2, "f"), jnp.ones(2, "f")), 1),
    ],
    ids=["normal", "uniform", "student_t", "mixture", "distrax"],
)
def test_noise_has_the_resolution_of_the_flow(base, x64):
    check_resolution(lambda: dxf.flows.nice(2, base=base(), **SMALL), 2)


def test_angles_have_the_resolution_of_the_flow(x64):
    check_resolution(lambda: dxf.flows.nsf_coupling(1, support=CIRCLE, **SMALL), 1)


def check_resolution(make, size):
    flow = dxf.transform(make)
    for dtype in (np.float32, np.float64):
        params = flow.init(KEY, jnp.ones((1, size), dtype))
        sample = flow.sample(params, KEY, (100,))
        assert sample.dtype == dtype
        coarse = np.asarray(sample) == np.asarray(sample, np.float32)
        assert coarse.mean() == 1.0 if dtype == np.float32 else coarse.mean() < 0.1


@pytest.mark.usefixtures("wrong_types")
def test_an_integer_is_a_key():
    flow = dxf.transform(lambda: build("maf", 2))
    params = flow.init(0, X)
    jax.tree.map(np.testing.assert_array_equal, params, flow.init(jax.random.PRNGKey(0), X))
    for draw in (flow.sample, flow.sample_base):
        np.testing.assert_array_equal(draw(params, 7, 3), draw(params, jax.random.key(7), 3))
    by_seed = flow.distribution(params).sample(seed=7, sample_shape=3)
    np.testing.assert_array_equal(by_seed, flow.sample(params, 7, 3))
    with pytest.raises(TypeError, match=r"`key` must be a random key .* integer seed; got 0\.5"):
        flow.sample(params, 0.5)
    with pytest.raises(ValueError, match=r"must be a single random key; got keys of shape \(2,\)"):
        flow.sample(params, jax.random.split(KEY))


def test_a_flow_prints_what_builds_it():
    def moons():
        return dxf.flows.maf(2)

    flow = dxf.transform(moons)
    assert repr(flow).startswith("Flow(")
    assert "moons" in repr(flow)
    partial = dxf.transform(functools.partial(dxf.flows.maf, 2, num_layers=3))
    assert "num_layers=3" in repr(partial)
    assert len(repr(partial)) < 200
