"""The toy densities: log-densities, samples, entropies and gradients agree with each other."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from distrax_flows import densities

NAMES = densities.names()
NUM_DRAWS = 20_000
NUM_CELLS = 24  # along each axis of the histogram

# Where a density lives, as the bounds of a grid. Supports that end abruptly end on its edges.
BOUNDS = {
    "banana": [(-7, 17), (-9, 9)],
    "gaussian_blobs": [(-4, 4), (-4, 4)],
    "energy1": [(-6, 6), (-10, 10)],
    "energy2": [(-1.5 * math.pi, 1.5 * math.pi), (-4, 4)],
    "energy3": [(-1.5 * math.pi, 1.5 * math.pi), (-6, 4)],
    "energy4": [(-1.5 * math.pi, 1.5 * math.pi), (-4, 7)],
    "half_circle": [(-2.4, 2.4), (-2.4, 2.4)],
    "u1": [(-5, 5), (-5, 5)],
    "u2": [(-4, 4), (-4, 4)],
    "u3": [(-4, 4), (-6, 4)],
    "u4": [(-4, 4), (-6, 4)],
    "moons": [(-4.5, 4.5), (-4, 4)],
    "circles": [(-4.5, 4.5), (-4.5, 4.5)],
    "rings": [(-3.6, 3.6), (-3.6, 3.6)],
    "8gaussians": [(-5, 5), (-5, 5)],
    "pinwheel": [(-5.5, 5.5), (-5.5, 5.5)],
    "2spirals": [(-4.2, 4.2), (-4.2, 4.2)],
    "checkerboard": [(-4, 4), (-4, 4)],
    "swissroll": [(-4, 4), (-4, 4)],
    "spiral_galaxy": [(0.1, 1.1), (-math.pi, math.pi)],  # polar: the arms are 0.01 rad wide
    "two_gaussians": [(-8, 8)],
}
GRID_SHAPES = {"spiral_galaxy": (72, 1536)}

# As other people measured them on draws, to their sampling error.
PUBLISHED_ENTROPIES = {
    "banana": 3.239,
    "gaussian_blobs": 2.480,
    "energy1": 3.026,
    "energy2": 2.970,
    "energy3": 3.102,
    "energy4": 3.255,
    "moons": 2.394,
    "circles": 3.268,
    "rings": 2.623,
    "8gaussians": 2.832,
    "checkerboard": math.log(32),
}


@jax.jit
def log_prob(density, x):
    return density.log_prob(x)


@jax.jit
def draw(density, key):
    return density.sample(seed=key, sample_shape=(NUM_DRAWS,))


@jax.jit
def log_prob_and_gradient(density, x):
    return density.log_prob(x), jax.grad(lambda x: jnp.sum(density.log_prob(x)))(x)


def from_chart(name, coordinates):
    """The point of the plane and the volume element at the grid's coordinates."""
    if name != "spiral_galaxy":
        return coordinates, np.ones(coordinates.shape[:-1])
    r, angle = coordinates[..., 0], coordinates[..., 1]
    return np.stack((r * np.cos(angle), r * np.sin(angle)), axis=-1), r


def to_chart(name, x):
    if name != "spiral_galaxy":
        return x
    return np.stack((np.hypot(x[:, 0], x[:, 1]), np.arctan2(x[:, 1], x[:, 0])), axis=-1)


@functools.cache
def draws_of(name):
    return np.asarray(draw(densities.get(name), jax.random.key(3)))


@functools.cache
def evaluated(name):
    """A midpoint grid's log-densities and masses, and the draws' log-densities: one compilation."""
    bounds = BOUNDS[name]
    shape = GRID_SHAPES.get(name, (192,) * len(bounds))
    axes = [
        low + (high - low) * (np.arange(n) + 0.5) / n
        for (low, high), n in zip(bounds, shape, strict=True)
    ]
    points, volume = from_chart(name, np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))
    for (low, high), n in zip(bounds, shape, strict=True):
        volume = volume * (high - low) / n
    everything = np.concatenate((points.reshape(-1, len(bounds)), draws_of(name)))
    values = log_prob(densities.get(name), everything.astype(np.float32))
    grid, draws_log_prob = np.split(np.asarray(values, np.float64), [math.prod(shape)])
    grid = grid.reshape(shape)
    return grid, np.exp(grid) * volume, draws_log_prob


