"""The laws that every bijector keeps: rows (tests/cases.py) x laws (distrax_flows.testing)."""

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

from distrax_flows import testing

# Flat indices of the parameters that have no effect.
UNUSED = {
    # Boundaries that fix a slope, or tie two, leave parameters out; the layout keeps them.
    "spline_lower_identity": [8],
    "spline_upper_identity": [12],
    "spline_identity": [8, 12],
    "spline_circular": [12],
    # Only the strictly lower triangle counts.
    "autoregressive_by_passes": [0, 1, 2, 4, 5, 8],
    # One bin fills the range, whatever its logits.
    "spline_of_one_bin": [0, 1],
}

# A closure over parameters is a new function each time: only such a conditioner retraces.
BROKEN = {("autoregressive_by_passes", "jit_traces_once"): "got 2, expected 1"}

# What a size or an option may break: values, gradients at the edge, and shapes.
LAWS_OF_VARIANTS = (
    "round_trip",
    "round_trip_in_double_precision",
    "log_det_of_the_jacobian",
    "batches",
    "finite_gradients",
    "every_parameter_matters",
    "explicit_broadcasting",
    "interval_onto_itself",
    "empty_batches_and_integers",
)

# These do not apply to every row.
OPTIONAL = {
    "per_sample_parameters",
    "constant_flags",
    "densities_integrate_to_one",
    "missing_inverse",
    "interval_onto_itself",
}


# Rows whose bijector is one of distrax's around ours.
WRAPPED = {"chain_of_families", "channels_of_images"}
OURS = [case for case in cases.CASES if case.name not in WRAPPED]


@functools.cache
def subject(case):
    """The row under test; the laws share what is compiled for it."""
    events = np.random.default_rng(1).uniform(-1.0, 1.0, size=(100, *case.event_shape))
    return testing.Subject(
        case.build,
        case.event_shape,
        params=case.raw(),
        events=None if case.domain is None else case.place(events),
        points=case.points,
        interval=case.interval,
        per_sample_params=case.batched,
        unused_params=UNUSED.get(case.name, ()),
        tolerance=case.round_trip,
    )


# Row by row, so that a worker's share of the tests shares what is compiled.
ROWS_AND_LAWS = [
    pytest.param(
        case,
        law,
        id=f"{case}-{law}",
        marks=[pytest.mark.slow] if case.name in cases.VARIANTS else [],
    )
    for case in cases.CASES
    for law in (LAWS_OF_VARIANTS if case.name in cases.VARIANTS else testing.LAWS)
]


@pytest.mark.parametrize(("case", "law"), ROWS_AND_LAWS)
def test_laws(case, law):
    if (case.name, law) in BROKEN:
        with pytest.raises(AssertionError, match=BROKEN[case.name, law]):
            testing.check(subject(case), [law])
        return
    report = testing.check(subject(case), [law])
    assert report.worst[law] is not None or law in OPTIONAL


@pytest.mark.parametrize("case", cases.CASES, ids=str)
def test_rows_sit_away_from_the_identity(case):
    x = subject(case).inputs("forward")
    y, _ = subject(case)("forward", x)
    assert y.shape != x.shape or np.abs(y - x).max() > 1e-2


@pytest.mark.parametrize("case", OURS, ids=str)
def test_bijectors_of_equal_values_are_the_same(case):
    bijector = case.build(case.raw())
    leaves, structure = jax.tree.flatten(bijector)
    assert bijector.same_as(structure.unflatten([jnp.array(leaf) for leaf in leaves]))
    assert not bijector.same_as(distrax.Inverse(bijector))
    for i, leaf in enumerate(leaves):
        moved = [*leaves[:i], leaf.at[(-1,) * leaf.ndim].add(1.0), *leaves[i + 1 :]]
        assert not bijector.same_as(structure.unflatten(moved))


@pytest.mark.parametrize("case", OURS, ids=str)
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_events_and_parameters_meet_in_the_wider_float(case, direction):
    def dtypes(of_params, of_event):
        raw = np.asarray(case.raw(), of_params)
        x = np.zeros((2, *subject(case).shape(direction)), of_event)
        outputs = jax.eval_shape(functools.partial(subject(case).apply, direction), raw, x)
        return {output.dtype for output in outputs}

    assert dtypes(np.float32, np.int8) == {np.dtype("float32")}
    if case.num_raw:
        with jax.enable_x64(True):
            assert dtypes(np.float64, np.float32) == {np.dtype("float64")}
            assert dtypes(np.float32, np.float64) == {np.dtype("float64")}


@pytest.mark.slow
@pytest.mark.parametrize("case", cases.CASES, ids=str)
@given(data=st.data())
def test_any_parameters_keep_round_trip_and_log_det(case, data):
    numbers = st.floats(-6.0, 6.0, width=32)
    raw = data.draw(st_numpy.arrays(np.float32, (case.num_raw,), elements=numbers))
    x = data.draw(st_numpy.arrays(np.float32, (4, *case.event_shape), elements=numbers))
    raw, x = raw.astype(np.float64), case.place(x.astype(np.float64) / 6)
    # As many events as the laws have, for which everything is compiled.
    x = np.resize(x, (100, *x.shape[1:]))
    y, log_det = subject(case)("forward", x, raw)
    x_again, log_det_back = subject(case)("inverse", y, raw)
    np.testing.assert_allclose(x_again, x, atol=1e-6, rtol=1e-6)
    np.testing.assert_allclose(log_det_back, -log_det, atol=1e-5)
    _, expected = np.linalg.slogdet(subject(case).jacobians("forward", x, raw))
    # Where a neighbouring Jacobian is met half-way (a knot), both are right: skip no other.
    np.testing.assert_allclose(log_det, expected, atol=1e-6)
