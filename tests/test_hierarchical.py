"""Hierarchical couplings, and bijectors per column."""

import functools

import cases
import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import distrax_flows as dxf
from distrax_flows import families
from distrax_flows.bijectors import coupling_tree

DIRECTIONS = ("forward", "inverse")


@pytest.mark.parametrize("event_size", range(1, 10))
def test_every_dimension_but_the_first_is_coupled_to_all_before_it(event_size):
    nodes = coupling_tree(event_size)
    assert len(nodes) == event_size - 1
    reached = np.zeros((event_size, event_size), int)
    for start, split, stop in nodes:
        assert split == start + (stop - start) // 2
        reached[split:stop, start:split] += 1
    # Each pair of dimensions meets in one coupling, that which parts them.
    np.testing.assert_array_equal(reached, np.tri(event_size, k=-1))


@pytest.mark.parametrize("event_size", range(1, 9))
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_jacobian_is_lower_triangular_and_dense(event_size, direction, strict):
    size = cases.hierarchical_size(event_size, 2)
    raw = jnp.asarray(np.random.default_rng(0).normal(size=size), jnp.float32)
    bijector = cases.hierarchical(raw, event_size, families.affine())
    x = jnp.linspace(-1.0, 1.0, event_size)
    jacobian = np.asarray(jax.jit(jax.jacfwd(getattr(bijector, direction)))(x))
    np.testing.assert_array_equal(jacobian != 0, np.tri(event_size, dtype=bool))
    assert jacobian[0, 0] == 1, "nothing conditions the first dimension"


def test_one_dimension_stays_as_it_is():
    def conditioner(node, upper):
        raise AssertionError("there is nothing to couple")

    bijector = dxf.HierarchicalCoupling(conditioner, families.affine().bijector)
    x = jnp.array([[1.0], [2.0]])
    for direction in DIRECTIONS:
        y, log_det = getattr(bijector, f"{direction}_and_log_det")(x)
        np.testing.assert_array_equal(y, x)
        np.testing.assert_array_equal(log_det, jnp.zeros(2))


def test_each_conditioner_sees_the_transformed_half_once():
    calls = []

    def conditioner(node, upper):
        calls.append((node, np.asarray(upper)))
        _, split, stop = node
        total = upper.sum(axis=-1, keepdims=True)
        return jnp.repeat(total, stop - split, axis=-1)[..., None]

    bijector = dxf.HierarchicalCoupling(conditioner, families.additive().bijector)
    y = bijector.forward(jnp.array([[1.0, 10.0, 100.0, 1000.0]]))
    # Inner couplings: (1, 11) and (100, 1100); the outer one adds 12 to the lower half.
    np.testing.assert_array_equal(y, [[1.0, 11.0, 112.0, 1112.0]])
    assert [node for node, _ in calls] == list(coupling_tree(4))
    np.testing.assert_array_equal(calls[-1][1], [[1.0, 11.0]])
    forward = dict(calls)
    calls.clear()
    bijector.inverse(y)
    assert [node for node, _ in calls] == list(coupling_tree(4))[::-1]
    for node, upper in calls:
        np.testing.assert_array_equal(upper, forward[node])


def test_of_two_dimensions_it_is_a_coupling():
    family = families.affine()
    weight = jnp.array([0.5, -0.3])

    def params(upper):
        return (upper * weight)[..., None, :]

    hierarchical = dxf.HierarchicalCoupling(lambda _, upper: params(upper), family.bijector)
    coupling = distrax.SplitCoupling(1, 1, params, family.bijector)
    x = jnp.array([[1.0, 2.0], [-3.0, 0.5]])
    for ours, expected in zip(
        hierarchical.forward_and_log_det(x), coupling.forward_and_log_det(x), strict=True
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_conditioners_may_be_pytrees_of_weights():
    raw = jnp.ones(cases.hierarchical_size(3, 2))
    bijector = cases.hierarchical(raw, 3, families.affine())
    assert sum(leaf.size for leaf in jax.tree.leaves(bijector)) == raw.size
    x = jnp.array([0.1, 0.2, 0.3])
    gradient = jax.grad(lambda bijector: bijector.forward(x).sum())(bijector)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))


