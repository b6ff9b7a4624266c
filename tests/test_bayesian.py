"""Bayesian layers: their divergences by quadrature, their outputs by sampled weights."""

import functools

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import distrax_flows as dxf
from distrax_flows.modules import (
    DeterministicConv2D,
    DeterministicLinear,
    Learned,
    MeanFieldConv2D,
    MeanFieldLinear,
    MNFConv2D,
    MNFLinear,
    Stack,
    sample_predictions,
)
from distrax_flows.modules._multiplicative_noise import _coupling

KEY = jax.random.key(0)
MAX_LOG_SCALE = 12.0
SCALES = ("kernel_raw_log_scale", "bias_raw_log_scale")

VECTORS, IMAGES = (4, 3), (2, 5, 4, 3)
LAYERS = {
    "mean-field linear": (lambda: MeanFieldLinear(2, learn_prior=True), VECTORS),
    "mean-field convolution": (lambda: MeanFieldConv2D(2, (3, 2), learn_prior=True), IMAGES),
    "MNF linear": (lambda: MNFLinear(2, learn_prior=True), VECTORS),
    "MNF linear of one input": (lambda: MNFLinear(2, learn_prior=True), (4, 1)),
    "MNF convolution": (lambda: MNFConv2D(4, (3, 2), stride=2, learn_prior=True), IMAGES),
}
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in LAYERS if "convolution" in name]
each_layer = pytest.mark.parametrize("name", ["mean-field linear", "MNF linear", *SLOW])


def transformed(make):
    layer = hk.transform(lambda x: make()(x))
    return hk.Transformed(jax.jit(layer.init), jax.jit(layer.apply))


def jittered(params, scale=0.3, seed=0):
    """Parameters off their start, where the flows are the identity."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: a + scale * rng.normal(size=a.shape).astype(a.dtype), params)


@functools.cache
def case(name):
    """A layer, compiled, its parameters and an input."""
    make, shape = LAYERS[name]
    layer = transformed(make)
    x = jax.random.normal(KEY, shape)
    return layer.apply, jittered(layer.init(KEY, x)), x


def changed(params, change, *names):
    """Parameters of which those of these names are changed."""
    return {
        module: {name: change(a) if name in names else a for name, a in own.items()}
        for module, own in params.items()
    }


def log_scale(raw, start):
    return np.log(start) + MAX_LOG_SCALE * np.tanh(np.asarray(raw, float) / MAX_LOG_SCALE)


def raw_log_scale(scale, start):
    return MAX_LOG_SCALE * np.arctanh(np.log(scale / start) / MAX_LOG_SCALE)


def flow_of(params, module, name):
    """A flow of a layer as a function of z and its log-det, by automatic differentiation."""
    prefix = f"{module}/{name}/"
    own = {key.removeprefix(prefix): of for key, of in params.items() if key.startswith(prefix)}
    flow = hk.without_apply_rng(hk.transform(lambda z: Learned(Stack(_coupling, 2)).forward(z)))

    def forward(z):
        log_det = jnp.linalg.slogdet(jax.jacfwd(lambda z: flow.apply(own, z))(z))[1]
        return flow.apply(own, z), log_det

    return lambda z: jax.tree.map(np.asarray, jax.jit(jax.vmap(forward))(jnp.asarray(z)))


# The bound by quadrature ---------------------------------------------------------------------


def normal_grid(num):
    """Nodes, `[num^2, 2]`, and weights of a quadrature of the standard normal in the plane."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(num)
    weights = weights / weights.sum()
    points = np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2)
    return points, np.outer(weights, weights).reshape(-1)


def log_normal(x, mean, log_scale):
    """Log-density over the last axis."""
    standard = (x - mean) * np.exp(-log_scale)
    return np.sum(-0.5 * standard**2 - log_scale - 0.5 * np.log(2 * np.pi), axis=-1)


