"""Densities on half-lines, intervals and circles, and mixes of them."""

import functools

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_modules import jittered

import distrax_flows as dxf
from distrax_flows.supports import (
    above,
    asinh_scale,
    below,
    circle,
    integer,
    interval,
    log_scale,
    positive,
    real,
)

OPTIONS = {"num_layers": 2, "hidden_sizes": (8,)}

# Flows of one affine dimension say that it is Gaussian.
pytestmark = pytest.mark.filterwarnings("ignore:Affine layers")

# Per support: where quadrature looks, somewhat beyond the support on purpose.
WINDOWS = {
    "Real": (-30.0, 30.0),
    "Positive": (-1.0, 60.0),
    "LogScale": (-1.0, 60.0),
    "Above": (-3.0, 57.0),
    "AsinhScale": (-100.0, 100.0),
    "Below": (-57.0, 4.0),
    "Interval": (-1.5, 2.5),
}


@functools.cache
def make(name, support, conditional=False):
    """A small flow away from the identity, initialised on values inside its support."""
    builder = getattr(dxf.flows, name)
    size = len(support)
    rows = np.random.default_rng(0).uniform(0.1, 0.9, size=(50, size)).astype(np.float32)
    options = {**OPTIONS, "support": support}
    if conditional:
        flow = dxf.transform(lambda context: builder(size, context=context, **options))
        context = jnp.linspace(-1.0, 1.0, 50)[:, None]
    else:
        flow, context = dxf.transform(lambda: builder(size, **options)), None
    params = flow.init(jax.random.key(0), jnp.asarray(rows), context)
    # Not too far: beyond +-16 the interval's sigmoid rounds to an end.
    # Not far: beyond +-16 the sigmoid of an interval rounds to its end.
    return flow, jittered(params, scale=0.05)


def kind(support):
    return type(support).__name__


def midpoints(support, num):
    low, high = WINDOWS.get(kind(support), (support.low - 0.5, support.high + 0.5))
    edges = np.linspace(low, high, num + 1)
    return (edges[1:] + edges[:-1]) / 2, (high - low) / num


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "support"),
    [
        ("realnvp", (positive(),)),
        ("realnvp", (interval(-1.0, 2.0),)),
        ("realnvp", (log_scale(),)),
        ("realnvp", (above(-2.0),)),
        ("realnvp", (asinh_scale(),)),
        ("realnvp", (asinh_scale(above(-2.0)),)),
        ("realnvp", (below(3.0),)),
        ("maf", (positive(), interval(-1.0, 2.0))),
        ("nsf_coupling", (circle(),)),
        ("nsf_coupling", (circle(0.0, 24.0), circle())),
        ("maf", (circle(), real())),
        ("planar", (interval(-1.0, 2.0), circle())),
    ],
    ids=lambda value: (
        value if isinstance(value, str) else "-".join(type(s).__name__ for s in value)
    ),
)
def test_the_mass_inside_is_one_and_outside_none(name, support):
    flow, params = make(name, support)
    axes, cells = zip(
        *(midpoints(s, 20_000 if len(support) == 1 else 1_000) for s in support), strict=True
    )
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(support))
    density = np.exp(np.asarray(flow.log_prob(params, jnp.asarray(grid, jnp.float32))))
    inside = np.all(
        [(grid[:, d] > s.low) & (grid[:, d] < s.high) for d, s in enumerate(support)], axis=0
    )
    assert np.all(density[~inside] == 0.0)
    np.testing.assert_allclose(density.sum() * np.prod(cells), 1.0, atol=5e-3)


MIXED = (real(), positive(), circle(), interval(-1.0, 2.0), circle(0.0, 24.0))


