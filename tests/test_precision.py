"""Networks in bfloat16, with their bijectors in float32."""

import functools

import haiku as hk
import jax
import jax.extend
import jax.numpy as jnp
import jmp
import numpy as np
import pytest

import distrax_flows as dxf
from distrax_flows import flows
from distrax_flows.modules import MADE, MLP, ResidualMLP

POLICY = jmp.get_policy("params=float32,compute=bfloat16,output=float32")
EVENT_SIZE = 4

NETWORKS = {
    "mlp": functools.partial(MLP, (EVENT_SIZE, 3), (16, 16), jnp.tanh),
    "residual mlp": functools.partial(ResidualMLP, (EVENT_SIZE, 3), 16, 2, jnp.tanh),
    "made": functools.partial(MADE, EVENT_SIZE, 3, (16, 16), jnp.tanh),
    "residual made": functools.partial(MADE, EVENT_SIZE, 3, (16, 16), jnp.tanh, residual=True),
}

FLOWS = {
    "realnvp": flows.realnvp,
    "hint": flows.hint,
    "bernstein": functools.partial(flows.independent, family=dxf.families.bernstein(8)),
    "sylvester": flows.sylvester,
    "maf": flows.maf,
    "nsf_autoregressive": flows.nsf_autoregressive,
}


def random_params(params, scale=0.3):
    """Parameters away from the identity, in the dtypes they have."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(5), len(leaves))
    return tree.unflatten(
        leaf + scale * jax.random.normal(key, leaf.shape, leaf.dtype)
        for leaf, key in zip(leaves, keys, strict=True)
    )


def dtypes(tree):
    return {leaf.dtype for leaf in jax.tree.leaves(tree)}


def product_dtypes(jaxpr):
    """Dtypes that enter products anywhere in a jaxpr."""
    found = set()
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            found |= {var.aval.dtype for var in eqn.invars}
        for sub in jax.extend.core.jaxprs_in_params(eqn.params):
            found |= product_dtypes(sub)
    return found


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_networks_compute_in_bfloat16_only(make):
    def transformed(policy):
        return hk.without_apply_rng(hk.transform(lambda x: make(policy=policy)(x)))

    x = jax.random.normal(jax.random.key(0), (50, EVENT_SIZE))
    narrow, wide = transformed(POLICY), transformed(None)
    params = random_params(narrow.init(jax.random.key(1), x))
    assert dtypes(params) == {jnp.dtype("float32")}
    got, want = narrow.apply(params, x), wide.apply(params, x)
    assert got.dtype == jnp.float32
    assert product_dtypes(jax.make_jaxpr(narrow.apply)(params, x).jaxpr) == {jnp.dtype("bfloat16")}
    # Eight bits of each activation, over three layers.
    np.testing.assert_allclose(got, want, atol=0.03 * np.abs(want).max())
    assert np.abs(got - want).max() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("build", FLOWS.values(), ids=FLOWS)
def test_flows_stay_in_float32(build):
    def make(policy):
        return dxf.transform(
            lambda context: build(
                EVENT_SIZE, num_layers=2, hidden_sizes=(16,), context=context, policy=policy
            )
        )

    x = jax.random.normal(jax.random.key(0), (50, EVENT_SIZE))
    context = jax.random.normal(jax.random.key(1), (50, 2))
    narrow, wide = make(POLICY), make(None)
    params = random_params(narrow.init(jax.random.key(2), x, context), 0.03)
    assert dtypes(params) == {jnp.dtype("float32")}

    def total(flow, params):
        return flow.log_prob(params, x, context).mean()

    (got, got_grads), (want, want_grads) = (
        jax.value_and_grad(functools.partial(total, flow))(params) for flow in (narrow, wide)
    )
    assert dtypes((got, got_grads)) == {jnp.dtype("float32")}
    np.testing.assert_allclose(got, want, rtol=0.02)
    got_grads, want_grads = (
        np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(grads)])
        for grads in (got_grads, want_grads)
    )
    assert np.linalg.norm(got_grads - want_grads) < 0.05 * np.linalg.norm(want_grads)

    z, log_det = narrow.inverse(params, x, context)
    back, minus = narrow.forward(params, z, context)
    assert dtypes((z, log_det, back, minus)) == {jnp.dtype("float32")}
    # Both directions of a coupling see the same numbers, and its round trip is that of float32. The
    # steps of an autoregressive layer sum in another order than its pass, and round otherwise.
    tolerance = 0.05 if build in (flows.maf, flows.nsf_autoregressive) else 1e-4
    np.testing.assert_allclose(back, x, atol=tolerance)
    np.testing.assert_allclose(minus, -log_det, atol=tolerance)


@pytest.mark.usefixtures("wrong_types")
def test_a_policy_must_be_one():
    flow = dxf.transform(lambda: flows.maf(2, policy="compute=bfloat16"))  # pyright: ignore
    with pytest.raises(TypeError, match=r"`policy` must be a `jmp\.Policy`"):
        flow.init(jax.random.key(0), jnp.zeros((1, 2)))