def two_weights(prior_scale):
    """A layer from two inputs to one output, and mean and error of its kl without the bias's."""
    layer = transformed(lambda: MNFLinear(1, prior_scale=prior_scale, initial_scale=0.4))
    x = jnp.zeros((50_000, 2))
    params = jittered(layer.init(KEY, x[:1]), 0.2)
    own = {name: np.asarray(a, float) for name, a in params["mnf_linear"].items()}
    bias = distrax.Normal(own["bias"], np.exp(log_scale(own["bias_raw_log_scale"], 0.4)))
    of_bias = float(bias.kl_divergence(distrax.Normal(0.0, prior_scale))[0])
    # The mean over rows averages as many samples; batches of them show its error.
    keys = jax.random.split(KEY, 5)
    batches = np.array([layer.apply(params, key, x)[1] for key in keys]) - of_bias
    return params, own, batches.mean(), batches.std(ddof=1) / 5**0.5


def joint(params, own, num_z, num_w):
    """A quadrature of q(z) q(W | z): z, log q(z), W, weights; `[Z, 2]`, `[Z]`, `[Z, W, 2]`."""
    z0, weights_z = normal_grid(num_z)
    scale = log_scale(own["z_raw_log_scale"], 0.3)
    z, log_det = flow_of(params, "mnf_linear", "q_flow")(own["z_mean"] + np.exp(scale) * z0)
    log_q = log_normal(z0, 0.0, np.zeros(2)) - scale.sum() - log_det
    noise, weights_w = normal_grid(num_w)
    mean, spread = own["kernel"][:, 0], log_scale(own["kernel_raw_log_scale"][:, 0], 0.4)
    w = z[:, None] * mean + np.exp(spread) * noise
    return z, log_q, w, weights_z[:, None] * weights_w


@pytest.mark.slow
def test_kl_estimates_the_bound_and_the_bound_exceeds_the_divergence():
    params, own, estimate, error = two_weights(prior_scale=0.7)
    mean, spread = own["kernel"][:, 0], log_scale(own["kernel_raw_log_scale"][:, 0], 0.4)

    z, log_q, w, weights = joint(params, own, 16, 8)
    assert np.abs(z - own["z_mean"]).max() > 1
    base, log_det = flow_of(params, "mnf_linear", "r_flow")(z)
    a = np.tanh(w @ own["c"])[..., None]
    nu = MAX_LOG_SCALE * np.tanh(own["b2"] * a / MAX_LOG_SCALE)
    log_r = log_normal(base[:, None], own["b1"] * a, -0.5 * nu) + log_det[:, None]
    log_w = log_normal(w, z[:, None] * mean, spread)
    log_p = log_normal(w, 0.0, np.log(0.7) * np.ones(2))
    bound = np.sum(weights * (log_w + log_q[:, None] - log_r - log_p))
    assert error < 0.0015 * bound
    assert estimate == pytest.approx(bound, rel=0.005)

    # q(W) is a mixture over z.
    points = w.reshape(-1, 1, 2)
    log_each = log_normal(points, z * mean, spread) + np.log(weights.sum(axis=1))
    log_mixture = np.asarray(jax.nn.logsumexp(log_each, axis=1), float)
    log_p = log_normal(points[:, 0], 0.0, np.log(0.7) * np.ones(2))
    divergence = np.sum(weights.reshape(-1) * (log_mixture - log_p))
    assert 0 < divergence < bound


def fixed_coupling(z):
    """A flow that is far from the identity."""
    return distrax.Chain([
        dxf.Reverse(),
        distrax.SplitCoupling(
            1, 1,
            lambda kept: jnp.stack([jnp.sin(3 * kept), jnp.cos(2 * kept)], axis=-1),
            lambda params: dxf.Affine(params, 2.0),
        ),
        dxf.Shift(jnp.array([1.0, -2.0])),
    ])  # fmt: skip