SHARED = distrax.ScalarAffine(shift=jnp.float32(1.0), log_scale=jnp.float32(0.5))


def test_columns_of_one_object_are_transformed_together():
    calls = []

    class Counted(distrax.Bijector):
        def __init__(self):
            super().__init__(event_ndims_in=0)

        def forward_and_log_det(self, x):
            calls.append(x.shape)
            return SHARED.forward_and_log_det(x)

    counted, other = Counted(), distrax.Sigmoid()
    bijector = dxf.Columns([counted, other, counted, None, counted])
    x = jnp.arange(10.0).reshape(2, 5)
    y, log_det = bijector.forward_and_log_det(x)
    assert len(calls) == 1
    expected = SHARED.forward(x)
    np.testing.assert_allclose(y[:, ::2], expected[:, ::2])
    np.testing.assert_allclose(y[:, 1], other.forward(x[:, 1]))
    np.testing.assert_array_equal(y[:, 3], x[:, 3])
    np.testing.assert_allclose(log_det, 1.5 + other.forward_log_det_jacobian(x[:, 1]), rtol=1e-6)
    assert bijector.bijectors == (counted, other, counted, None, counted)


def test_columns_share_leaves_after_leaving_a_jit():
    bijector = dxf.Columns([SHARED, None, SHARED])
    assert len(jax.tree.leaves(bijector)) == len(jax.tree.leaves(SHARED))
    again = jax.jit(lambda bijector: bijector)(bijector)
    x = jnp.array([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(again.forward(x), bijector.forward(x))


def test_columns_of_mixed_supports_make_a_density():
    # Log-normal, normal and logit-normal dimensions.
    bijector = dxf.Columns([jnp.exp, None, distrax.Sigmoid()])
    density = distrax.Transformed(cases.fresh_normal((3,)), bijector)
    x, log_prob = density.sample_and_log_prob(seed=0, sample_shape=(50,))
    assert (x[:, 0] > 0).all()
    assert ((x[:, 2] > 0) & (x[:, 2] < 1)).all()
    z = np.stack([np.log(x[:, 0]), x[:, 1], np.log(x[:, 2]) - np.log1p(-x[:, 2])], axis=-1)
    expected = -0.5 * (z**2).sum(-1) - 1.5 * np.log(2 * np.pi)
    expected += -np.log(x[:, 0]) - np.log(x[:, 2]) - np.log1p(-x[:, 2])
    np.testing.assert_allclose(density.log_prob(x), expected, atol=1e-4)
    np.testing.assert_allclose(density.log_prob(x), log_prob, atol=1e-4)


def test_columns_tell_whether_their_jacobian_is_constant():
    def flags(columns):
        bijector = dxf.Columns(columns)
        return bijector.is_constant_jacobian, bijector.is_constant_log_det

    assert flags([SHARED, None]) == (True, True)
    assert flags([None]) == (True, True)
    assert flags([SHARED, distrax.Sigmoid()]) == (False, False)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_columns_broadcast_batches_of_parameters(direction, strict):
    shifts = jnp.array([1.0, 2.0])
    shared = families.affine().bijector(jnp.stack([shifts, shifts], axis=-1))  # batch [2]
    bijector = dxf.Columns([shared, None, shared])  # three columns: no axis of size 2
    single = functools.partial(getattr(shared, f"{direction}_and_log_det"))
    x = jnp.array([1.0, 2.0, 3.0])
    y, log_det = getattr(bijector, f"{direction}_and_log_det")(x)
    assert y.shape == (2, 3)
    assert log_det.shape == (2,)
    first, third = single(jnp.full(2, x[0])), single(jnp.full(2, x[2]))
    np.testing.assert_allclose(y, jnp.stack([first[0], jnp.full(2, x[1]), third[0]], -1))
    np.testing.assert_allclose(log_det, first[1] + third[1])
