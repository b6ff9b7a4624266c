"""Events of any rank: scalars, vectors, matrices, images."""

import functools
import os
import subprocess
import sys

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import distrax_flows as dxf
from distrax_flows import bijectors, families, flows, modules, supports

KEY = jax.random.key(0)
SHAPE = (4, 4, 3)


class ChannelCoupling(hk.Module):
    """Scales and shifts the last two channels of an image, given the first."""

    def __call__(self, x):
        def conditioner(kept):
            images = kept.reshape(-1, *kept.shape[-3:])
            hidden = jax.nn.relu(hk.Conv2D(8, 3, name="first")(images))
            params = hk.Conv2D(4, 3, w_init=jnp.zeros, name="last")(hidden)
            return params.reshape(*kept.shape[:-1], 2, 2)

        return distrax.SplitCoupling(1, 3, conditioner, families.affine().bijector)


def image_flow():
    step = modules.compose(
        modules.ActNormLayer(), modules.LULinearLayer(), ChannelCoupling(), event_ndims=3
    )
    return flows.custom(SHAPE, step, num_layers=2)


IMAGES = dxf.transform(image_flow)
# Channels of different scales that depend on each other.
X = 5 + jax.random.normal(KEY, (300, *SHAPE)) @ jnp.array([[2.0, 1, 0], [0, 1, 0], [0, 0, 0.1]])
OPTIMIZER = optax.adam(1e-2)


@functools.cache
def fitted():
    options = {"key": KEY, "num_steps": 40, "optimizer": OPTIMIZER, "validation": 0.2}
    return dxf.fit(IMAGES, X, batch_size=50, **options)


def test_images_are_initialised_on_data_channel_by_channel():
    params = IMAGES.init(KEY, X)
    z, _ = IMAGES.inverse(params, X)
    # Of the last step before the base, rotations aside: a mean of 0, a variance of 1 per channel.
    np.testing.assert_allclose(z.mean(axis=(0, 1, 2)), 0.0, atol=1e-4)
    np.testing.assert_allclose(jnp.square(z).mean(), 1.0, atol=1e-3)


