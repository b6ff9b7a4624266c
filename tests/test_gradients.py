"""Values that gradients of whole flows store, which do not change the gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import distrax_flows as dxf


def make(name, *, num_layers=3, **options):
    build = getattr(dxf.flows, name)
    flow = dxf.transform(lambda: build(3, num_layers=num_layers, hidden_sizes=(32, 32), **options))
    params = flow.init(jax.random.key(0), jnp.zeros((5, 3)))
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [a + 0.1 * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
    return flow, jax.tree.unflatten(treedef, moved)


X = jax.random.normal(jax.random.key(2), (500, 3))


@pytest.mark.slow
@pytest.mark.parametrize("option", ["remat", "unroll"])
@pytest.mark.parametrize("name", ["realnvp", "nsf_autoregressive", "glow", "planar"])
def test_options_of_stacks_change_no_gradient(name, option, x64):
    x = X.astype(jnp.float64)
    gradients = []
    for value in (False, True):
        flow, params = make(name, **{option: value})
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
        gradient = jax.jit(jax.grad(lambda p, flow=flow: flow.log_prob(p, x).mean()))
        gradients.append(gradient(params))
    for got, want in zip(*map(jax.tree.leaves, gradients), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-9)


@pytest.mark.slow
def test_remat_stores_inputs_of_layers_only():
    def bytes_of_a_layer(remat):
        sizes = []
        for num_layers in (4, 24):
            flow, params = make("nsf_coupling", num_layers=num_layers, remat=remat)
            gradient = jax.jit(jax.grad(lambda p, flow=flow: flow.log_prob(p, X).mean()))
            analysis = gradient.lower(params).compile().memory_analysis()
            sizes.append(analysis.temp_size_in_bytes)
        num_weights = sum(leaf[0].size for leaf in jax.tree.leaves(params))
        return (sizes[1] - sizes[0]) / 20 - 4 * num_weights

    # An event, a few numbers for each dimension, and little more; else two hidden layers, too.
    assert bytes_of_a_layer(True) < 4 * X.size * 4
    assert bytes_of_a_layer(False) > 4 * X.shape[0] * 64


def test_unrolled_layers_need_no_loop():
    def loops(unroll):
        flow, params = make("realnvp", unroll=unroll)
        return jax.jit(flow.log_prob).lower(params, X).as_text().count("stablehlo.while")

    assert (loops(False), loops(True)) == (1, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bernstein_coupling", "planar", "bernstein_autoregressive"])
def test_gradients_find_no_root_again(name):
    flow, params = make(name)

    def of_samples(params):
        return flow.sample(params, jax.random.key(0), (7,)).sum()

    loops, loops_of_gradient = (
        str(jax.make_jaxpr(f)(params)).count("while[") for f in (of_samples, jax.grad(of_samples))
    )
    assert loops == loops_of_gradient == 1
