"""Networks and flows of images."""

import functools

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import jmp
import numpy as np
import pytest
from test_flows import count_equations
from test_modules import jittered

import distrax_flows as dxf
from distrax_flows import flows, modules
from distrax_flows.networks._convolve import convolve

KEY = jax.random.key(0)
SHAPE = (4, 4, 2)
SMALL = {"num_layers": 2, "hidden_channels": 4}
PATCHES = {"num_layers": 2, "hidden_size": 8, "num_heads": 2, "num_blocks": 2}
BUILDERS = {
    "glow": functools.partial(flows.image_glow, SHAPE, num_scales=2, **SMALL),
    "realnvp": functools.partial(flows.image_realnvp, SHAPE, **SMALL),
    "nsf": functools.partial(flows.image_nsf, SHAPE, num_bins=4, **SMALL),
    "patches": functools.partial(flows.image_autoregressive, SHAPE, **PATCHES),
}


@pytest.mark.parametrize(
    ("sizes", "stride", "padding"),
    [((3, 3), 1, "SAME"), ((1, 1), 1, "SAME"), ((5, 2), 2, "SAME"), ((2, 3), 3, "VALID")],
)
def test_patches_convolve_as_convolutions_do(sizes, stride, padding, x64):
    x = jax.random.normal(KEY, (2, 3, 7, 5, 3))
    kernel = jax.random.normal(jax.random.key(1), (*sizes, 3, 2))

    def reference(x, kernel):
        y = jax.lax.conv_general_dilated(
            x.reshape(-1, *x.shape[2:]),
            kernel,
            (stride, stride),
            padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return y.reshape(2, 3, *y.shape[1:])

    @functools.partial(jax.jit, static_argnums=0)
    def results(convolve, x, kernel):
        grads = jax.grad(lambda *args: jnp.sum(jnp.sin(convolve(*args))), (0, 1))(x, kernel)
        return convolve(x, kernel), grads

    found = results(lambda *args: convolve(*args, stride, padding), x, kernel)
    expected = results(reference, x, kernel)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-12), found, expected)


def test_accelerators_get_convolutions():
    traced = jax.jit(convolve).trace(jnp.zeros((4, 4, 3)), jnp.zeros((3, 3, 3, 2)))
    programs = {
        platform: traced.lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cpu", "cuda", "tpu")
    }
    assert [text.count("stablehlo.convolution") for text in programs.values()] == [0, 1, 1]


@pytest.mark.parametrize("network", [modules.ConvNet, modules.GatedConvNet])
def test_networks_see_neighbours_and_context(network):
    def call(x, context=None):
        return network((2, 3), 8, start=(1.0, 2.0, 3.0))(x, context)

    x = jax.random.normal(KEY, (2, 1, 6, 6, 2))
    context = jax.random.normal(KEY, (5, 6, 6, 3))
    net = hk.without_apply_rng(hk.transform(call))
    params = net.init(KEY, x, context)
    start = net.apply(params, x, context)
    assert start.shape == (2, 5, 6, 6, 2, 3)
    np.testing.assert_array_equal(start, jnp.broadcast_to(jnp.arange(1.0, 4), start.shape))
    params = jittered(params)
    apply = jax.jit(net.apply)
    y = apply(params, x, context)
    # A context that all pixels share is that map.
    shared = jnp.broadcast_to(context[:, :1, :1], context.shape)
    np.testing.assert_allclose(
        apply(params, x, context[:, :1, :1]), apply(params, x, shared), atol=1e-5
    )
    assert (jnp.abs(apply(params, x, shared) - y) > 1e-4).all()
    # The corner is out of sight of a pixel five further, seen through two or four convolutions.
    reach = 2 if network is modules.ConvNet else 4
    far = apply(params, x.at[..., 0, 0, :].add(1.0), context)
    change = np.abs(far - y).max(axis=(0, 1, -1, -2))
    near = np.arange(6) <= reach
    np.testing.assert_array_equal(change > 0, np.outer(near, near))