def test_images_fit_and_sample():
    history = fitted().history
    assert history.loss[-5:].mean() < history.loss[:5].mean() - 1
    x, log_prob = IMAGES.sample_and_log_prob(fitted().params, 1, (200,))
    assert x.shape == (200, *SHAPE)
    np.testing.assert_allclose(IMAGES.log_prob(fitted().params, x), log_prob, rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(x.mean(axis=(0, 1, 2)), 5.0, atol=0.2)


def test_images_are_inverted_and_log_dets_are_those_of_the_jacobian():
    params, x = fitted().params, X[:3]
    z, log_det = IMAGES.inverse(params, x)
    again, log_det_back = IMAGES.forward(params, z)
    np.testing.assert_allclose(again, x, atol=1e-4)
    np.testing.assert_allclose(log_det_back, -log_det, atol=1e-3)
    jacobian = jax.jacfwd(lambda x: IMAGES.inverse(params, x)[0].ravel())(x[0]).reshape(48, 48)
    np.testing.assert_allclose(log_det[0], np.linalg.slogdet(jacobian)[1], rtol=1e-4)


@pytest.mark.slow
def test_images_in_chunks_and_as_a_distribution():
    params = fitted().params
    whole = IMAGES.log_prob(params, X[:7].reshape(7, 1, *SHAPE))
    assert whole.shape == (7, 1)
    for batch_size in (2, 7):
        parts = IMAGES.log_prob(params, X[:7].reshape(7, 1, *SHAPE), batch_size=batch_size)
        np.testing.assert_allclose(parts, whole, rtol=1e-5)
    assert IMAGES.sample(params, KEY, (5,), batch_size=2).shape == (5, *SHAPE)
    density = IMAGES.distribution(params)
    assert (density.event_shape, density.batch_shape) == (SHAPE, ())
    assert density.sample(seed=0, sample_shape=(2, 3)).shape == (2, 3, *SHAPE)
    assert [layer.name.split(" > ")[-1] for layer in IMAGES.trace(params, X[:2])] == ["Layer"] * 2


@pytest.mark.slow
def test_images_resume_to_the_bit(tmp_path):
    options = {"key": KEY, "num_steps": 40, "optimizer": OPTIMIZER, "batch_size": 50}
    options |= {"validation": 0.2, "eval_every": 10, "checkpoint_dir": tmp_path}

    def stop(step, params):
        if step == 20:
            raise KeyboardInterrupt

    with pytest.raises(dxf.FitInterrupted):
        dxf.fit(IMAGES, X, callback=stop, **options)
    resumed = dxf.fit(IMAGES, X, resume=True, **options)
    expected = dxf.fit(IMAGES, X, **options | {"checkpoint_dir": tmp_path / "whole"})
    jax.tree.map(np.testing.assert_array_equal, resumed.params, expected.params)


@pytest.mark.slow
def test_images_on_a_mesh_are_those_of_one_device():
    flags = "--xla_force_host_platform_device_count=4 --xla_cpu_multi_thread_eigen=false"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__],
        env=os.environ | {"XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def compare_devices():
    """Fit, evaluate and sample on four devices and on one."""
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    options = {"key": KEY, "num_steps": 10, "optimizer": OPTIMIZER, "batch_size": 60}
    # 61 rows to validate on: they do not divide equally.
    one, many = (
        dxf.fit(IMAGES, X, validation=X[:61], mesh=mesh, **options) for mesh in (None, mesh)
    )
    np.testing.assert_allclose(many.history.loss, one.history.loss, rtol=1e-4)
    np.testing.assert_allclose(many.history.validation_loss, one.history.validation_loss, rtol=1e-4)
    x = IMAGES.sample(one.params, KEY, (8,), mesh=mesh)
    assert len(x.sharding.device_set) == 4
    np.testing.assert_allclose(x, IMAGES.sample(one.params, KEY, (8,)), rtol=1e-4, atol=1e-4)
    spec = jax.sharding.PartitionSpec("data")

    def log_prob(x):
        return IMAGES.log_prob(one.params, x)

    on_shards = jax.jit(jax.shard_map(log_prob, mesh=mesh, in_specs=spec, out_specs=spec))
    np.testing.assert_allclose(on_shards(X[:8]), log_prob(X[:8]), rtol=1e-4)


def test_images_survive_a_file(tmp_path):
    dxf.save(tmp_path / "images.flow", IMAGES, fitted().params)
    loaded = dxf.load(tmp_path / "images.flow")
    assert loaded.flow.event_shape == SHAPE
    np.testing.assert_array_equal(
        loaded.flow.log_prob(loaded.params, X[:3]), IMAGES.log_prob(fitted().params, X[:3])
    )


def test_scalar_events():
    spline = families.chain(families.affine(), families.spline())
    flow = dxf.transform(lambda: flows.independent((), spline, standardize=True))
    x = 1000 + 10 * jax.random.normal(KEY, (2000,))
    fit = dxf.fit(flow, x, key=KEY, num_steps=200, optimizer=OPTIMIZER)
    assert flow.event_shape == ()
    best = np.log(10) + 0.5 * np.log(2 * np.pi * np.e)
    np.testing.assert_allclose(fit.history.loss[-50:].mean(), best, atol=0.05)
    assert flow.sample(fit.params, KEY, (3, 2)).shape == (3, 2)
    assert flow.log_prob(fit.params, jnp.array(1000.0)).shape == ()
    grid = jnp.linspace(900.0, 1100.0, 2001)
    mass = jnp.exp(flow.log_prob(fit.params, grid)).sum() * 0.1
    np.testing.assert_allclose(mass, 1.0, atol=1e-3)


def test_scalars_given_a_context_on_a_support():
    def make(context):
        family = families.spline()
        return flows.independent((), family, context=context, support=supports.positive())

    flow = dxf.transform(make)
    context = jax.random.normal(KEY, (50, 3))
    params = flow.init(KEY, jnp.ones(50), context)
    x = flow.sample(params, KEY, (7,), context)
    assert x.shape == (7, 50)
    assert (x > 0).all()
    assert flow.log_prob(params, x, context).shape == (7, 50)


def test_densities_of_matrices_are_found_by_reverse_kl():
    flow = dxf.transform(lambda: flows.independent((2, 3), families.affine(), base=normal((2, 3))))

    def log_density(x):
        return -0.5 * jnp.sum(((x - jnp.arange(6.0).reshape(2, 3)) / 0.5) ** 2, axis=(-2, -1))

    optimizer = dxf.training.cosine_adam(500, 0.1)
    fit = dxf.fit_to_density(flow, log_density, key=KEY, num_steps=500, optimizer=optimizer)
    found = dxf.diagnostics.evidence(flow, fit.params, log_density, key=KEY)
    np.testing.assert_allclose(found.log_z, 3 * np.log(2 * np.pi) + 6 * np.log(0.5), atol=1e-3)


def normal(shape):
    zeros = jnp.zeros(shape)
    return distrax.Independent(distrax.Normal(zeros, zeros + 1), len(shape))


def test_base_and_data_may_have_events_of_other_shapes():
    def make():
        flat = flows.coupling(4, families.affine(), num_layers=2, hidden_sizes=(8,))
        reshape = bijectors.Reshape((4,), (2, 2))
        bijector = distrax.Chain([reshape, flat.bijector])
        return flows.Transformed(flat.distribution, bijector, event_shape=(2, 2))

    flow = dxf.transform(make)
    assert flow.event_shape == (2, 2)
    x = jax.random.normal(KEY, (100, 2, 2))
    params = flow.init(KEY, x)
    z, log_det = flow.inverse(params, x)
    assert (z.shape, log_det.shape) == ((100, 4), (100,))
    assert flow.forward(params, z, batch_size=30)[0].shape == x.shape
    assert flow.sample(params, KEY, 5).shape == (5, 2, 2)
    fit = dxf.fit(flow, x, key=KEY, num_steps=3, batch_size=50)
    assert fit.params.keys() == params.keys()
    with pytest.raises(ValueError, match=r"`z` must have shape \[\.\.\., 4\]"):
        flow.forward(params, x)


def test_event_shapes_are_known_before_any_call():
    assert IMAGES.event_shape == SHAPE
    conditional = dxf.transform(lambda context: flows.maf(3, context=context, standardize=True))
    assert conditional.event_shape == (3,)
    circles = dxf.transform(lambda: flows.realnvp(4, support=supports.circle()))
    assert circles.event_shape == (4,)
    ran = []

    def layer(x):
        ran.append(x)
        return dxf.Shift(hk.get_parameter("shift", x.shape[-1:], init=jnp.zeros))

    assert dxf.transform(lambda: flows.custom(2, layer)).event_shape == (2,)
    assert not ran


def test_contexts_of_one_size_only():
    def make(context):
        first, second = jnp.split(context, [3], axis=-1)
        embedded = first * hk.get_parameter("w", (3,), init=jnp.ones) + second
        return flows.maf(2, context=embedded)

    flow = dxf.transform(make)
    with pytest.raises(ValueError, match="`event_shape` of this flow is not known before"):
        flow.event_shape  # noqa: B018
    flow.init(KEY, jnp.zeros((4, 2)), jnp.zeros((4, 6)))
    assert flow.event_shape == (2,)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (X[:, 0], r"`data` must have shape \[N, 4, 4, 3\], .*; got data.shape=\(300, 4, 3\)"),
        (X.at[7, 1, 2, 0].set(jnp.nan), "`data` must be finite; 1 of 300 rows are not"),
        (X.at[:, 1, 2, 0].set(3.0), r"got constant columns \[\(1, 2, 0\)\], the first with the"),
        (
            2.46e6 + np.asarray(X, np.float64) / 100,
            r"keep its values apart in float32.*`data\[:, 0, 0, 0\] - ",
        ),
    ],
)
def test_bad_images_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        dxf.fit(IMAGES, data, key=KEY, num_steps=1)


def test_layers_of_events_that_are_too_large_are_refused():
    flow = dxf.transform(lambda: flows.custom((3, 2), ChannelCoupling(), num_layers=1))
    with pytest.raises(ValueError, match="`event_ndims` must be at least that of the layer's"):
        flow.init(KEY, jnp.zeros((1, 3, 2)))


def test_circles_are_for_vectors():
    flow = dxf.transform(
        lambda: flows.independent((2, 2), families.spline(), support=supports.circle())
    )
    with pytest.raises(ValueError, match="`support` must be no circle unless events are vectors"):
        flow.init(KEY, jnp.zeros((1, 2, 2)))


if __name__ == "__main__":
    compare_devices()
