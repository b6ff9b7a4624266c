"""Learned base distributions."""

import functools

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
from test_modules import jittered

import distrax_flows as dxf
from distrax_flows import bases

BASES = {
    "gaussian": lambda: bases.gaussian(2),
    "logistic": lambda: bases.logistic(2),
    "student_t": lambda: bases.student_t(2),
    "mixture_diagonal": lambda: bases.gaussian_mixture(2, 3),
    "mixture_full": lambda: bases.gaussian_mixture(2, 3, covariance="full"),
    "uniform": lambda: bases.uniform(2, [-1.0, 0.0], 2.0),
}
LEARNED = [name for name in BASES if name != "uniform"]
each_base = pytest.mark.parametrize("name", BASES)
each_learned = pytest.mark.parametrize("name", LEARNED)


@functools.cache
def learned(name):
    """The parameters of a base, away from where they start, and their only scope."""
    params = hk.transform(BASES[name]).init(jax.random.key(0))
    params = jittered(params, scale=0.7)
    return params, (next(iter(params.values())) if params else {})


def made(name, params=None):
    """The distribution."""
    return hk.transform(BASES[name]).apply(learned(name)[0] if params is None else params, None)


# Compiled once per base: operations one by one compile slower.
@functools.cache
def log_prob_of(name):
    return jax.jit(lambda params, x: made(name, params).log_prob(x))


@functools.cache
def draws_of(name, num):
    return jax.jit(lambda params, key: made(name, params).sample(seed=key, sample_shape=(num,)))


def soft_clip(x):
    return 5 * np.tanh(x / 5)


def reference_log_prob(name, x):
    """The same by scipy, in double precision."""
    raw = {key: np.asarray(value, np.float64) for key, value in learned(name)[1].items()}
    if name.startswith("mixture"):
        logits, means, scales = raw["logits"], raw["means"], np.exp(soft_clip(raw["log_scales"]))
        shears = np.zeros((3, 2, 2))
        shears[:, 1, 0] = raw.get("shears", np.zeros((3, 1)))[:, 0]
        weights = np.exp(logits) / np.exp(logits).sum()
        roots = scales[:, :, None] * (np.eye(2) + shears)
        return np.log(
            sum(
                w * scipy.stats.multivariate_normal(m, root @ root.T).pdf(x)
                for w, m, root in zip(weights, means, roots, strict=True)
            )
        )
    if name == "uniform":
        return scipy.stats.uniform([-1.0, 0.0], [3.0, 2.0]).logpdf(x).sum(axis=-1)
    scale = np.exp(soft_clip(raw["log_scale"]))
    scalar = {
        "gaussian": lambda: scipy.stats.norm(raw["loc"], scale),
        "logistic": lambda: scipy.stats.logistic(raw["loc"], scale),
        "student_t": lambda: scipy.stats.t(
            0.5 + 4.5 * np.exp(soft_clip(raw["log_df_factor"])), raw["loc"], scale
        ),
    }[name]()
    return scalar.logpdf(x).sum(axis=-1)


@each_base
def test_log_prob_is_that_of_scipy(name):
    x = np.random.default_rng(0).normal(size=(30, 4, 2), scale=3.0)
    expected, log_prob, params = reference_log_prob(name, x), log_prob_of(name), learned(name)[0]
    actual = log_prob(params, jnp.asarray(x, jnp.float32))
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    one = log_prob(params, jnp.asarray(x[0, 0], jnp.float32))
    np.testing.assert_allclose(one, expected[0, 0], rtol=1e-4)
    with jax.enable_x64(True):
        actual = log_prob(params, jnp.asarray(x))
        assert actual.dtype == np.float64
        np.testing.assert_allclose(actual, expected, rtol=1e-5)
        params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
        exact = log_prob(params, jnp.asarray(x))
        np.testing.assert_allclose(exact, expected, rtol=1e-12, atol=1e-12)
        single = log_prob(learned(name)[0], jnp.asarray(x, np.float32))
        assert single.dtype == draws_of(name, 4)(learned(name)[0], jax.random.key(0)).dtype
        assert single.dtype == np.float32


def assert_density_is_that_of(draws, log_prob):
    # The mean of q / p over draws from p is the mass of q, which is 1, for any narrow q.
    draws, log_prob = np.asarray(draws, np.float64), np.asarray(log_prob, np.float64)
    middle = draws[np.argmin(np.abs(draws - np.median(draws, axis=0)).sum(axis=-1))]
    ratio = scipy.stats.multivariate_normal(middle, 0.05 * np.eye(2)).pdf(draws) / np.exp(log_prob)
    error = ratio.std() / np.sqrt(ratio.size)
    assert error < 0.1
    np.testing.assert_allclose(ratio.mean(), 1.0, atol=5 * error)


