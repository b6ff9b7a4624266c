"""Warnings for samples that end where the density continues, and only for those."""

import warnings
from statistics import NormalDist

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import distrax_flows as dxf
from distrax_flows.diagnostics._ends import warn_of_ends
from distrax_flows.modules import Learned

pytestmark = pytest.mark.usefixtures("wrong_types")

KEY = jax.random.key(0)
OPTIMIZER = optax.adam(optax.cosine_decay_schedule(0.05, 300))
OPTIONS = {"key": KEY, "num_steps": 300, "num_samples": 64, "optimizer": OPTIMIZER}


def log_density(x):
    """N(4, 3^2) in both dimensions, not normalised."""
    return -0.5 * jnp.sum(((x - 4.0) / 3.0) ** 2, axis=-1)


def flow_of(layer):
    base = distrax.Independent(distrax.Normal(jnp.zeros(2), jnp.ones(2)), 1)
    return distrax.Transformed(base, Learned(layer))


def spline_flow():
    """Maps [-5, 5] onto itself, and the rest not at all."""

    def layer(x):
        params = hk.get_parameter("params", (2, 25), init=jnp.zeros)
        return distrax.Block(dxf.RationalQuadraticSpline(params, -5.0, 5.0), 1)

    return flow_of(layer)


def affine_flow():
    def layer(x):
        shift = hk.get_parameter("shift", (2,), init=jnp.zeros)
        log_scale = hk.get_parameter("log_scale", (2,), init=jnp.zeros)
        return distrax.Chain([dxf.Shift(shift), dxf.Scale(log_scale)])

    return flow_of(layer)


def bounded_flow():
    """On (0, 1), each dimension."""
    return flow_of(lambda x: distrax.Block(distrax.Sigmoid(), 1))


SPLINE, AFFINE, BOUNDED = map(dxf.transform, (spline_flow, affine_flow, bounded_flow))
MESSAGE = (
    r"Samples of the flow end where `log_density` continues: those of dimension 0 at 4\.9\d*, "
    r"those of dimension 1 at 4\.9\d*\. "
    r".*families\.chain\(families\.affine\(\), families\.spline\(\)\)"
)


@pytest.mark.slow
def test_a_spline_that_ends_before_the_density_does():
    with pytest.warns(UserWarning, match=MESSAGE) as caught:
        fitted = dxf.fit_to_density(SPLINE, log_density, **OPTIONS)
    assert [warning.filename for warning in caught] == [__file__]
    with pytest.warns(UserWarning, match=MESSAGE) as caught, pytest.warns(match="k-hat"):
        found = dxf.diagnostics.evidence(SPLINE, fitted.params, log_density, key=KEY)
    assert [warning.filename for warning in caught] == [__file__]
    # The estimate is wrong, by many of its standard errors.
    truth = np.log(2 * np.pi * 9.0)
    assert truth - found.log_z > 20 * found.log_z_stderr
    # Of an ensemble, each member is looked at.
    with pytest.warns(UserWarning, match=MESSAGE):
        dxf.fit_to_density(SPLINE, log_density, **OPTIONS | {"key": jax.random.split(KEY, 2)})


def test_an_affine_flow_that_fits():
    # Warnings are errors in these tests.
    fitted = dxf.fit_to_density(AFFINE, log_density, **OPTIONS)
    found = dxf.diagnostics.evidence(AFFINE, fitted.params, log_density, key=KEY)
    np.testing.assert_allclose(found.log_z, np.log(2 * np.pi * 9.0), atol=0.01)


def test_a_support_that_was_chosen():
    params = BOUNDED.init_without_data(KEY)
    dxf.diagnostics.evidence(BOUNDED, params, lambda x: jnp.zeros(x.shape[:-1]), key=KEY)
    circles = dxf.transform(lambda: dxf.flows.nsf_coupling(2, support=dxf.supports.circle()))
    params = circles.init_without_data(KEY)
    dxf.diagnostics.evidence(circles, params, lambda x: jnp.sum(jnp.cos(x), -1), key=KEY)


class Everywhere:
    """Stands for a flow of vectors whose density is nowhere zero."""

    def __init__(self, x):
        self.event_shape = np.shape(x)[-1:]

    def log_prob(self, params, x, context=None):
        return np.zeros(np.shape(x)[:-1])

    def draws_random_numbers(self, params, context=None):
        return False