def test_the_bound_is_exact_if_r_is_the_posterior_of_z():
    """With means of zero, W does not depend on z: then r(z | W) = q(z) is exact."""
    layer = transformed(
        lambda: MNFLinear(
            1, q_flow=fixed_coupling, r_flow=lambda z: distrax.Inverse(fixed_coupling(z))
        )
    )
    params = jittered(layer.init(KEY, jnp.zeros((1, 2))))
    own = params["mnf_linear"]
    raw = jnp.full(2, raw_log_scale(1.0, 0.3), jnp.float32)
    zeros = {name: jnp.zeros_like(own[name]) for name in ("kernel", "b1", "b2", "z_mean")}
    params["mnf_linear"] = own | zeros | {"z_raw_log_scale": raw}
    _, kl = jax.jit(jax.vmap(layer.apply, (None, 0, None)))(
        params, jax.random.split(KEY, 100), jnp.zeros((1, 2))
    )
    scales = [np.exp(log_scale(own[name].ravel(), 0.01)) for name in SCALES]
    means = np.concatenate([np.zeros(2), np.asarray(own["bias"])])
    posterior = distrax.Normal(means, np.concatenate(scales))
    expected = posterior.kl_divergence(distrax.Normal(0.0, 1.0)).sum()
    np.testing.assert_allclose(kl, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["mean-field linear", "mean-field convolution"])
def test_mean_field_kl_is_that_of_gaussians(name):
    apply, params, x = case(name)
    (own,) = params.values()
    prior = distrax.Normal(0.0, np.exp(log_scale(own["prior_raw_log_scale"], 1.0)))
    expected = sum(
        distrax.Normal(own[of], np.exp(log_scale(own[f"{of}_raw_log_scale"], 0.01)))
        .kl_divergence(prior)
        .sum()
        for of in ("kernel", "bias")
    )
    np.testing.assert_allclose(apply(params, KEY, x)[1], expected, rtol=1e-5)


# Outputs ---------------------------------------------------------------------------------------


def explicit_outputs(name, params, x, num):
    """Outputs, `[num, ...]`, for one event and sampled weights."""
    (module,) = [key for key in params if "/" not in key]
    own = params[module]
    keys = jax.random.split(jax.random.key(5), 3)

    def sampled(of, key):
        scale = np.exp(log_scale(own[f"{of}_raw_log_scale"], 0.01))
        noise = jax.random.normal(key, (num, *own[of].shape))
        return scale * np.asarray(noise), np.asarray(own[of])

    (noise, kernel), (bias_noise, bias) = sampled("kernel", keys[0]), sampled("bias", keys[1])
    if "MNF" in name:
        z0 = np.asarray(jax.random.normal(keys[2], (num, len(own["z_mean"]))))
        z0 = own["z_mean"] + np.exp(log_scale(own["z_raw_log_scale"], 0.3)) * z0
        z, _ = flow_of(params, module, "q_flow")(jnp.asarray(z0, jnp.float32))
        kernel = kernel * (z[..., None] if kernel.ndim == 2 else z[:, None, None, None])
    kernels, biases = jnp.asarray(kernel + noise), jnp.asarray(bias + bias_noise)
    if kernels.ndim == 3:
        return jnp.einsum("i,nij->nj", x, kernels) + biases
    stride = 2 if "MNF" in name else 1

    def convolved(kernel):
        return jax.lax.conv_general_dilated(
            x[None], kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )[0]

    return jax.jit(jax.vmap(convolved))(kernels) + biases[:, None, None]


