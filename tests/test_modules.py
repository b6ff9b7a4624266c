"""Conditioner networks and layers."""

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import distrax_flows as dxf
from distrax_flows import networks
from distrax_flows.modules import MADE, MLP, Learned, ResidualMLP, Stack, Standardize


def jittered(params, seed=0, scale=0.5):
    """Parameters moved off their initial values, so that zero layers hide nothing."""
    leaves, treedef = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    moved = [leaf + scale * rng.normal(size=leaf.shape).astype(leaf.dtype) for leaf in leaves]
    return jax.tree.unflatten(treedef, moved)


def apply_made(event_size, hidden_sizes, method="__call__", context=None, **options):
    """A function of x, and of a context if there is one, over fixed random weights."""
    size = None if context is None else context.shape[-1]

    def call(x, context):
        made = MADE(event_size, 2, hidden_sizes, jnp.tanh, context_size=size, **options)
        return made.network(context)(x)

    network = hk.without_apply_rng(hk.transform(call))
    params = jittered(network.init(jax.random.key(0), jnp.zeros(event_size), context))
    return lambda x, context=context: network.apply(params, x, context)


def dependencies(fn, x):
    """[D, D]: whether any parameter of dimension d depends on dimension j."""
    return np.abs(np.asarray(jax.jit(jax.jacfwd(fn))(x))).max(axis=1) > 1e-12


MADE_CASES = [
    (5, (16, 16), {}),
    (5, (7,), {}),
    (5, (4, 9, 4), {}),
    (6, (8, 8, 8), {"residual": True}),
    (4, (3, 3), {"order": (2, 0, 3, 1)}),
    (2, (1, 1), {}),
]


@pytest.mark.parametrize(("event_size", "hidden_sizes", "options"), MADE_CASES)
def test_made_depends_on_all_earlier_dimensions_and_on_no_other(event_size, hidden_sizes, options):
    fn = apply_made(event_size, hidden_sizes, **options)
    depends = dependencies(fn, jnp.linspace(-1.0, 1.0, event_size))
    order = np.array(options.get("order", range(event_size)))
    expected = np.tri(event_size, k=-1, dtype=bool)
    np.testing.assert_array_equal(depends[np.ix_(order, order)], expected)


@pytest.mark.parametrize("hidden_sizes", [(3,), (1, 6), (2, 3, 5), (4, 4)])
def test_narrow_made_loses_only_what_its_narrowest_layer_must(hidden_sizes):
    event_size = 9
    depends = dependencies(
        apply_made(event_size, hidden_sizes), jnp.linspace(-1.0, 1.0, event_size)
    )
    # j reaches d through a unit of a degree m with j < m <= d, positions counted from zero.
    narrowest = networks.hidden_degrees(event_size, (min(hidden_sizes),))[0]
    for d in range(event_size):
        for j in range(event_size):
            assert depends[d, j] == any(j < m <= d for m in narrowest)


@pytest.mark.parametrize("event_size", [1, 2, 5])
def test_degrees_are_sorted_nested_and_spread(event_size):
    for context in (False, True):
        narrow, wide = networks.hidden_degrees(event_size, (3, 50), context=context)
        assert set(narrow) <= set(wide)
        counts = np.bincount(wide)
        counts = counts[np.flatnonzero(counts)[0] :]
        assert np.all(np.diff(wide) >= 0)
        assert np.ptp(counts) <= 1
        assert wide.min() == (0 if context or event_size == 1 else 1)
        assert wide.max() == event_size - 1


def test_made_context_reaches_every_dimension():
    context = jnp.array([0.3, -0.2])
    fn = apply_made(4, (8, 8), context=context)
    sensitivity = jax.jacfwd(lambda c: fn(jnp.ones(4), c))(context)
    assert np.all(np.abs(sensitivity).max(axis=1) > 1e-6)


def test_made_of_one_dimension_depends_on_the_context_only():
    context = jnp.array([0.3])
    fn = apply_made(1, (8,), context=context)
    np.testing.assert_array_equal(jax.jacfwd(fn)(jnp.ones(1)), 0.0)
    # ... and not linearly: the hidden units are in use.
    outputs = jnp.stack([fn(jnp.ones(1), jnp.array([c]))[0, 0] for c in (-1.0, 0.0, 1.0)])
    assert abs(outputs[0] - 2 * outputs[1] + outputs[2]) > 1e-4


