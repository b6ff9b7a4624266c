"""The laws that every bijector keeps: rows (tests/cases.py) x laws, one test function a law."""

import functools

import cases
import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

each_case = pytest.mark.parametrize("case", cases.CASES, ids=str)
DIRECTIONS = ("forward_and_log_det", "inverse_and_log_det")


# Compiled once per case and direction, and shared by the laws.
@functools.cache
def run(case, direction):
    return jax.jit(lambda raw, x: getattr(case.build(raw), direction)(x))


@functools.cache
def jacobian(case, direction):
    def value(x, raw):
        return getattr(case.build(raw), direction)(x)[0]

    return jax.jit(jax.vmap(jax.jacfwd(value), in_axes=(0, None)))


def log_abs_det(matrices, event_shape):
    size = int(np.prod(event_shape))
    return np.linalg.slogdet(np.asarray(matrices).reshape(-1, size, size))[1]


@each_case
def test_round_trip(case, strict):
    raw, x = case.raw(), case.events((50,))
    for there, back in (DIRECTIONS, DIRECTIONS[::-1]):
        y, log_det = run(case, there)(raw, x)
        x_again, log_det_back = run(case, back)(raw, y)
        assert np.abs(y - x).max() > 1e-2, "the case sits at the identity"
        np.testing.assert_allclose(x_again, x, atol=case.round_trip)
        np.testing.assert_allclose(log_det_back, -log_det, atol=10 * case.round_trip)


@each_case
def test_round_trip_in_double_precision(case, strict, x64):
    raw, x = case.raw(dtype=np.float64), case.events((50,), dtype=np.float64)
    y, log_det = run(case, DIRECTIONS[0])(raw, x)
    x_again, log_det_back = run(case, DIRECTIONS[1])(raw, y)
    np.testing.assert_allclose(x_again, x, atol=1e-10)
    np.testing.assert_allclose(log_det_back, -log_det, atol=1e-9)


@each_case
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_log_det_is_that_of_the_jacobian(case, direction, strict, x64):
    raw, x = case.raw(dtype=np.float64), case.events((20,), dtype=np.float64)
    _, log_det = run(case, direction)(raw, x)
    expected = log_abs_det(jacobian(case, direction)(x, raw), case.event_shape)
    np.testing.assert_allclose(log_det, expected, atol=1e-9)


@each_case
@given(data=st.data())
def test_any_parameters_keep_round_trip_and_log_det(case, data):
    numbers = st.floats(-6.0, 6.0, width=32)
    raw = data.draw(st_numpy.arrays(np.float32, (case.num_raw,), elements=numbers))
    x = data.draw(st_numpy.arrays(np.float32, (4, *case.event_shape), elements=numbers))
    with jax.enable_x64(True):
        raw, x = jnp.asarray(raw, np.float64), jnp.asarray(x, np.float64)
        y, log_det = run(case, DIRECTIONS[0])(raw, x)
        x_again, log_det_back = run(case, DIRECTIONS[1])(raw, y)
        np.testing.assert_allclose(x_again, x, atol=1e-6, rtol=1e-6)
        np.testing.assert_allclose(log_det_back, -log_det, atol=1e-5)
        expected = log_abs_det(jacobian(case, DIRECTIONS[0])(x, raw), case.event_shape)
        # Where a neighbouring Jacobian is met half-way (a knot), both are right: skip no other.
        np.testing.assert_allclose(log_det, expected, atol=1e-6)