@each_base
def test_density_integrates_to_one(name):
    axis = np.linspace(-1.0, 1.0, 1201, dtype=np.float64)
    # sinh: a fine grid in the middle, a coarse one far into the tails.
    points, slopes = np.sinh(10 * axis) / 20, 10 * np.cosh(10 * axis) / 20
    if name == "uniform":
        points, slopes = 3 * axis, np.full_like(axis, 3.0)
    grid = np.stack(np.meshgrid(points, points), axis=-1)
    with jax.enable_x64(True):
        density = np.exp(log_prob_of(name)(learned(name)[0], jnp.asarray(grid)))
    mass = (density * slopes * slopes[:, None]).sum() * (axis[1] - axis[0]) ** 2
    np.testing.assert_allclose(mass, 1.0, atol=6e-3 if name == "uniform" else 1e-3)


@each_base
def test_in_a_flow(name):
    def make(context):
        options = {"num_layers": 2, "hidden_sizes": (8,), "context": context}
        return dxf.flows.realnvp(2, base=BASES[name](), **options)

    flow, context = dxf.transform(make), jnp.ones((3, 1))
    params = jittered(flow.init(jax.random.key(0), jnp.zeros((3, 2)), context), scale=0.1)
    x, log_prob = flow.sample_and_log_prob(params, jax.random.key(1), (50,), context)
    assert x.shape == (50, 3, 2)
    assert x.dtype == np.float32
    assert len(np.unique(np.asarray(x)[..., 0])) == 150, "every row has noise of its own"
    np.testing.assert_allclose(flow.log_prob(params, x, context), log_prob, atol=2e-3)
    same = flow.sample(params, jax.random.key(1), (50,), context)
    np.testing.assert_allclose(same, x, rtol=1e-4, atol=1e-5)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: leaf.astype(np.float64), (params, x, context))
        wide_log_prob = flow.log_prob(*wide)
        assert wide_log_prob.dtype == np.float64
        np.testing.assert_allclose(wide_log_prob, log_prob, atol=2e-3)


@each_learned
def test_every_parameter_learns_and_no_gradient_is_lost(name):
    params = learned(name)[0]

    gradient = jax.jit(
        jax.grad(lambda params, x: made(name, params).log_prob(x).sum(), argnums=(0, 1))
    )
    by_params, _ = gradient(params, jax.random.normal(jax.random.key(0), (50, 2)))
    assert all((np.abs(leaf) > 0).all() for leaf in jax.tree.leaves(by_params))
    far = jnp.array([[0.0, 0.0], [1e4, -1e4], [1e4, 1e4]])
    for scale in (0.0, 1.0, 30.0):
        moved = jittered(jax.tree.map(jnp.zeros_like, params), scale=scale)
        for leaf in jax.tree.leaves(gradient(moved, far)):
            assert np.isfinite(leaf).all()
        assert np.isfinite(draws_of(name, 1000)(moved, jax.random.key(0))).all()


@each_learned
def test_draws_carry_gradients_to_all_but_the_weights_of_a_mixture(name):
    gradient = jax.jit(
        jax.grad(lambda params: (draws_of(name, 200)(params, jax.random.key(3)) ** 2).sum())
    )(learned(name)[0])
    for key, leaf in next(iter(gradient.values())).items():
        assert np.isfinite(leaf).all()
        assert np.all(np.abs(leaf) > 0) == (key != "logits"), key


@each_learned
def test_no_leaf_is_derived_from_another(name):
    """A distribution whose leaves are moved is one distribution, and not half of the old one."""
    moved = jax.tree.map(lambda leaf: 1.3 * leaf, made(name))

    @jax.jit
    def sample_and_log_prob(base):
        draws = base.sample(seed=0, sample_shape=(20_000,))
        return draws, base.log_prob(draws)

    assert_density_is_that_of(*sample_and_log_prob(moved))


def test_bases_start_standard():
    x = np.random.default_rng(0).normal(size=(10, 3), scale=2.0).astype(np.float32)
    for base, expected in (
        (lambda: bases.gaussian(3), scipy.stats.norm()),
        (lambda: bases.logistic(3), scipy.stats.logistic()),
        (lambda: bases.student_t(3, df=2.5), scipy.stats.t(2.5)),
    ):
        start = hk.transform(lambda x, base=base: base().log_prob(x))
        params = start.init(jax.random.key(0), x)
        expected = expected.logpdf(x).sum(axis=-1)
        np.testing.assert_allclose(start.apply(params, None, x), expected, rtol=1e-5)


