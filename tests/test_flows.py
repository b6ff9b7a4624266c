"""Whole flows: builders, `transform`, `Flow` and `FlowDistribution`."""

import functools
import itertools

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorflow_probability.substrates import jax as tfp
from test_modules import jittered

import distrax_flows as dxf

# Affine flows of one dimension say that they are Gaussian.
pytestmark = pytest.mark.filterwarnings("ignore:Affine layers")

NETWORK = {"num_layers": 2, "hidden_sizes": (8, 8)}
# Options of small flows of each kind.
BUILDERS = {
    "nice": NETWORK,
    "realnvp": NETWORK,
    "maf": NETWORK,
    "iaf": NETWORK,
    "nsf_coupling": NETWORK,
    "nsf_autoregressive": NETWORK,
    "bernstein": {"degree": 6},
    "bernstein_coupling": {**NETWORK, "degree": 6},
    "bernstein_autoregressive": {**NETWORK, "degree": 6},
    "planar": NETWORK,
    "radial": NETWORK,
    "sylvester": NETWORK,
    "glow": NETWORK,
    "hint": NETWORK,
}
# Families that are slow to compile.
HEAVY = ("nsf_autoregressive", "bernstein_coupling", "bernstein_autoregressive")


def each(*but):
    """Every builder but those named."""
    return pytest.mark.parametrize(
        "name",
        [
            pytest.param(name, marks=pytest.mark.slow) if name in HEAVY else name
            for name in BUILDERS
            if name not in but
        ],
    )


each_scanned = each("bernstein")
# They take a context, and start as the identity.
each_layered = each("bernstein", "glow", "hint")


def build(name, event_size, **options):
    return getattr(dxf.flows, name)(event_size, **{**BUILDERS[name], **options})


@functools.cache
def make(name, event_size=2, conditional=False, standardize=False):
    """A small flow away from the identity: the flow, its parameters, its data."""
    x = 3 + 2 * jax.random.normal(jax.random.key(0), (20, event_size))
    options = {"standardize": standardize}
    if conditional:
        flow = dxf.transform(lambda context: build(name, event_size, context=context, **options))
        context = jax.random.normal(jax.random.key(1), (20, 3))
    else:
        flow, context = dxf.transform(lambda: build(name, event_size, **options)), None
    params = flow.init(jax.random.key(2), x, context)
    return flow, jittered(params, scale=0.1), x


@pytest.mark.parametrize(
    ("event_size", "name"),
    [
        *itertools.product([3], BUILDERS),
        *(pytest.param(1, name, marks=[pytest.mark.slow] * (name in HEAVY)) for name in BUILDERS),
    ],
)
def test_directions_agree(name, event_size):
    flow, params, x = make(name, event_size)
    with jax.enable_x64(True):
        params, x = jax.tree.map(lambda leaf: leaf.astype(np.float64), (params, x))
        z, log_det = flow.inverse(params, x)
        x_again, log_det_back = flow.forward(params, z)
        assert log_det.shape == (20,)
        np.testing.assert_allclose(x_again, x, atol=1e-9)
        np.testing.assert_allclose(log_det_back, -log_det, atol=1e-9)
        # The base draws single-precision noise.
        sample, log_prob = flow.sample_and_log_prob(params, jax.random.key(3), (20,))
        np.testing.assert_allclose(flow.log_prob(params, sample), log_prob, atol=1e-5)


@each_layered
def test_starts_at_the_identity(name):
    flow = dxf.transform(lambda: build(name, 3))
    x = jax.random.normal(jax.random.key(0), (5, 3))
    y, log_det = flow.forward(flow.init(jax.random.key(1), x), x)
    np.testing.assert_allclose(y, x, atol=1e-5)
    np.testing.assert_allclose(log_det, 0.0, atol=1e-5)


@each()
def test_density_integrates_to_one(name):
    flow, params, _ = make(name, 2)
    axis = np.linspace(-25.0, 25.0, 701, dtype=np.float32)
    grid = jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    mass = jnp.sum(jnp.exp(flow.log_prob(params, grid))) * (axis[1] - axis[0]) ** 2
    np.testing.assert_allclose(mass, 1.0, atol=5e-3)


@each_layered
def test_standardisation_is_a_layer_whose_log_det_counts(name):
    plain = dxf.transform(lambda: build(name, 2))
    standardized = dxf.transform(lambda: build(name, 2, standardize=True))
    x = jnp.array([100.0, 0.01]) * (1 + jax.random.normal(jax.random.key(0), (500, 2)))
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    by_hand = (x - mean) / deviation
    expected = plain.log_prob(plain.init(jax.random.key(1), by_hand), by_hand)
    actual = standardized.log_prob(standardized.init(jax.random.key(1), x), x)
    np.testing.assert_allclose(actual, expected - jnp.log(deviation).sum(), atol=1e-2)