def test_networks_compute_in_the_dtypes_of_their_policy():
    policy = jmp.get_policy("params=float32,compute=bfloat16,output=float32")

    def value(policy):
        net = hk.without_apply_rng(
            hk.transform(lambda x: modules.GatedConvNet((2,), 8, policy=policy)(x))
        )
        x = jax.random.normal(KEY, (3, 4, 4, 2))
        params = jittered(net.init(KEY, x))
        return net.apply(params, x), str(jax.make_jaxpr(net.apply)(params, x))

    (rough, program), (exact, _) = value(policy), value(None)
    assert rough.dtype == jnp.float32
    assert 1e-5 < jnp.abs(rough - exact).max() < 0.5
    products = [line for line in program.split("\n") if "dot_general" in line]
    assert products
    assert all("bf16" in line for line in products)


each_builder = pytest.mark.parametrize(
    "name",
    ["glow", *(pytest.param(n, marks=pytest.mark.slow) for n in ("realnvp", "nsf", "patches"))],
)


@each_builder
def test_log_dets_and_gradients(name, x64):
    flow = dxf.transform(BUILDERS[name])
    x = jax.random.normal(KEY, (3, *SHAPE))
    params = jittered(jax.tree.map(jnp.float64, flow.init(KEY, x)), scale=0.1)

    @jax.jit
    def results(params, x):
        z, log_det = flow.inverse(params, x)
        back, log_det_back = flow.forward(params, z)
        jacobian = jax.jacfwd(lambda one: flow.inverse(params, one)[0].reshape(-1))(x[0])
        grads = jax.grad(lambda params: jnp.sum(flow.log_prob(params, x)))(params)
        return log_det, back, log_det_back, jacobian, grads

    log_det, back, log_det_back, jacobian, grads = results(params, x)
    np.testing.assert_allclose(back, x, atol=1e-9)
    np.testing.assert_allclose(log_det, -log_det_back, atol=1e-9)
    square = jacobian.reshape(x[0].size, x[0].size)
    np.testing.assert_allclose(log_det[0], jnp.linalg.slogdet(square)[1], atol=1e-9)
    for module, entries in grads.items():
        for entry, grad in entries.items():
            largest = float(jnp.abs(grad).max())
            assert (largest == 0) == modules.is_fixed(module, entry), (module, entry)
            assert np.isfinite(largest)


@pytest.mark.parametrize(
    "build", [flows.image_glow, pytest.param(flows.image_realnvp, marks=pytest.mark.slow)]
)
def test_depth_compiles_for_free(build):
    def equations(num_layers):
        flow = dxf.transform(
            functools.partial(build, SHAPE, num_layers=num_layers, hidden_channels=4)
        )
        x = jnp.zeros((2, *SHAPE))
        params = jax.eval_shape(flow.init, KEY, x)
        loss = jax.grad(lambda params: jnp.sum(flow.log_prob(params, x)))
        return count_equations(jax.make_jaxpr(loss)(params).jaxpr)

    assert equations(8) == equations(32)