@pytest.mark.slow
@pytest.mark.parametrize("conditional", [False, True])
def test_mixed_columns_in_one_flow(conditional):
    flow, params = make("nsf_autoregressive", MIXED, conditional)
    context = jnp.linspace(-1.0, 1.0, 4)[:, None] if conditional else None
    sample, log_prob = flow.sample_and_log_prob(params, jax.random.key(1), (500,), context)
    for d, support in enumerate(MIXED):
        column = np.asarray(sample)[..., d]
        assert np.all((column >= support.low) & (column <= support.high)), support
    assert np.all(np.isfinite(log_prob))
    np.testing.assert_allclose(flow.log_prob(params, sample, context), log_prob, atol=5e-3)
    # Every column depends on something: none is left out of the flow.
    assert all(len(np.unique(np.asarray(sample)[..., d])) > 100 for d in range(len(MIXED)))


def test_circles_are_conditioned_on_all_other_columns():
    flow, params = make("realnvp", (circle(), real(), circle()))
    x = jnp.array([0.3, -0.2, 1.0])
    jacobian = jax.jacfwd(lambda z: flow.forward(params, z)[0])(flow.inverse(params, x)[0])
    # Seen from the base the real column comes first, and nothing on circles reaches it.
    real_row = np.asarray(jacobian)[1]
    assert real_row[0] != 0
    np.testing.assert_array_equal(real_row[1:], 0.0)
    assert np.all(np.asarray(jacobian)[[0, 2], 0] != 0)


def test_the_density_on_a_circle_is_continuous_across_the_cut():
    flow, params = make("nsf_coupling", (circle(0.0, 24.0), circle()))
    ends = jnp.array([[0.0, 1.0], [24.0 - 1e-5, 1.0]])
    low, high = flow.log_prob(params, ends)
    np.testing.assert_allclose(low, high, atol=1e-3)
    middle = flow.log_prob(params, jnp.array([12.0, 1.0]))
    assert abs(low - middle) > 1e-2


def test_half_lines_of_either_side_mirror_each_other():
    flows = [
        dxf.transform(lambda support=support: dxf.flows.realnvp(2, support=support, **OPTIONS))
        for support in (above(2.0), below(-2.0))
    ]
    x = 2 + jnp.array([[0.1, 3.0], [1e-3, 20.0]])
    first, second = (
        flow.log_prob(flow.init(0, sign * x), sign * x)
        for flow, sign in zip(flows, (1, -1), strict=True)
    )
    np.testing.assert_allclose(first, second, rtol=1e-5)
    outside = jnp.array([[1.9, 3.0], [2.5, 2.0]])
    for flow, sign in zip(flows, (1, -1), strict=True):
        assert np.all(flow.log_prob(flow.init(0, sign * x), sign * outside) == -np.inf)


def test_a_log_scale_covers_orders_of_magnitude():
    x = jnp.exp(8 * jax.random.normal(jax.random.key(0), (1000, 1)))
    flow = dxf.transform(
        lambda: dxf.flows.realnvp(1, support=log_scale(), standardize=True, **OPTIONS)
    )
    params = flow.init(1, x)
    z = np.log(x)
    expected = -0.5 * ((z - z.mean()) / z.std()) ** 2 - np.log(z.std() * np.sqrt(2 * np.pi)) - z
    np.testing.assert_allclose(flow.log_prob(params, x), expected[:, 0], atol=1e-3)


def test_values_outside_have_no_density_and_finite_gradients():
    flow, params = make("maf", (positive(), interval(-1.0, 2.0)))
    x = jnp.array([[-1.0, 0.5], [1.0, 2.5], [1.0, -7.0], [0.0, 0.5], [1.0, 2.0]])
    assert np.all(np.asarray(flow.log_prob(params, x[:3])) == -np.inf)
    assert not np.any(np.isnan(flow.log_prob(params, x)))
    gradient = jax.grad(lambda x: jnp.sum(jnp.exp(flow.log_prob(params, x))))(x)
    assert np.all(np.isfinite(gradient))


def test_standardisation_comes_after_the_map_to_the_line():
    x = jnp.exp(3 + jax.random.normal(jax.random.key(0), (1000, 1)))
    flow = dxf.transform(
        lambda: dxf.flows.realnvp(1, support=positive(), standardize=True, **OPTIONS)
    )
    params = flow.init(jax.random.key(1), x)
    z, _ = flow.inverse(params, x)
    np.testing.assert_allclose([z.mean(), z.std()], [0.0, 1.0], atol=1e-4)