@each_case
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_batches_of_any_rank(case, direction, strict):
    raw, x = case.raw(), case.events((2, 3))
    y, log_det = run(case, direction)(raw, x)
    assert y.shape == x.shape
    assert log_det.shape == (2, 3)
    mapped_y, mapped_log_det = jax.vmap(jax.vmap(run(case, direction), (None, 0)), (None, 0))(
        raw, x
    )
    np.testing.assert_allclose(y, mapped_y, atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(log_det, mapped_log_det, atol=1e-5, rtol=1e-4)
    one_y, one_log_det = run(case, direction)(raw, x[1, 2])
    assert one_log_det.shape == ()
    np.testing.assert_allclose(one_y, y[1, 2], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("case", [case for case in cases.CASES if case.batched], ids=str)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_per_sample_parameters(case, direction, strict):
    raw = jnp.stack([case.raw(seed) for seed in range(3)])
    x = case.events((3,))
    y, log_det = run(case, direction)(raw, x)
    assert log_det.shape == (3,)
    mapped_y, mapped_log_det = jax.vmap(run(case, direction))(raw, x)
    np.testing.assert_allclose(y, mapped_y, atol=1e-6, rtol=1e-5)
    np.testing.assert_allclose(log_det, mapped_log_det, atol=1e-6, rtol=1e-5)
    # One event meets a batch of bijectors, and a batch meets a batch of another rank.
    wide, wide_log_det = run(case, direction)(raw, x[0])
    assert wide.shape == (3, *case.event_shape)
    assert wide_log_det.shape == (3,)
    assert run(case, direction)(raw, case.events((2, 3)))[1].shape == (2, 3)


@each_case
def test_jit_with_the_bijector_as_an_argument_traces_once(case):
    traces = []

    @jax.jit
    def forward(bijector, x):
        traces.append(None)
        return bijector.forward_and_log_det(x)

    for seed in (0, 1):
        bijector, x = case.build(case.raw(seed)), case.events((3,))
        y, _ = forward(bijector, x)
        np.testing.assert_allclose(y, bijector.forward(x), atol=1e-5, rtol=1e-4)
    # A closure over parameters is a new function each time: only such a conditioner retraces.
    assert len(traces) == (2 if case.name == "autoregressive_by_passes" else 1)


@each_case
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_gradients_are_finite_everywhere(case, direction, strict):
    def total(raw, x):
        y, log_det = getattr(case.build(raw), direction)(x)
        return jnp.sum(y) + jnp.sum(log_det)

    gradient = jax.jit(jax.grad(total, argnums=(0, 1)))
    fills = (0.0, 1e4, -1e4, 1.0, *case.points)
    x = jnp.stack([jnp.full(case.event_shape, fill) for fill in fills])
    for scale in (0.0, 1.0, 30.0):
        for leaf in gradient(case.raw(scale=scale), x):
            assert np.isfinite(leaf).all()


@each_case
def test_every_parameter_matters(case, strict, x64):
    def outputs(raw, x):
        y, log_det = case.build(raw).forward_and_log_det(x)
        return jnp.concatenate([y.reshape(-1), log_det.reshape(-1)])

    x = case.events((200,), dtype=np.float64)
    sensitivity = jax.jit(jax.jacfwd(outputs))(case.raw(dtype=np.float64), x)
    unused = {
        # Boundaries that fix a slope, or tie two, leave parameters out; the layout keeps them.
        "spline_lower_identity": [8],
        "spline_upper_identity": [12],
        "spline_identity": [8, 12],
        "spline_circular": [12],
        # Only the strictly lower triangle counts.
        "autoregressive_by_passes": [0, 1, 2, 4, 5, 8],
        # One bin fills the range, whatever its logits.
        "spline_of_one_bin": [0, 1],
    }.get(case.name, [])
    matters = np.abs(sensitivity).max(axis=0) > 0
    assert not matters[unused].any()
    assert np.delete(matters, unused).all()


@each_case
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_in_is_dtype_out(case, direction, dtype, strict, x64):
    y, log_det = run(case, direction)(case.raw(dtype=dtype), case.events((3,), dtype=dtype))
    assert y.dtype == dtype
    assert log_det.dtype == dtype


CONSTANT = [case for case in cases.CASES if case.build(case.raw()).is_constant_log_det]


@pytest.mark.parametrize("case", CONSTANT, ids=str)
def test_constant_flags_are_true(case, strict):
    bijector, x = case.build(case.raw()), case.events((20,))
    for direction in DIRECTIONS:
        matrices = jacobian(case, direction)(x, case.raw())
        assert np.ptp(log_abs_det(matrices, case.event_shape)) < 1e-4
        if bijector.is_constant_jacobian:
            np.testing.assert_allclose(matrices - matrices[:1], 0.0, atol=1e-5)


SMALL = [case for case in cases.CASES if case.event_shape in ((), (1,), (2,))]


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_densities_integrate_to_one(case, x64):
    raw = case.raw(dtype=np.float64)
    base = cases.fresh_normal(case.event_shape, np.float64)
    dims = max(1, sum(case.event_shape))
    # Bounds that hold all but a negligible share of the mass.
    noise = base.sample(seed=0, sample_shape=(4000,))
    draws = np.asarray(run(case, "forward_and_log_det")(raw, noise)[0]).reshape(-1, dims)
    low, high = draws.min(axis=0), draws.max(axis=0)
    low, high = low - 0.6 * (high - low), high + 0.6 * (high - low)
    num = 20_001 if dims == 1 else 601
    axes = [np.linspace(a, b, num) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, *case.event_shape)
    cell = np.prod((high - low) / (num - 1))

    @jax.jit
    def mass(raw, x):
        return jnp.sum(distrax.Transformed(base, case.build(raw)).prob(x)) * cell

    np.testing.assert_allclose(mass(raw, jnp.asarray(grid)), 1.0, atol=2e-3)


@each_case
def test_composes_with_distrax_and_tfp(case):
    def compose(raw, x):
        bijector = case.build(raw)
        tfp_bijector = distrax.to_tfp(bijector)
        base = cases.fresh_normal(case.event_shape)
        density = distrax.Transformed(base, bijector)
        sample, log_prob = density.sample_and_log_prob(seed=0, sample_shape=(4,))
        return {
            "alone": bijector.forward_and_log_det(x),
            "chain": distrax.Chain([bijector, bijector]).forward_and_log_det(x),
            "inverse": distrax.Inverse(bijector).inverse_and_log_det(x),
            "block": distrax.Block(bijector, 1).forward_log_det_jacobian(x),
            "tfp": (
                tfp_bijector.forward(x),
                tfp_bijector.forward_log_det_jacobian(x, event_ndims=len(case.event_shape)),
            ),
            "sampled": log_prob,
            "evaluated": density.log_prob(sample),
        }

    raw, x = case.raw(), case.events((4,))
    out = jax.jit(compose)(raw, x)
    y, log_det = out["alone"]
    close = functools.partial(np.testing.assert_allclose, atol=1e-4, rtol=1e-4)
    for same in ("inverse", "tfp"):
        close(out[same][0], y)
        close(out[same][1], log_det)
    again, again_log_det = run(case, "forward_and_log_det")(raw, y)
    close(out["chain"][0], again)
    close(out["chain"][1], log_det + again_log_det)
    close(out["block"], jnp.sum(log_det))
    np.testing.assert_allclose(out["evaluated"], out["sampled"], atol=2e-2)