@functools.cache
def at_difficult_points(name):
    """Far points, points outside and 50 draws; log-densities and gradients there, in float32."""
    far = [
        (0, 0),
        (1e4, -1e4),
        (-1e4, 1e4),
        (1e4, 0),
        (0, -30),
        (4.5, 4.5),
        (2, 0),
        (-3, 0),
        (0, 1),
    ]
    far = np.array(far)[:, : len(BOUNDS[name])]
    x = np.concatenate((draws_of(name)[:50], far)).astype(np.float32)
    return x, *map(np.asarray, log_prob_and_gradient(densities.get(name), x))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_density_integrates_to_one(name):
    _, mass, _ = evaluated(name)
    assert mass.sum() == pytest.approx(1, abs=1e-4)


# Its quadrature takes seconds.
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name == "2spirals")) for name in NAMES],
)
def test_entropy_is_that_of_the_density(name):
    grid, mass, _ = evaluated(name)
    entropy = -np.sum(mass * np.where(mass > 0, grid, 0))
    assert densities.get(name).entropy() == pytest.approx(entropy, abs=1e-3)


@pytest.mark.parametrize("name", PUBLISHED_ENTROPIES)
def test_entropy_is_the_published_one(name):
    entropy = densities.get(name).entropy()
    assert entropy == pytest.approx(PUBLISHED_ENTROPIES[name], abs=0.02)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name == "2spirals")) for name in NAMES],
)
def test_draws_have_the_entropy(name):
    _, _, draws_log_prob = evaluated(name)
    standard_error = draws_log_prob.std() / math.sqrt(NUM_DRAWS)
    difference = densities.get(name).entropy() + draws_log_prob.mean()
    assert abs(difference) < 4 * standard_error + 1e-5


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name == "2spirals")) for name in NAMES],
)
def test_draws_fill_cells_as_the_density_does(name):
    _, mass, _ = evaluated(name)
    bounds = BOUNDS[name]
    blocks = [size for n in mass.shape for size in (NUM_CELLS, n // NUM_CELLS)]
    expected = NUM_DRAWS * mass.reshape(blocks).sum(axis=tuple(range(1, len(blocks), 2)))
    edges = [np.linspace(low, high, NUM_CELLS + 1) for low, high in bounds]
    counts, _ = np.histogramdd(to_chart(name, draws_of(name)), bins=edges)
    usual = expected >= 10
    # One more cell for all the sparse ones and the outside.
    counts = np.append(counts[usual], NUM_DRAWS - counts[usual].sum())
    expected = np.append(expected[usual], max(NUM_DRAWS - expected[usual].sum(), 1.0))
    statistic = np.sum((counts - expected) ** 2 / expected)
    assert stats.chi2.sf(statistic, df=len(counts) - 1) > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_shapes(name):
    density = densities.get(name)
    assert density.name == name
    assert density.batch_shape == ()
    assert density.event_shape == ((1,) if name == "two_gaussians" else (2,))
    assert density.entropy().shape == ()
    for shape in ((), (0,), (4,), (2, 1, 3)):
        x = jax.eval_shape(
            lambda key, shape=shape: density.sample(seed=key, sample_shape=shape), jax.random.key(0)
        )
        assert x.shape == shape + density.event_shape
        assert jax.eval_shape(density.log_prob, x).shape == shape


@pytest.mark.parametrize("name", NAMES)
def test_equal_densities_share_one_trace(name):
    traces = []

    @jax.jit
    def everything(density, x, key):
        traces.append(x.shape)
        draws, draws_log_prob = density.sample_and_log_prob(seed=key, sample_shape=(4,))
        return density.log_prob(x), density.entropy(), draws, draws_log_prob

    for seed in range(2):
        density = densities.get(name)
        x = jnp.full((2, 3, *density.event_shape), 0.1 * seed)
        everything.eval_shape(density, x, jax.random.key(seed))
    assert len(traces) == 1


@pytest.mark.parametrize("name", NAMES)
def test_dtypes(name):
    def dtypes(density, value_dtype):
        x = jax.ShapeDtypeStruct((5, *density.event_shape), value_dtype)
        draws = jax.eval_shape(lambda key: density.sample(seed=key), jax.random.key(0))
        return draws.dtype, jax.eval_shape(density.log_prob, x).dtype, density.entropy().dtype

    single = densities.get(name)
    assert dtypes(single, jnp.float32) == (jnp.float32,) * 3
    assert dtypes(single, jnp.bfloat16) == (jnp.float32, jnp.bfloat16, jnp.float32)
    with jax.enable_x64(True):
        double = densities.get(name, jnp.float64)
        assert dtypes(double, jnp.float64) == (jnp.float64,) * 3
        assert dtypes(double, jnp.float32) == (jnp.float64, jnp.float32, jnp.float64)
        assert dtypes(densities.get(name), jnp.float32) == (jnp.float32,) * 3


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_nan_and_gradients_are_finite(name):
    _, values, gradients = at_difficult_points(name)
    assert not np.any(np.isnan(values) | np.isposinf(values))
    assert np.all(np.isfinite(values[:50]))
    assert np.all(np.isfinite(gradients))


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_the_difference_quotient_in_float64(name):
    x32, values32, gradients32 = (array[:50] for array in at_difficult_points(name))
    with jax.enable_x64(True):
        x = x32.astype(np.float64)
        step = 1e-5 * np.eye(x.shape[1])[:, None, :]
        stacked = np.concatenate((x[None], x[None] + step, x[None] - step))
        results = log_prob_and_gradient(densities.get(name), stacked)
        (values, up, down), (gradients, _, _) = (
            np.split(np.asarray(result), [1, x.shape[1] + 1]) for result in results
        )
    assert values.dtype == gradients.dtype == np.float64
    quotient = np.moveaxis(up - down, 0, -1) / 2e-5
    np.testing.assert_allclose(gradients[0], quotient, rtol=1e-5, atol=1e-5)
    # float32, on another batch shape; it costs the sharpest ridge, 0.01 rad wide, four digits.
    np.testing.assert_allclose(values32, values[0], rtol=0, atol=3e-4)
    np.testing.assert_allclose(gradients32, gradients[0], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "outside"),
    [
        ("energy2", (4.8, 0.0)),
        ("energy3", (-4.8, 0.0)),
        ("energy4", (4.8, 0.0)),
        ("u2", (4.1, 0.0)),
        ("u3", (-4.1, 0.0)),
        ("u4", (4.1, 0.0)),
        ("checkerboard", (1.0, 3.0)),
        ("checkerboard", (5.0, 5.0)),
        ("spiral_galaxy", (0.0, 0.0)),
        ("spiral_galaxy", (1.2, 0.0)),
    ],
)
def test_log_prob_is_minus_infinity_outside_a_bounded_support(name, outside):
    assert densities.get(name).log_prob(jnp.asarray(outside)) == -jnp.inf


def w1(a):
    return np.sin(math.pi * a / 2)


def w2(a):
    return 3 * np.exp(-0.5 * ((a - 1) / 0.6) ** 2)


def w3(a):
    return 3 / (1 + np.exp(-(a - 1) / 0.3))


def bump(z):
    return np.exp(-0.5 * z**2)


POTENTIALS = {
    "u1": (
        lambda z1, z2: (
            0.5 * ((np.hypot(z1, z2) - 2) / 0.4) ** 2
            - np.log(bump((z1 - 2) / 0.6) + bump((z1 + 2) / 0.6))
        ),
        1.8775,
    ),
    "u2": (lambda z1, z2: 0.5 * ((z2 - w1(z1)) / 0.4) ** 2, 2.0821),
    "u3": (
        lambda z1, z2: -np.log(bump((z2 - w1(z1)) / 0.35) + bump((z2 - w1(z1) + w2(z1)) / 0.35)),
        2.6417,
    ),
    "u4": (
        lambda z1, z2: -np.log(bump((z2 - w1(z1)) / 0.4) + bump((z2 - w1(z1) + w3(z1)) / 0.35)),
        2.7107,
    ),
}


@pytest.mark.parametrize("name", POTENTIALS)
def test_potentials_are_rezende_and_mohameds(name):
    potential, log_normalizer = POTENTIALS[name]
    x, values, _ = (array[:50] for array in at_difficult_points(name))
    expected = -potential(*x.T.astype(np.float64)) - log_normalizer
    np.testing.assert_allclose(values, expected, atol=1e-4)


def curve_density(x, point, interval, scale, offset=0.0, weight=lambda t: 1.0):
    """int weight(t) prod_d (N(0, scale^2) + U(0, offset))(x_d - point_d(t)) dt, adaptively."""

    def kernel(d):
        if not offset:
            return stats.norm.pdf(d, scale=scale)
        return (stats.norm.cdf(d / scale) - stats.norm.cdf((d - offset) / scale)) / offset

    def integrand(t):
        return weight(t) * math.prod(
            kernel(x_d - c_d) for x_d, c_d in zip(x, point(t), strict=True)
        )

    breaks = np.linspace(*interval, 60)
    return sum(integrate.quad(integrand, *piece)[0] for piece in itertools.pairwise(breaks))


def moons_by_quad(x):
    def upper(t):
        return 2 * math.cos(t) - 1, 2 * math.sin(t) - 0.2

    def lower(t):
        return 2 * (1 - math.cos(t)) - 1, 2 * (0.5 - math.sin(t)) - 0.2

    arcs = (curve_density(x, arc, (0, math.pi), 0.2) for arc in (upper, lower))
    return sum(arcs) / (2 * math.pi)


def swissroll_by_quad(x):
    def roll(t):
        return t * math.cos(t) / 5, t * math.sin(t) / 5

    return curve_density(x, roll, (1.5 * math.pi, 4.5 * math.pi), 0.2) / (3 * math.pi)


def two_spirals_by_quad(x):
    def spiral(u):
        n = 3 * math.pi * math.sqrt(u)
        return -n * math.cos(n) / 3, n * math.sin(n) / 3

    both = (curve_density(sign * np.asarray(x), spiral, (0, 1), 0.1, 1 / 6) for sign in (1, -1))
    return sum(both) / 2


@pytest.mark.parametrize(
    ("name", "by_quad"),
    [
        ("moons", moons_by_quad),
        ("swissroll", swissroll_by_quad),
        ("2spirals", two_spirals_by_quad),
    ],
)
@pytest.mark.filterwarnings("ignore::scipy.integrate.IntegrationWarning")
def test_quadrature_agrees_with_an_adaptive_one(name, by_quad):
    points = [(0.0, 0.0), (1.2, 0.4), (-2.1, 1.7), (0.3, -2.6)]
    with jax.enable_x64(True):
        values = log_prob(densities.get(name), np.array(points))
    np.testing.assert_allclose(values, [math.log(by_quad(x)) for x in points], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "make", "arguments", "scale", "shift", "columns"),
    [
        ("moons", "make_moons", {"noise": 0.1}, 2, (-1, -0.2), (0, 1)),
        ("circles", "make_circles", {"noise": 0.08, "factor": 0.5}, 3, (0, 0), (0, 1)),
        ("swissroll", "make_swiss_roll", {"noise": 1.0}, 0.2, (0, 0), (0, 2)),
    ],
)
def test_scikit_learns_data_have_the_entropy(name, make, arguments, scale, shift, columns):
    datasets = pytest.importorskip("sklearn.datasets")
    data = getattr(datasets, make)(NUM_DRAWS, random_state=0, **arguments)[0][:, columns]
    values = np.asarray(log_prob(densities.get(name), (data * scale + shift).astype(np.float32)))
    difference = densities.get(name).entropy() + values.mean()
    assert abs(difference) < 4 * values.std() / math.sqrt(NUM_DRAWS)