def test_each_normalisation_starts_with_the_statistics_that_reach_it():
    """The first one takes those of the data; nothing is left for the others, at any depth."""

    def make():
        mix = modules.compose(modules.ActNormLayer(), lambda x: dxf.Reverse())
        return flows.image_glow(SHAPE, between=mix, num_scales=2, num_layers=3, hidden_channels=4)

    flow = dxf.transform(make)
    scale = np.exp(np.random.default_rng(0).normal(size=SHAPE))
    x = 5 + scale * jax.random.normal(KEY, (500, *SHAPE))
    params = flow.init(KEY, x)
    finest, coarsest = (
        entries for module, entries in params.items() if module.endswith("act_norm_layer")
    )
    pixels = np.asarray(dxf.Squeeze().forward(x))
    # The last of a stack is nearest to the data.
    np.testing.assert_allclose(finest["loc"][-1], pixels.mean(axis=(0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(
        finest["log_scale"][-1], np.log(pixels.std(axis=(0, 1, 2))), rtol=1e-3, atol=1e-4
    )
    for name in ("loc", "log_scale"):
        np.testing.assert_allclose(finest[name][:-1], 0, atol=1e-4)
        assert np.abs(coarsest[name][-1]).max() > 0.05  # of pixels of its own
        np.testing.assert_allclose(coarsest[name][:-1], 0, atol=1e-4)
    z, _ = flow.inverse(params, x)
    for latent in dxf.MultiScale(
        [distrax.Block(dxf.Shift(jnp.zeros(c)), 2) for c in (8, 16)]
    ).split(z):
        np.testing.assert_allclose(latent.mean(axis=(0, 1, 2)), 0, atol=0.2)
        np.testing.assert_allclose(latent[:, 0, 0].std(axis=0).mean(), 1, atol=0.3)


@pytest.mark.slow
def test_traces_open_scales():
    flow = dxf.transform(BUILDERS["glow"])
    x = jax.random.normal(KEY, (3, *SHAPE))
    params = jittered(flow.init(KEY, x), scale=0.1)
    layers = flow.trace(params, x)
    assert layers[0].name.startswith("Chain[0] > MultiScale[0] > Chain[0] > ScanChain[1] > ")
    assert layers[-1].name.startswith("Chain[0] > MultiScale[1] > ScanChain[0] > ")
    assert (layers[0].x.shape, layers[-1].y.shape) == ((3, 2, 2, 8), (3, 1, 1, 16))
    _, log_det = flow.inverse(params, x)
    np.testing.assert_allclose(sum(layer.log_det for layer in layers), log_det, atol=1e-4)
    z = flow.inverse(params, x)[0]
    back = flow.trace(params, z, inverse=False)
    np.testing.assert_allclose(sum(layer.log_det for layer in back), -log_det, atol=1e-4)


@pytest.mark.slow
@each_builder
def test_contexts_of_images(name):
    def make(context):
        labels = jax.nn.one_hot(context[..., 0].astype(int), 3)
        return BUILDERS[name](context=labels)

    flow = dxf.transform(make)
    x = jax.random.normal(KEY, (6, *SHAPE))
    labels = jnp.arange(6.0)[:, None] % 3
    params = jittered(flow.init(KEY, x, labels))
    log_prob = flow.log_prob(params, jnp.broadcast_to(x[:1], x.shape), labels)
    np.testing.assert_allclose(log_prob[:3], log_prob[3:], rtol=1e-5)
    assert len({round(float(value), 2) for value in log_prob[:3]}) == 3
    assert flow.sample(params, KEY, (2,), labels).shape == (2, 6, *SHAPE)


@pytest.mark.slow
def test_context_maps():
    def make(context):
        context_map = context.reshape(*context.shape[:-1], 4, 4, 1)
        return flows.image_glow(SHAPE, context=context[..., :2], context_map=context_map, **SMALL)

    flow = dxf.transform(make)
    x, context = jax.random.normal(KEY, (6, *SHAPE)), jax.random.normal(KEY, (6, 16))
    params = jittered(flow.init(KEY, x, context), scale=0.05)
    z, log_det = flow.inverse(params, x, context)
    back, log_det_back = flow.forward(params, z, context)
    np.testing.assert_allclose(back, x, atol=1e-3)
    np.testing.assert_allclose(log_det, -log_det_back, atol=1e-3)
    # The last pixel of the map is not in the vector.
    changed = flow.log_prob(params, x, context.at[:, -1].add(1.0))
    assert (jnp.abs(changed - flow.log_prob(params, x, context)) > 1e-5).all()
    assert flow.sample(params, KEY, (2,), context).shape == (2, 6, *SHAPE)


def _transformer(**options):
    def call(method, *args):
        network = modules.CausalTransformer(5, 3, 2, hidden_size=8, num_heads=2, **options)
        context = jnp.ones((7, 4)) if "context_size" in options else None
        return getattr(network.network(context), method)(*args)

    net = hk.without_apply_rng(hk.transform(call))
    return net, jittered(net.init(KEY, "__call__", jnp.zeros((7, 3, 5))))


def test_tokens_depend_on_earlier_ones():
    net, params = _transformer()
    x = jax.random.normal(KEY, (3, 5))
    jacobian = jax.jit(jax.jacfwd(lambda x: net.apply(params, "__call__", x)))(x)
    depends = np.abs(jacobian).max(axis=(0, 2, 3))  # [T out, T in]
    np.testing.assert_array_equal(depends > 1e-6, np.tri(5, k=-1, dtype=bool))


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"context_size": 4}, marks=pytest.mark.slow),
        pytest.param(
            {"policy": jmp.get_policy("compute=bfloat16,output=float32")}, marks=pytest.mark.slow
        ),
    ],
)
def test_steps_are_the_pass(options):
    """With keys and values kept, each step has the parameters of one pass over the result."""
    net, params = _transformer(**options)

    def decide(params, noise):
        return jnp.tanh(params[..., 0]) + noise, params

    noise = jax.random.normal(KEY, (5, 7, 3))
    x, found = jax.jit(lambda: net.apply(params, "unfold", decide, noise, (7, 3)))()
    expected = jax.jit(functools.partial(net.apply, params, "__call__"))(jnp.moveaxis(x, 0, -1))
    tolerance = 0.1 if "policy" in options else 1e-5
    np.testing.assert_allclose(jnp.moveaxis(found, 0, -2), expected, atol=tolerance)
    assert np.std(expected) > 0.3