@pytest.mark.parametrize(
    ("event_size", "hidden_sizes", "options"),
    [*MADE_CASES, (40, (300, 7, 300), {}), (23, (257, 256), {}), (1, (4,), {})],
)
def test_made_steps_agree_with_one_pass(event_size, hidden_sizes, options):
    def call(x):
        made = MADE(event_size, 3, hidden_sizes, jnp.tanh, **options)

        def decide(params, x_d):
            return x_d, params

        _, stepwise = made.network().unfold(decide, jnp.moveaxis(x, -1, 0), x.shape[:-1])
        return made(x), jnp.moveaxis(stepwise, 0, -2)

    network = hk.without_apply_rng(hk.transform(call))
    x = jax.random.normal(jax.random.key(1), (3, 2, event_size))
    params = jittered(jax.jit(network.init)(jax.random.key(0), x), scale=0.1)
    all_at_once, stepwise = jax.jit(network.apply)(params, x)
    assert all_at_once.shape == (3, 2, event_size, 3)
    np.testing.assert_allclose(stepwise, all_at_once, atol=2e-5)


@pytest.mark.parametrize("network", ["mlp", "residual"])
def test_dense_networks_start_at_zero_and_use_x_and_context(network):
    def call(x, context):
        if network == "mlp":
            return MLP((3, 2), (8, 8), jnp.tanh)(x, context)
        return ResidualMLP((3, 2), 8, num_blocks=2, activation=jnp.tanh)(x, context)

    fn = hk.without_apply_rng(hk.transform(call))
    x, context = jnp.ones((5, 1, 4)), jnp.ones((6, 2))
    params = fn.init(jax.random.key(0), x, context)
    out = fn.apply(params, x, context)
    assert out.shape == (5, 6, 3, 2)
    np.testing.assert_array_equal(out, 0.0)
    params = jittered(params)
    by_x, by_context = jax.jacfwd(fn.apply, argnums=(1, 2))(params, x[0, 0], context[0])
    assert np.all(by_x != 0)
    assert np.all(by_context != 0)


def test_stack_equals_a_chain_of_its_layers():
    def layer(x):
        shift = hk.get_parameter("shift", x.shape[-1:], init=hk.initializers.RandomNormal())
        return distrax.Chain([dxf.Shift(shift), dxf.Reverse()])

    flow = hk.without_apply_rng(
        hk.transform(lambda x: Learned(Stack(layer, 3)).forward_and_log_det(x))
    )
    x = jnp.array([1.0, 2.0])
    params = flow.init(jax.random.key(0), x)
    (shifts,) = jax.tree.leaves(params)
    assert shifts.shape == (3, 2)
    assert len(np.unique(shifts)) == 6, "every layer has parameters of its own"
    y = x
    for shift in shifts:
        y = y[::-1] + shift
    np.testing.assert_allclose(flow.apply(params, x)[0], y, rtol=1e-6)


def test_stack_initialises_every_depth_on_the_data_that_reach_it():
    flow = hk.without_apply_rng(hk.transform(lambda x: Learned(Stack(Standardize(), 3)).inverse(x)))
    x = 5 + 3 * jax.random.normal(jax.random.key(0), (200, 2))
    params = flow.init(jax.random.key(1), x)["stack/layers/standardize"]
    # The last layer is next to the data; those before it see standardised data.
    np.testing.assert_allclose(params["fixed_mean"][-1], x.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(params["fixed_log_deviation"][-1], jnp.log(x.std(axis=0)), rtol=1e-5)
    np.testing.assert_allclose(params["fixed_mean"][:-1], 0.0, atol=1e-5)
    np.testing.assert_allclose(params["fixed_log_deviation"][:-1], 0.0, atol=1e-5)


def test_standardize_keeps_dimensions_that_do_not_vary():
    inverse = hk.without_apply_rng(hk.transform(lambda x: Learned(Standardize()).inverse(x)))
    x = jnp.array([[1.0, 7.0], [3.0, 7.0]])
    params = inverse.init(jax.random.key(0), x)
    np.testing.assert_allclose(inverse.apply(params, x), [[-1.0, 0.0], [1.0, 0.0]])


def test_standardize_is_fixed_under_training():
    def loss(params):
        return jnp.sum(inverse.apply(params, jnp.ones((4, 2))))

    inverse = hk.without_apply_rng(hk.transform(lambda x: Learned(Standardize()).inverse(x)))
    params = inverse.init(jax.random.key(0), jnp.arange(8.0).reshape(4, 2))
    for gradient in jax.tree.leaves(jax.grad(loss)(params)):
        np.testing.assert_array_equal(gradient, 0.0)