@pytest.mark.parametrize("arm", range(5))
def test_pinwheel_at_a_known_preimage(arm):
    f0, f1 = 1.3, -0.15
    theta = 2 * math.pi * arm / 5 + 0.25 * math.exp(f0)
    rotation = [[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]]
    x = 2 * np.array([f0, f1]) @ np.array(rotation)
    log_features = stats.norm.logpdf(f0, 1, 0.3) + stats.norm.logpdf(f1, 0, 0.1)
    expected = log_features - math.log(5 * 4 * (1 + f1 * 0.25 * math.exp(f0)))
    assert log_prob(densities.get("pinwheel"), x.astype(np.float32)) == pytest.approx(
        expected, abs=1e-4
    )


def test_two_gaussians_is_the_mixture_on_the_line():
    x = np.linspace(-6, 6, 25, dtype=np.float32)[:, None]
    expected = np.log(0.5 * stats.norm.pdf(x, -2) + 0.5 * stats.norm.pdf(x, 2))[:, 0]
    np.testing.assert_allclose(log_prob(densities.get("two_gaussians"), x), expected, rtol=2e-5)


def test_names_cover_the_table_in_the_docstring():
    table = densities.__doc__
    assert len(set(NAMES)) == 21
    assert all(name in table for name in NAMES)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"`name` must be one of \['banana', .*\]; got name='x'\."):
        densities.get("x")


def test_other_dtypes_are_refused():
    with pytest.raises(ValueError, match=r"`dtype` must be float32 or float64; got dtype="):
        densities.get("moons", jnp.bfloat16)


@pytest.mark.usefixtures("wrong_types")
def test_wrong_event_shape_is_refused():
    with pytest.raises(ValueError, match=r"`value` must end in the event shape \(2,\); got"):
        densities.get("moons").log_prob(jnp.zeros(3))


def test_integers_are_taken_as_numbers():
    value = densities.get("checkerboard").log_prob(np.array([[1, 1], [1, 3]]))
    np.testing.assert_allclose(value, [-math.log(32), -np.inf], rtol=1e-6)