@each_layer
def test_outputs_are_those_of_sampled_weights(name):
    _, params, x = case(name)
    # Wide posteriors, for their variance to be seen beside that of z.
    params = changed(params, lambda a: a + 3, *SCALES)
    num = 20_000 if x.ndim == 2 else 5_000
    layer = transformed(LAYERS[name][0])
    rows = jnp.broadcast_to(x[0], (num, *x.shape[1:]))
    y = np.asarray(layer.apply(params, KEY, rows)[0], float)
    expected = np.asarray(explicit_outputs(name, params, x[0], num), float)
    assert y.shape == expected.shape
    spread = expected.std(axis=0)
    assert np.all(spread > 0.05)
    off = np.abs(y.mean(axis=0) - expected.mean(axis=0)) / spread
    assert off.max() < 6 / num**0.5
    # The tails of z are heavier than a Gaussian's.
    np.testing.assert_allclose(y.std(axis=0), spread, rtol=12 / num**0.5)
    if x.ndim == 2:  # outputs of a row share z
        covariances = np.cov(y.T), np.cov(expected.T)
        size = np.outer(spread, spread)
        np.testing.assert_allclose(covariances[0] / size, covariances[1] / size, atol=0.06)


def test_each_row_has_a_z_of_its_own():
    apply, params, x = case("MNF linear")
    narrow = changed(params, lambda a: a - 1e4, *SCALES)
    y, _ = apply(narrow, KEY, jnp.broadcast_to(x[:1], x.shape))
    assert np.all(np.std(y, axis=0) > 0.01)


@each_layer
def test_outputs_are_a_function_of_the_key(name):
    apply, params, x = case(name)
    one, again, other = (apply(params, jax.random.key(seed), x) for seed in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, one, again)
    assert not np.array_equal(one[0], other[0])
    if "MNF" in name:
        assert one[1] != other[1]


def test_a_layer_used_twice_shares_its_parameters():
    def call(x):
        layer = MNFLinear(3)
        return layer(x)[0], layer(x)[0]

    twice = hk.transform(call)
    params = jax.jit(twice.init)(KEY, jnp.ones((2, 3)))
    assert len([name for name in params if "/" not in name]) == 1
    one, other = jax.jit(twice.apply)(params, KEY, jnp.ones((2, 3)))
    assert not np.array_equal(one, other)


# Shapes, dtypes, gradients ---------------------------------------------------------------------


@each_layer
def test_batches_of_any_rank(name):
    _, params, x = case(name)
    layer = transformed(LAYERS[name][0])
    y, _ = jax.eval_shape(layer.apply, params, KEY, x)
    for batch in ((), (1,), (2, 1, 3)):
        out, kl = jax.eval_shape(layer.apply, params, KEY, jnp.zeros((*batch, *x.shape[1:])))
        assert out.shape == (*batch, *y.shape[1:])
        assert kl.shape == ()


@each_layer
def test_dtypes(name, x64):
    make, shape = LAYERS[name]
    layer = transformed(make)
    for dtype in (jnp.float32, jnp.float64):
        x = jnp.zeros(shape, dtype)
        params = jax.eval_shape(layer.init, KEY, x)
        out = jax.eval_shape(layer.apply, params, KEY, x)
        assert {leaf.dtype for leaf in jax.tree.leaves((params, out))} == {jnp.dtype(dtype)}


def loss(apply, params, x):
    y, kl = apply(params, KEY, x)
    return jnp.sum(jnp.square(y - 1)) + kl


@pytest.mark.parametrize(
    "name", ["mean-field linear", "MNF linear", "MNF linear of one input", *SLOW]
)
def test_every_parameter_has_a_gradient(name):
    apply, params, x = case(name)
    gradients = jax.jit(jax.grad(lambda p: loss(apply, p, x)))(params)
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.all(np.isfinite(gradient)), path
        # A unit of a network may be off for all rows.
        some = np.any if "mlp" in str(path) else np.all
        assert some(gradient != 0), path


@each_layer
def test_nothing_is_lost_at_extreme_parameters_and_inputs(name):
    apply, params, x = case(name)
    gradient = jax.jit(jax.value_and_grad(lambda p, x: loss(apply, p, x), argnums=(0, 1)))
    for scale in (0.0, 100.0, -1e4):
        names = (*SCALES, "z_raw_log_scale", "prior_raw_log_scale", "b2")
        extreme = changed(params, lambda a, scale=scale: a * scale, *names)
        for values in (0 * x, 1e3 * x):
            assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient(extreme, values)))
    everything = jax.tree.map(lambda a: 30 * a, params)
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient(everything, x)))