def ends_of(log_density, x, context=None):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_ends(Everywhere(x), None, log_density, x, context)
    return " ".join(str(warning.message) for warning in caught)


def funnel(rng, n):
    v = 3 * rng.normal(size=(n, 1))
    return np.hstack([v, np.exp(v / 2) * rng.normal(size=(n, 1))])


def banana(rng, n):
    z = rng.normal(size=(n, 2))
    return np.stack([2 * z[:, 0], z[:, 1] + z[:, 0] ** 2], axis=-1)


def two_modes(rng, n):
    return rng.normal(size=(n, 1)) + 3 * rng.choice([-1, 1], size=(n, 1))


EXACT = {
    "normal": (lambda rng, n: rng.normal(size=(n, 2)), lambda x: -0.5 * (x**2).sum(-1)),
    "laplace": (lambda rng, n: rng.laplace(size=(n, 2)), lambda x: -np.abs(x).sum(-1)),
    "exponential": (
        lambda rng, n: rng.exponential(size=(n, 1)),
        lambda x: np.where(x > 0, -x, -np.inf)[..., 0],
    ),
    "Student": (
        lambda rng, n: rng.standard_t(2, size=(n, 2)),
        lambda x: -1.5 * np.log1p(x**2 / 2).sum(-1),
    ),
    "Gumbel": (lambda rng, n: rng.gumbel(size=(n, 1)), lambda x: -(x + np.exp(-x))[..., 0]),
    "funnel": (
        funnel,
        lambda x: -(x[..., 0] ** 2) / 18 - x[..., 0] / 2 - x[..., 1] ** 2 * np.exp(-x[..., 0]) / 2,
    ),
    "banana": (
        banana,
        lambda x: -(x[..., 0] ** 2) / 8 - (x[..., 1] - x[..., 0] ** 2 / 4) ** 2 / 2,
    ),
    "two modes": (
        two_modes,
        lambda x: np.logaddexp(-((x - 3) ** 2) / 2, -((x + 3) ** 2) / 2)[..., 0],
    ),
    "a wall": (
        lambda rng, n: rng.uniform(-1, 1, size=(n, 2)),
        lambda x: np.where((np.abs(x) <= 1).all(-1), 0.0, -np.inf),
    ),
    "samples on a wall": (
        lambda rng, n: np.minimum(1.0, rng.normal(size=(n, 1))),
        lambda x: np.where(x <= 1, -0.5 * x**2, -np.inf)[..., 0],
    ),
}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("num_samples", [1_000, 10_000])
def test_exact_samples_do_not_end(name, num_samples):
    draw, log_p = EXACT[name]
    for seed in range(20):
        x = draw(np.random.default_rng(seed), num_samples)
        assert ends_of(log_p, x) == ""


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_a_missing_tail_is_told_of(share):
    log_p = EXACT["normal"][1]
    end = NormalDist().inv_cdf(1 - share)
    x = np.random.default_rng(0).normal(size=(30_000, 1))
    for sign in (1, -1):
        cut = sign * x[x[:, 0] < end][:10_000]
        ends = ends_of(log_p, cut)
        where = float(ends.split(" at ")[1].split(". The")[0])
        np.testing.assert_allclose(where, sign * end, atol=0.01)
    assert "at 0.5" in ends_of(log_p, np.minimum(x, 0.5))  # piled up


def test_one_row_of_a_context_is_enough():
    x = np.random.default_rng(0).normal(size=(5_000, 3, 2))
    context = np.array([[0.0], [1.0], [2.0]])

    def log_p(x, context):
        return -0.5 * ((x - context) ** 2).sum(-1)

    moved = x + context
    assert ends_of(log_p, moved, context) == ""
    moved[:, 1, 0] = np.maximum(moved[:, 1, 0], 0.5)
    assert "those of dimension 0 at 0.5." in ends_of(log_p, moved, context)


def test_few_or_traced_samples_are_left_alone():
    x = np.minimum(np.random.default_rng(0).normal(size=(999, 1)), 0.5)
    assert ends_of(EXACT["normal"][1], x) == ""
    jax.jit(lambda x: warn_of_ends(Everywhere(x), None, log_density, x))(jnp.zeros((2_000, 2)))