@each_scanned
def test_context_shapes_and_noise(name):
    flow, params, x = make(name, 2, conditional=True)
    context = jax.random.normal(jax.random.key(4), (4, 3))
    sample, log_prob = flow.sample_and_log_prob(params, jax.random.key(5), (6, 1), context)
    assert sample.shape == (6, 1, 4, 2)
    assert log_prob.shape == (6, 1, 4)
    np.testing.assert_allclose(flow.log_prob(params, sample, context), log_prob, atol=5e-3)
    # Equal contexts get different noise.
    same = jnp.broadcast_to(context[0], (4, 3))
    noise, _ = flow.sample_and_log_prob(params, jax.random.key(5), (6, 1), same)
    assert len(np.unique(np.asarray(noise)[..., 0])) == 24
    # One event meets every context, and the context matters.
    log_prob = flow.log_prob(params, x[0], context)
    assert log_prob.shape == (4,)
    assert np.ptp(log_prob) > 1e-3


@pytest.mark.parametrize("name", ["realnvp", "maf"])
def test_conditional_flow_of_one_dimension(name):
    flow, params, x = make(name, 1, conditional=True)
    context = jax.random.normal(jax.random.key(4), (20, 3))
    z, log_det = flow.inverse(params, x, context)
    np.testing.assert_allclose(flow.forward(params, z, context)[0], x, atol=1e-4)
    assert np.ptp(log_det) > 1e-3


@pytest.mark.parametrize(
    "base",
    [
        lambda: distrax.Independent(distrax.Logistic(jnp.zeros(2), jnp.ones(2)), 1),
        lambda: tfp.distributions.Independent(
            tfp.distributions.Laplace(jnp.zeros(2), jnp.ones(2)), 1
        ),
    ],
    ids=["distrax_logistic", "tfp_laplace"],
)
def test_any_base(base):
    flow = dxf.transform(
        lambda context: dxf.flows.realnvp(
            2, num_layers=2, hidden_sizes=(8,), base=base(), context=context
        )
    )
    context = jnp.ones((4, 1))
    params = jittered(flow.init(jax.random.key(0), jnp.zeros((4, 2)), context), scale=0.1)
    sample, log_prob = flow.sample_and_log_prob(params, jax.random.key(1), (3,), context)
    assert sample.shape == (3, 4, 2)
    assert len(np.unique(np.asarray(sample)[..., 0])) == 12
    np.testing.assert_allclose(flow.log_prob(params, sample, context), log_prob, atol=1e-3)
    z, log_det = flow.inverse(params, sample, context)
    expected = distrax.as_distribution(base()).log_prob(z) + log_det
    np.testing.assert_allclose(flow.log_prob(params, sample, context), expected, atol=1e-4)


def test_distribution_is_a_distrax_distribution_and_a_pytree():
    flow, params, x = make("maf", 2)
    density = flow.distribution(params)
    assert isinstance(density, distrax.Distribution)
    assert (density.event_shape, density.batch_shape, density.dtype) == ((2,), (), jnp.float32)
    expected = flow.log_prob(params, x)
    np.testing.assert_allclose(density.log_prob(x), expected, atol=1e-5)
    traces = []

    @jax.jit
    def log_prob(density, x):
        traces.append(None)
        return density.log_prob(x)

    np.testing.assert_allclose(log_prob(density, x), expected, atol=1e-4)
    moved = jax.tree.map(lambda leaf: 1.1 * leaf, density)
    assert np.abs(log_prob(moved, x) - expected).max() > 1e-3
    assert len(traces) == 1
    sample, log_prob = density.sample_and_log_prob(seed=0, sample_shape=(3, 4))
    assert sample.shape == (3, 4, 2)
    np.testing.assert_allclose(density.log_prob(sample), log_prob, atol=1e-3)
    mixture = distrax.MixtureSameFamily(
        distrax.Categorical(jnp.zeros(4)),
        make("maf", 2, conditional=True)[0].distribution(
            make("maf", 2, conditional=True)[1], jnp.ones((4, 3))
        ),
    )
    assert mixture.log_prob(x).shape == (20,)


def test_kl_divergence_is_estimated_and_never_silently_zero():
    flow, params, _ = make("realnvp", 2)
    p = flow.distribution(params)
    q = flow.distribution(jax.tree.map(lambda leaf: 1.2 * leaf, params))
    with pytest.raises(ValueError, match=r"`seed` must be given"):
        p.kl_divergence(q)
    assert p.kl_divergence(q, seed=0) > 0.01
    np.testing.assert_allclose(p.kl_divergence(p, seed=0), 0.0, atol=1e-3)
    # Against an exact one: a shift by a of a standard normal has KL |a|^2 / 2.
    shifted = dxf.transform(
        lambda: distrax.Transformed(
            distrax.MultivariateNormalDiag(jnp.zeros(2), jnp.ones(2)),
            dxf.Shift(jnp.array([1.0, 2.0])),
        )
    )
    normal = distrax.MultivariateNormalDiag(jnp.zeros(2), jnp.ones(2))
    kl = shifted.distribution({}).kl_divergence(normal, seed=1, num_samples=100_000)
    np.testing.assert_allclose(kl, 2.5, atol=5 * 5**0.5 / 100_000**0.5)