def test_two_bases_share_nothing():
    def two():
        return bases.gaussian(2), bases.gaussian(2), bases.logistic(2)

    assert len(hk.transform(two).init(jax.random.key(0))) == 3
    # Nor with parameters of the flow: NICE has a log-scale too.
    flow = dxf.transform(lambda: dxf.flows.nice(2, num_layers=1, base=bases.gaussian(2)))
    params = flow.init(jax.random.key(0), jnp.zeros((1, 2)))
    log_scales = [scope["log_scale"] for scope in params.values() if "log_scale" in scope]
    assert len(log_scales) == 2


def test_components_of_a_mixture_start_apart():
    params = hk.transform(BASES["mixture_full"]).init(jax.random.key(0))
    (scope,) = params.values()
    assert len(np.unique(scope["means"])) == 6
    assert scope["shears"].shape == (3, 1)
    log_prob = log_prob_of("mixture_full")
    gradient = jax.jit(jax.grad(lambda params: log_prob(params, jnp.ones(2))))(params)
    assert len(np.unique(next(iter(gradient.values()))["means"])) == 6


def test_full_covariances_in_many_dimensions():
    def run(x):
        base = bases.gaussian_mixture(5, 2, covariance="full")
        return base.log_prob(x), base.sample(seed=0, sample_shape=(50_000,))

    x = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    params = jittered(jax.jit(hk.transform(run).init)(jax.random.key(0), x), scale=0.5)
    log_prob, draws = jax.jit(hk.transform(run).apply)(params, None, x)
    (raw,) = params.values()
    expected = []
    rows, columns = np.tril_indices(5, -1)
    for k in range(2):
        root = np.eye(5)
        root[rows, columns] = raw["shears"][k]
        root = np.exp(soft_clip(np.asarray(raw["log_scales"][k])))[:, None] * root
        expected.append(scipy.stats.multivariate_normal(raw["means"][k], root @ root.T))
    weights = np.asarray(jax.nn.softmax(raw["logits"]))
    density = sum(w * d.pdf(x) for w, d in zip(weights, expected, strict=True))
    np.testing.assert_allclose(log_prob, np.log(density), rtol=1e-4)
    mean = sum(w * d.mean for w, d in zip(weights, expected, strict=True))
    second = sum(
        w * (d.cov + np.outer(d.mean, d.mean)) for w, d in zip(weights, expected, strict=True)
    )
    covariance = second - np.outer(mean, mean)
    deviation = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=5 * deviation.max() / 50_000**0.5)
    np.testing.assert_allclose(
        np.cov(np.asarray(draws).T), covariance, atol=0.05 * np.outer(deviation, deviation).max()
    )


@pytest.mark.parametrize("df", [0.6, 1.0, 5.0, 1e6])
def test_student_t_is_exact_for_any_df_far_out_and_draws_are_finite(df):
    def run(x):
        base = bases.student_t(1, df=df)
        return base.log_prob(x), base.sample(seed=0, sample_shape=(100_000,))

    x = np.array([[0.0], [0.5], [-30.0], [1e4], [1e25]], np.float32)
    x = x[: 3 if df == 1e6 else 5]
    transformed = hk.transform(run)
    params = jax.jit(transformed.init)(jax.random.key(0), x)
    log_prob, draws = jax.jit(transformed.apply)(params, None, x)
    expected = scipy.stats.t(df).logpdf(x.astype(np.float64))[:, 0]
    np.testing.assert_allclose(log_prob, expected, rtol=1e-4, atol=1e-6)
    assert np.isfinite(draws).all()
    quartiles = np.quantile(np.abs(draws), [0.25, 0.5, 0.75])
    np.testing.assert_allclose(scipy.stats.t(df).cdf(quartiles), [0.625, 0.75, 0.875], atol=5e-3)


def test_student_t_learns_the_tails_of_the_data():
    x = scipy.stats.t(1.5).rvs(size=(4000, 1), random_state=np.random.default_rng(0))
    x = jnp.asarray(x, jnp.float32)

    def density():
        return bases.student_t(1, df=8.0)

    params = hk.transform(density).init(jax.random.key(0))
    optimizer = optax.adam(0.05)

    def step(state, _):
        def loss(params):
            return -jnp.mean(hk.transform(density).apply(params, None).log_prob(x))

        params, moments = state
        updates, moments = optimizer.update(jax.grad(loss)(params), moments)
        return (optax.apply_updates(params, updates), moments), None

    (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), None, length=300)
    (raw,) = params.values()
    df = 0.5 + 7.5 * np.exp(soft_clip(np.asarray(raw["log_df_factor"])))
    np.testing.assert_allclose(df, 1.5, rtol=0.1)