def test_the_fast_direction_of_patches_runs_no_steps():
    def scans(fast, method):
        flow = dxf.transform(functools.partial(BUILDERS["patches"], fast=fast, num_layers=1))
        x = jnp.zeros((2, *SHAPE))
        params = jax.eval_shape(flow.init, KEY, x)
        return str(jax.make_jaxpr(getattr(flow, method))(params, x)).count("scan[")

    assert scans("density", "inverse") == scans("sampling", "forward") == 1
    assert scans("density", "forward") == scans("sampling", "inverse") == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: flows.image_glow((8, 6, 1), num_scales=2),
            r"multiples of `2 \*\* num_scales`, 4; got event_shape=\(8, 6, 1\)",
        ),
        (
            lambda: flows.image_autoregressive((8, 6, 1), patch_size=4),
            r"multiples of `patch_size`, 4; got event_shape=\(8, 6, 1\)",
        ),
        (lambda: flows.image_realnvp((8, 8)), r"must be \(height, width, channels\); got"),
        (lambda: flows.image_glow(SHAPE, num_scales=0), "`num_scales` must be an integer of at"),
        (
            lambda: flows.image_glow(SHAPE, hidden_channels=0),
            "`hidden_channels` must be an integer",
        ),
        (
            lambda: flows.image_glow(SHAPE, context_map=jnp.zeros((2, 4, 1))),
            r"\[..., 4, 4, K\]; got context_map.shape=\(2, 4, 1\)",
        ),
        (
            lambda: flows.image_autoregressive(SHAPE, num_heads=3, hidden_size=8),
            "`num_heads` must divide `hidden_size`, 8; got num_heads=3",
        ),
        (lambda: dxf.Transpose((0, 2)), r"`axes` must hold each axis of an event once.*\(0, 2\)"),
    ],
)
def test_errors(call, message):
    def run(x):
        return call().log_prob(x)

    with pytest.raises(ValueError, match=message):
        hk.transform(run).init(KEY, jnp.zeros((1, *SHAPE)))