def count_equations(jaxpr) -> int:
    total = 0
    for equation in jaxpr.eqns:
        total += 1
        for value in jax.tree.leaves(equation.params, is_leaf=lambda v: hasattr(v, "jaxpr")):
            inner = getattr(value, "jaxpr", value)
            total += count_equations(inner) if hasattr(inner, "eqns") else 0
    return total


@each_scanned
def test_depth_costs_no_equations(name):
    counts = []
    for num_layers in (4, 32):
        flow = dxf.transform(lambda num_layers=num_layers: build(name, 3, num_layers=num_layers))
        x = jnp.zeros((5, 3))
        params = jax.eval_shape(flow.init, jax.random.key(0), x)
        gradient = jax.grad(lambda p, flow=flow, x=x: flow.log_prob(p, x).sum())
        counts.append(count_equations(jax.make_jaxpr(gradient)(params).jaxpr))
    assert counts[0] == counts[1] > 100


def test_a_layer_is_traced_once():
    """Once for each direction, and twice at initialisation: for its parameters and its use."""
    traces = []

    def between(x):
        traces.append(x)
        return dxf.Reverse()

    def traces_of(function, *args):
        before = len(traces)
        jax.eval_shape(function, *args)
        return len(traces) - before

    flow = dxf.transform(lambda: build("realnvp", 3, between=between))
    x, key = jnp.zeros((5, 3)), jax.random.key(0)
    assert traces_of(flow.init, key, x) == 2
    params = flow.init(key, x)
    assert traces_of(flow.log_prob, params, x) == 1
    assert traces_of(lambda params: flow.sample(params, key, 5), params) == 1


def test_between_mixes_the_layers_of_any_flow():
    between = []

    def rotate(x):
        between.append(x.shape)
        return dxf.Rotation(jnp.pi / 6)

    flow = dxf.transform(lambda: dxf.flows.realnvp(2, num_layers=3, between=rotate))
    x = jax.random.normal(jax.random.key(0), (5, 2))
    y, log_det = flow.forward(flow.init(jax.random.key(1), x), x)
    assert between
    # Three identities, and three turns by pi / 6.
    np.testing.assert_allclose(y, jnp.stack([-x[:, 1], x[:, 0]], axis=-1), atol=1e-5)
    np.testing.assert_allclose(log_det, 0.0, atol=1e-5)


@pytest.mark.parametrize("name", ["planar", "radial"])
@pytest.mark.parametrize("fast", ["density", "sampling"])
def test_planar_and_radial_sample_and_evaluate(name, fast):
    flow = dxf.transform(lambda: getattr(dxf.flows, name)(2, num_layers=8, fast=fast))
    x = jax.random.normal(jax.random.key(0), (100, 2))
    params = jittered(flow.init(jax.random.key(1), x), scale=0.5)
    sample, log_prob = flow.sample_and_log_prob(params, jax.random.key(2), (1000,))
    assert np.std(sample) > 0.1
    np.testing.assert_allclose(flow.log_prob(params, sample), log_prob, atol=2e-3)


def test_bernstein_given_a_context_is_a_regression():
    flow = dxf.transform(functools.partial(dxf.flows.bernstein, degree=6))
    context = jnp.linspace(-1.0, 1.0, 400)[:, None]
    noise = 0.1 * jax.random.normal(jax.random.key(0), context.shape)
    fitted = dxf.fit(
        flow, context**2 + noise, context=context, key=jax.random.key(1), num_steps=500
    )
    ends = jnp.array([[0.0], [1.0]])
    mean = flow.sample(fitted.params, jax.random.key(2), (500,), ends).mean(axis=0)
    np.testing.assert_allclose(mean[:, 0], [0.0, 1.0], atol=0.15)


def test_double_precision(x64):
    flow = dxf.transform(lambda: dxf.flows.maf(3, num_layers=2, hidden_sizes=(8,)))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)))
    params = jittered(flow.init(jax.random.key(0), x))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float64)}
    z, _ = flow.inverse(params, x)
    assert z.dtype == np.float64
    np.testing.assert_allclose(flow.forward(params, z)[0], x, atol=1e-12)
    single = x.astype(jnp.float32)
    assert flow.log_prob(flow.init(jax.random.key(0), single), single).dtype == np.float32


def test_vmap_over_parameters_and_grad_through_samples():
    flow, params, x = make("realnvp", 2)
    ensemble = jax.tree.map(lambda leaf: jnp.stack([leaf, 1.1 * leaf]), params)
    assert jax.vmap(flow.log_prob, in_axes=(0, None))(ensemble, x).shape == (2, 20)
    for name in ("realnvp", "maf"):
        flow, params, _ = make(name, 2)
        gradient = jax.grad(lambda p, flow=flow: flow.sample(p, jax.random.key(0), (7,)).sum())
        leaves = jax.tree.leaves(gradient(params))
        assert all(np.isfinite(leaf).all() for leaf in leaves)
        assert any(np.abs(leaf).max() > 0 for leaf in leaves)