@pytest.mark.slow
def test_mixture_fits_modes_that_a_gaussian_base_does_not():
    def draw(key):
        sign_key, key = jax.random.split(key)
        sign = jax.random.rademacher(sign_key, (256, 1), jnp.float32)
        return sign * jnp.array([3.0, 3.0]) + 0.3 * jax.random.normal(key, (256, 2))

    optimizer = optax.adam(5e-2)
    losses = {}
    for name in ("gaussian", "mixture_diagonal"):
        flow = dxf.transform(
            lambda name=name: dxf.flows.realnvp(
                2, num_layers=1, hidden_sizes=(8,), base=BASES[name]()
            )
        )
        key = jax.random.key(0)
        fitted = dxf.fit(flow, draw, key=key, num_steps=250, optimizer=optimizer, progress=False)
        losses[name] = fitted.history.loss[-20:].mean()
    entropy = np.log(2) + 2 * (0.5 + 0.5 * np.log(2 * np.pi) + np.log(0.3))
    assert losses["mixture_diagonal"] < entropy + 0.3
    assert losses["gaussian"] > entropy + 1.0


@functools.cache
def flow_on_a_box():
    family = dxf.families.spline(8, 0.0, 1.0, "identity")
    flow = dxf.transform(
        lambda: dxf.flows.coupling(
            2, family, num_layers=3, hidden_sizes=(8,), base=bases.uniform(2, 0.0, 1.0)
        )
    )
    return flow, jittered(flow.init(jax.random.key(0), jnp.zeros((1, 2))), scale=0.2)


@pytest.mark.slow
def test_flow_on_a_box_stays_in_it():
    flow, params = flow_on_a_box()
    x, log_prob = flow.sample_and_log_prob(params, jax.random.key(1), (100_000,))
    assert (x >= -1e-6).all()
    assert (x <= 1 + 1e-6).all()
    np.testing.assert_allclose(flow.log_prob(params, x), log_prob, atol=5e-2)
    assert np.ptp(log_prob) > 1, "the flow sits at the uniform distribution"
    outside = jnp.array([[0.5, 1.01], [-0.01, 0.5], [2.0, 2.0]])
    np.testing.assert_array_equal(flow.log_prob(params, outside), -np.inf)
    # Rounding at the ends costs no point its density.
    ends = np.float32([0.0, np.nextafter(np.float32(0), 1), np.nextafter(np.float32(1), 0), 1.0])
    corners = jnp.stack(jnp.meshgrid(ends, ends), axis=-1)
    assert np.isfinite(flow.log_prob(params, corners)).all()


def test_flow_on_a_box_integrates_to_one():
    flow, params = flow_on_a_box()
    axis = (np.arange(400, dtype=np.float32) + 0.5) / 400
    grid = jnp.stack(jnp.meshgrid(axis, axis), axis=-1)
    np.testing.assert_allclose(jnp.mean(jnp.exp(flow.log_prob(params, grid))), 1.0, atol=5e-3)


def test_uniform_box_has_an_end_per_dimension():
    base = bases.uniform(2, [-1.0, 0.0], [1.0, 100.0])
    draws = np.asarray(base.sample(seed=0, sample_shape=(1000,)))
    assert (draws >= [-1.0, 0.0]).all()
    assert (draws <= [1.0, 100.0]).all()
    np.testing.assert_allclose(draws.max(axis=0), [1.0, 100.0], rtol=0.02)
    np.testing.assert_allclose(base.log_prob(draws), -np.log(200), rtol=1e-6)
    assert np.isfinite(base.log_prob(jnp.array([[1.000001, 50.0], [0.0, 100.0001]]))).all()
    np.testing.assert_array_equal(base.log_prob(jnp.array([[1.01, 50.0], [0.0, -0.1]])), -np.inf)
    # Its ends are exact in double precision, though 0.7 is not a float32.
    with jax.enable_x64(True):
        base = bases.uniform(1, 0.1, 0.7)
        np.testing.assert_allclose(base.log_prob(jnp.array([0.7])), -np.log(0.6), rtol=1e-14)


def test_is_a_distrax_distribution():
    for name in BASES:
        base = made(name)
        assert isinstance(base, distrax.Distribution)
        assert (base.event_shape, base.batch_shape, base.dtype) == ((2,), (), jnp.float32)
        traces = []

        @jax.jit
        def log_prob(base, x, traces=traces):
            traces.append(None)
            return base.log_prob(x)

        for _ in range(2):
            assert log_prob(made(name), jnp.zeros((3, 2))).shape == (3,)
        assert len(traces) == 1