@pytest.mark.usefixtures("wrong_types")
@pytest.mark.parametrize(
    ("support", "error", "message"),
    [
        (lambda: [real()], ValueError, "`support` must have an entry per dimension, 2; got 1"),
        (lambda: ["real", "real"], TypeError, "`support` must be a support such as"),
        (
            lambda: interval(1.0, 1.0),
            ValueError,
            "`low` must be less than `high`, both finite; got low=1.0, high=1.0",
        ),
        (lambda: asinh_scale(circle()), ValueError, "`support` must be no circle"),
        (lambda: asinh_scale(scale=0.0), ValueError, "`scale` must be"),
        (lambda: asinh_scale(loc=float("nan")), ValueError, "`loc` must be a finite number"),
        (lambda: asinh_scale("real"), TypeError, "`support` must be a support such as"),
        (lambda: circle(0.0, float("inf")), ValueError, "`low` must be less than `high`"),
        (lambda: above(float("nan")), ValueError, "`low` must be a finite number; got low=nan"),
        (lambda: below(float("inf")), ValueError, "`high` must be a finite number; got high=inf"),
    ],
)
def test_errors(support, error, message):
    flow = dxf.transform(lambda: dxf.flows.realnvp(2, support=support()))
    with pytest.raises(error, match=message):
        flow.init(jax.random.key(0), jnp.zeros((1, 2)))


@pytest.mark.parametrize(
    "bijector",
    [
        dxf.Exp(),
        dxf.Softplus(),
        dxf.Softplus(100.0),
        below(-100.0).bijector(),
        asinh_scale(above(-100.0)).bijector(),
        asinh_scale(interval(-100.0, 0.0)).bijector(),
        distrax.Inverse(dxf.Logit(-4.0, 4.0)),
    ],
    ids=["exp", "softplus", "above", "below", "asinh_above", "asinh_interval", "interval"],
)
@pytest.mark.parametrize("x", [-200.0, -90.0, -30.0, 30.0, 90.0, 1e4])
def test_draws_do_not_round_to_the_ends(bijector, x):
    y = bijector.forward(jnp.float32(x))
    back, log_det = bijector.inverse_and_log_det(y)
    assert np.isfinite(back)
    assert np.isfinite(log_det)
    assert np.isfinite(
        jax.grad(lambda x: bijector.inverse_log_det_jacobian(bijector.forward(x)))(x)
    )


def test_tails_are_exponential_instead_of_powers():
    """A Cauchy variable seen through asinh has the tails of a hyperbolic secant."""
    x = 100 + 5 * np.random.default_rng(0).standard_cauchy(200_000).astype(np.float32)
    z = asinh_scale(loc=100.0, scale=5.0).bijector().inverse(x)
    share_beyond = np.array([(np.abs(z) > limit).mean() for limit in (3.0, 5.0)])
    expected = 2 - 4 / np.pi * np.arctan(np.exp([3.0, 5.0]))
    np.testing.assert_allclose(share_beyond, expected, rtol=0.1)


def test_counts_over_orders_of_magnitude_stay_integers():
    flow = dxf.transform(
        lambda: dxf.flows.maf(1, support=asinh_scale(integer(0)), standardize=True, **OPTIONS)
    )
    x = np.floor(np.exp(np.random.default_rng(0).normal(3, 2, (500, 1)))).astype(np.float32)
    params = flow.init(0, x)
    sample, log_prob = flow.sample_and_log_prob(params, 1, (500,))
    np.testing.assert_array_equal(sample, np.floor(sample))
    assert sample.min() >= 0
    assert np.isfinite(log_prob).all()
    np.testing.assert_array_equal(flow.log_prob(params, x - 0.5, key=2), -np.inf)
    # Of the kind of the data, without training.
    np.testing.assert_allclose(np.log1p(sample).mean(), np.log1p(x).mean(), atol=0.3)
