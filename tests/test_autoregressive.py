"""Gradients through the sequential direction: implicit ones, and those of repeated passes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import distrax_flows as dxf
from distrax_flows import families, networks
from distrax_flows.networks.masked_mlp import MaskedMLP


def make_network(event_size, num_params, hidden_sizes, *, order=None, residual=False, batch=()):
    """A masked network with random parameters; `batch` is that of its first biases."""
    rng = np.random.default_rng(0)
    degrees = networks.hidden_degrees(event_size, hidden_sizes, context=False)
    layer_masks = [networks.input_mask(event_size, degrees[0])]
    layer_masks += [networks.hidden_mask(a, b) for a, b in itertools.pairwise(degrees)]
    layer_masks.append(np.repeat(networks.output_mask(degrees[-1], event_size), num_params, axis=1))
    return MaskedMLP(
        weights=tuple(jnp.asarray(rng.normal(size=m.shape) * m / 2) for m in layer_masks),
        biases=tuple(
            jnp.asarray(rng.normal(size=((*batch, m.shape[1]) if i == 0 else m.shape[1:])))
            for i, m in enumerate(layer_masks)
        ),
        degrees=tuple(tuple(d.tolist()) for d in degrees),
        order=tuple(range(event_size)) if order is None else order,
        activation=jnp.tanh,
        residual=residual,
    )


def loss(network, y, bijector, *, steps):
    """Something of both results; by steps and implicitly, or by D passes of plain autodiff."""
    conditioner = network if steps else lambda x: network(x)
    x, log_det = dxf.MaskedAutoregressive(conditioner, bijector).inverse_and_log_det(y)
    return jnp.sum(jnp.sin(x) * jnp.arange(1.0, 1 + x.shape[-1])) + jnp.sum(jnp.cos(log_det))


NETWORKS = {
    "plain": {},
    "ordered": {"order": (2, 0, 3, 1)},
    "residual": {"hidden_sizes": (12, 12, 12), "residual": True},
    "per-row biases": {"batch": (5,)},
    "rows and columns": {"batch": (3, 1)},
    "narrow": {"hidden_sizes": (2, 3)},
}


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(families.affine(), id="affine"),
        pytest.param(families.spline(4), id="spline", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)
def test_gradients_are_those_of_the_passes(family, options, x64):
    options = {"hidden_sizes": (12, 9), **options}
    network = make_network(4, family.num_params, **options)
    y = jnp.asarray(np.random.default_rng(1).normal(size=(5, 4)))
    value, grads = jax.jit(
        jax.value_and_grad(lambda n, y: loss(n, y, family.bijector, steps=True), argnums=(0, 1))
    )(network, y)
    expected_value, expected = jax.jit(
        jax.value_and_grad(lambda n, y: loss(n, y, family.bijector, steps=False), argnums=(0, 1))
    )(network, y)
    np.testing.assert_allclose(value, expected_value, rtol=1e-10)
    leaves = zip(*map(jax.tree.leaves, ((network, y), grads, expected)), strict=True)
    for leaf, got, want in leaves:
        there = leaf != 0  # not masked
        np.testing.assert_allclose(got[there], want[there], rtol=1e-6, atol=1e-9)
        assert np.abs(want[there]).max() > 1e-3


@pytest.mark.parametrize("event_size", [20, 24, pytest.param(310, marks=pytest.mark.slow)])
def test_wide_networks_step_in_blocks(event_size, x64):
    """Wide enough for blocked steps, the last one full or not, and for products in two halves."""
    network = make_network(event_size, 2, (300, 500))
    y = jnp.asarray(np.random.default_rng(1).normal(size=(2, event_size)))
    bijector = families.affine().bijector
    x, _ = dxf.MaskedAutoregressive(network, bijector).inverse_and_log_det(y)
    np.testing.assert_allclose(dxf.MaskedAutoregressive(network, bijector).forward(x), y, atol=1e-9)
    got, want = (
        jax.jit(jax.grad(lambda y, steps=steps: loss(network, y, bijector, steps=steps)))(y)
        for steps in (True, False)
    )
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_second_derivatives_and_forward_mode(x64):
    family = families.affine()
    network = make_network(3, family.num_params, (6,))
    y = jnp.array([0.3, -1.0, 0.7])

    def of(y, steps):
        return loss(network, y, family.bijector, steps=steps)

    for derivative in (jax.jacfwd, jax.hessian, lambda f: jax.jacrev(jax.grad(f))):
        got, want = (jax.jit(derivative(lambda y, s=s: of(y, s)))(y) for s in (True, False))
        np.testing.assert_allclose(got, want, rtol=1e-7, atol=1e-10)


def test_what_the_bijector_closes_over_gets_its_gradient(x64):
    network = make_network(3, 2, (6,))
    y = jnp.array([[0.3, -1.0, 0.7]])

    def of(scale, steps):
        inner = families.affine().bijector
        return loss(network, y, lambda params: inner(scale * params), steps=steps)

    got, want = (jax.grad(of)(jnp.array(0.8), steps) for steps in (True, False))
    np.testing.assert_allclose(got, want, rtol=1e-8)
    assert abs(want) > 1e-3


def test_events_may_be_narrower_than_the_network(x64):
    network = make_network(3, 2, (6,))
    y = jnp.array([[0.3, -1.0, 0.7]])
    bijector = families.affine().bijector

    def gradient(dtype):
        narrow = y.astype(dtype)
        return jax.grad(lambda n: loss(n, narrow, bijector, steps=True))(network)

    single, double = gradient(jnp.float32), gradient(jnp.float64)
    for got, want in zip(jax.tree.leaves(single), jax.tree.leaves(double), strict=True):
        assert got.dtype == want.dtype == jnp.float64
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_vmap_over_networks(x64):
    network = make_network(3, 2, (6,))
    y = jnp.array([[0.3, -1.0, 0.7]])
    networks = jax.tree.map(lambda leaf: jnp.stack([leaf, 1.2 * leaf]), network)
    grads = jax.vmap(jax.grad(lambda n: loss(n, y, families.affine().bijector, steps=True)))(
        networks
    )
    for i, scale in enumerate((1.0, 1.2)):
        scaled = jax.tree.map(lambda leaf, scale=scale: scale * leaf, network)
        one = jax.grad(lambda n: loss(n, y, families.affine().bijector, steps=True))(scaled)
        for got, want in zip(jax.tree.leaves(grads), jax.tree.leaves(one), strict=True):
            np.testing.assert_allclose(got[i], want, rtol=1e-7, atol=1e-10)


@pytest.mark.usefixtures("wrong_types")  # JAX puts descriptions of arrays where arrays are
def test_gradients_store_no_steps():
    """Memory of the gradient grows with the event, not with its square."""

    def megabytes(event_size):
        network = make_network(event_size, 2, (8 * event_size,))
        network = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), network)
        y = jnp.zeros((1000, event_size))
        gradient = jax.jit(jax.grad(lambda n: loss(n, y, families.affine().bijector, steps=True)))
        analysis = gradient.lower(network).compile().memory_analysis()
        return analysis.temp_size_in_bytes / 2**20

    assert megabytes(16) < 3 * megabytes(8)


def test_the_derivative_unfolds_like_the_network():
    network = make_network(4, 2, (12, 9), order=(2, 0, 3, 1))
    network = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), network)
    x, x_dot = jnp.array([[0.3, -1.0, 0.7, 0.1]]), jnp.array([[1.0, 0.5, -2.0, 0.3]])
    _, want = jax.jvp(network, (x,), (x_dot,))

    def decide(change, x_dot):
        return x_dot, change

    _, got = network.linearize(x).unfold(decide, x_dot.T, (1,))
    np.testing.assert_allclose(jnp.moveaxis(got, 0, -2), want, atol=1e-5)


def test_inputs_of_unfold_have_a_row_for_each_dimension():
    network = make_network(4, 2, (12,))
    with pytest.raises(ValueError, match=r"`inputs` must hold .*\[4, \.\.\.\]; got .*\(3,\)"):
        network.unfold(lambda params, x: (x, ()), jnp.zeros((3, 1)), (1,))