def test_deterministic_layers_compute_what_the_means_do():
    for make, name in (
        (lambda: DeterministicLinear(2), "mean-field linear"),
        (lambda: DeterministicConv2D(2, (3, 2)), "mean-field convolution"),
    ):
        apply, params, x = case(name)
        (own,) = params.values()
        layer = transformed(make)
        (module,) = layer.init(KEY, x)
        kept = {module: {of: own[of] for of in ("kernel", "bias")}}
        y, kl = layer.apply(kept, None, x)
        assert kl == 0
        expected, _ = apply(changed(params, lambda a: a - 1e4, *SCALES), KEY, x)
        np.testing.assert_allclose(y, expected, atol=1e-4)


def test_flows_of_your_own():
    layer = transformed(
        lambda: MNFLinear(
            2,
            q_flow=lambda z: dxf.flows.iaf(z.shape[-1], num_layers=1, hidden_sizes=(8,)).bijector,
            r_flow=lambda z: dxf.flows.planar(z.shape[-1], num_layers=2).bijector,
        )
    )
    params = layer.init(KEY, jnp.ones((3, 4)))
    assert any(name.startswith("mnf_linear/q_flow/") and "made" in name for name in params)
    assert any(name.startswith("mnf_linear/r_flow/") and "planar" in name for name in params)
    assert np.isfinite(layer.apply(params, KEY, jnp.ones((3, 4)))[1])


def test_predictions_are_samples_over_keys():
    apply, params, x = case("MNF linear")
    y, kl = sample_predictions(apply, params, 3, x, 5)
    assert y.shape == (5, *x.shape[:-1], 2)
    first = apply(params, jax.random.split(jax.random.key(3), 5)[0], x)
    np.testing.assert_allclose(y[0], first[0], rtol=1e-5)
    assert len(np.unique(kl)) == 5


# Errors ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("wrong_types")
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: MNFLinear(0), ValueError, "`output_size` must be an integer of at least 1; got"),
        (lambda: MeanFieldLinear(-1), ValueError, "`output_size` must be an integer of at least"),
        (lambda: DeterministicLinear(1.5), ValueError, "`output_size` must be an integer"),
        (lambda: MNFLinear(2, prior_scale=0.0), ValueError, "`prior_scale` must be a finite numb"),
        (lambda: MNFConv2D(2, 3, initial_scale=-1.0), ValueError, "`initial_scale` must be a fin"),
        (lambda: MNFConv2D(2, (3, 3, 3)), ValueError, "`kernel_shape` must be a height and a wid"),
        (lambda: MeanFieldConv2D(2, (3, 0)), ValueError, r"`kernel_shape\[1\]` must be an integ"),
        (lambda: DeterministicConv2D(2, 3, stride=0), ValueError, "`stride` must be an integer"),
        (lambda: MNFConv2D(2, 3, padding="same"), ValueError, r"`padding` must be one of \['SAME"),
        (lambda: MNFLinear(2, q_flow=dxf.Reverse()), TypeError, "`q_flow` must be a layer, a fun"),
        (lambda: MNFLinear(2)(jnp.ones((3, 2), int)), TypeError, "`x` must be a floating-point a"),
        (lambda: MNFConv2D(2, 3)(jnp.ones((3, 2))), ValueError, "`x` must have at least 3 axes; "),
        (
            lambda: MNFLinear(2, r_flow=lambda z: distrax.Normal(0.0, 1.0))(jnp.ones((3, 2))),
            TypeError,
            "`r_flow` must return a bijector; it returned .*Use the `bijector` of a flow",
        ),
        (lambda: sample_predictions(None, None, 0, None, 0), ValueError, "`num_samples` must be"),
        (lambda: sample_predictions(None, None, "0", None), TypeError, "`key` must be a random"),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        jax.eval_shape(hk.transform(make).init, KEY)
