"""Reverse KL finds the density and its normaliser; its gradients, its mixture, its annealing."""

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import distrax_flows as dxf
from distrax_flows.diagnostics import evidence
from distrax_flows.modules import Learned
from distrax_flows.training import ReverseKL, Target

KEY = jax.random.key(0)
MEAN, SCALE = np.array([1.0, -2.0], np.float32), np.array([0.5, 3.0], np.float32)
LOG_Z = float(np.log(2 * np.pi * SCALE.prod()))


def log_density(x):
    """A Gaussian that is not normalised: its integral is exp(LOG_Z)."""
    return -0.5 * jnp.sum(((x - MEAN) / SCALE) ** 2, axis=-1)


def gaussian_flow():
    def layer(x):
        shift = hk.get_parameter("shift", x.shape[-1:], init=jnp.zeros)
        log_scale = hk.get_parameter("log_scale", x.shape[-1:], init=jnp.zeros)
        return distrax.Chain([dxf.Shift(shift), dxf.Scale(log_scale)])

    base = distrax.Independent(distrax.Normal(jnp.zeros(2), jnp.ones(2)), 1)
    return distrax.Transformed(base, Learned(layer))


FLOW = dxf.transform(gaussian_flow)
EXACT = {"~": {"shift": jnp.asarray(MEAN), "log_scale": jnp.log(SCALE)}}
OPTIMIZER = optax.adam(optax.cosine_decay_schedule(0.05, 500))
OPTIONS = {"key": KEY, "num_steps": 500, "num_samples": 64, "optimizer": OPTIMIZER}


@pytest.mark.parametrize("path_gradient", [True, False])
def test_finds_the_density_and_its_normaliser(path_gradient):
    fitted = dxf.fit_to_density(FLOW, log_density, divergence=ReverseKL(path_gradient), **OPTIONS)
    found = evidence(FLOW, fitted.params, log_density, key=KEY)
    # With the path gradient nothing is left of the noise at the optimum.
    tolerance = 1e-5 if path_gradient else 3e-2
    np.testing.assert_allclose(found.log_z, LOG_Z, atol=tolerance)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=10 * tolerance), fitted.params, EXACT
    )
    np.testing.assert_allclose(fitted.history.loss[-50:].mean(), -LOG_Z, atol=0.3)


def test_both_gradients_are_those_of_the_divergence():
    params = {"~": {"shift": jnp.array([0.3, -0.2]), "log_scale": jnp.array([0.2, -0.1])}}

    def exact(params):
        shift, log_scale = params["~"]["shift"], params["~"]["log_scale"]
        energy = 0.5 * (jnp.exp(2 * log_scale) + (shift - MEAN) ** 2) / SCALE**2
        return energy.sum() - log_scale.sum()

    expected = jax.grad(exact)(params)
    for path_gradient in (True, False):
        target = Target(log_density, None, 200_000)
        divergence = ReverseKL(path_gradient)
        actual = jax.grad(lambda p: divergence(FLOW, p, target, KEY))(params)  # noqa: B023
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=0.05), actual, expected)
    # At the optimum the path gradient vanishes for each draw.
    target = Target(log_density, None, 3)
    gradient = jax.grad(lambda p: ReverseKL()(FLOW, p, target, KEY))(EXACT)
    jax.tree.map(lambda g: np.testing.assert_allclose(g, 0.0, atol=1e-5), gradient)


def two_modes(x):
    """Two narrow modes at -3 and 3 in the first dimension, log Z = log(2 pi 0.25)."""
    centres = jnp.array([[-3.0, 0.0], [3.0, 0.0]])
    logs = -0.5 * jnp.sum(((x[..., None, :] - centres) / 0.5) ** 2, axis=-1)
    return jax.nn.logsumexp(logs, axis=-1) - jnp.log(2.0)


def test_a_mixture_of_both_divergences_keeps_every_mode():
    def draw(key):
        key_1, key_2 = jax.random.split(key)
        side = jnp.sign(jax.random.normal(key_1, (64, 1))) * jnp.array([3.0, 0.0])
        return side + 0.5 * jax.random.normal(key_2, (64, 2))

    # A Gaussian cannot fit both: reverse KL takes one, forward KL the span of both.
    start = {"~": {"shift": jnp.array([1.0, 0.0]), "log_scale": jnp.zeros(2)}}
    options = OPTIONS | {"params": start}
    reverse = dxf.fit_to_density(FLOW, two_modes, **options)
    mixed = dxf.fit_to_density(FLOW, two_modes, data=draw, forward_weight=0.9, **options)
    assert abs(float(reverse.params["~"]["shift"][0])) > 2.5
    assert abs(float(mixed.params["~"]["shift"][0])) < 1.0
    assert float(mixed.params["~"]["log_scale"][0]) > 0.5
    x = draw(KEY)
    table = dxf.fit_to_density(
        FLOW, two_modes, data=x, batch_size=32, forward_weight=0.9, **options
    )
    assert abs(float(table.params["~"]["shift"][0])) < 1.0


def test_annealing_flattens_the_density():
    # A constant temperature of 4 widens a Gaussian twice.
    fitted = dxf.fit_to_density(
        FLOW, log_density, annealing=lambda step: jnp.full(step.shape, 0.25), **OPTIONS
    )
    np.testing.assert_allclose(fitted.params["~"]["log_scale"], np.log(2 * SCALE), atol=1e-3)
    steps = []

    def schedule(step):
        steps.append(np.asarray(step))
        return jnp.minimum(1.0, 0.01 + step / 100)

    annealed = dxf.fit_to_density(FLOW, log_density, annealing=schedule, **OPTIONS)
    np.testing.assert_array_equal(np.concatenate(steps), np.arange(500))
    np.testing.assert_allclose(annealed.params["~"]["shift"], MEAN, atol=1e-3)


@pytest.mark.slow
def test_several_fits_contexts_and_checkpoints(tmp_path):
    flow = dxf.transform(
        lambda context: dxf.flows.nice(2, num_layers=2, hidden_sizes=(8,), context=context)
    )
    context = jnp.array([[0.0], [1.0], [2.0]])

    def conditional(x, context):
        return -0.5 * jnp.sum((x - context) ** 2, axis=-1)

    options = OPTIONS | {"key": jax.random.split(KEY, 2), "context": context, "num_samples": 16}
    fitted = dxf.fit_to_density(flow, conditional, **options)
    assert fitted.history.loss.shape == (2, 500)
    one = jax.tree.map(lambda leaf: leaf[1], fitted.params)
    found = evidence(flow, one, conditional, key=KEY, context=context)
    assert found.log_z.shape == (3,)
    np.testing.assert_allclose(found.log_z, np.log(2 * np.pi), atol=0.05)
    assert np.all(found.ess > 5_000)

    def stop(step, params):
        if step == 250:
            raise KeyboardInterrupt

    checkpoints = {"checkpoint_dir": tmp_path, "resume": True}
    with pytest.raises(dxf.FitInterrupted):
        dxf.fit_to_density(flow, conditional, callback=stop, **options, **checkpoints)
    resumed = dxf.fit_to_density(flow, conditional, **options, **checkpoints)
    jax.tree.map(np.testing.assert_array_equal, resumed.params, fitted.params)


def test_evidence_is_importance_sampling():
    params = {"~": {"shift": jnp.array([0.8, -2.5]), "log_scale": jnp.array([-0.3, 1.3])}}
    found = evidence(FLOW, params, log_density, key=KEY, num_samples=50_000)
    x, log_q = FLOW.sample_and_log_prob(params, KEY, (50_000,))
    weights = np.exp(np.asarray(log_density(x) - log_q, float))
    np.testing.assert_allclose(found.log_z, np.log(weights.mean()), rtol=1e-4)
    np.testing.assert_allclose(found.ess, weights.sum() ** 2 / (weights**2).sum(), rtol=1e-3)
    stderr = weights.std() / weights.mean() / 50_000**0.5
    np.testing.assert_allclose(found.log_z_stderr, stderr, rtol=1e-3)
    assert abs(found.log_z - LOG_Z) < 4 * stderr
    q = distrax.MultivariateNormalDiag(params["~"]["shift"], jnp.exp(params["~"]["log_scale"]))
    p = distrax.MultivariateNormalDiag(jnp.asarray(MEAN), jnp.asarray(SCALE))
    np.testing.assert_allclose(found.kl, q.kl_divergence(p), atol=4 * found.elbo_stderr + stderr)
    # Draws outside of a support weigh nothing.
    half = evidence(
        FLOW,
        EXACT,
        lambda x: jnp.where(x[..., 0] > MEAN[0], log_density(x), -jnp.inf),
        key=KEY,
        num_samples=50_000,
    )
    np.testing.assert_allclose(half.log_z, LOG_Z - np.log(2), atol=0.02)
    np.testing.assert_allclose(half.ess, 25_000, rtol=0.03)


@pytest.mark.parametrize("offset", [1e5, -1e6, 1e6, 1e7])
def test_a_constant_of_the_density_drops_out(offset):
    params = {"~": {"shift": jnp.array([0.8, -2.5]), "log_scale": jnp.array([-0.3, 1.3])}}
    spacing = np.spacing(np.float32(abs(offset)))  # of the numbers that `log_density` can give
    offset = float(np.float32(offset))

    def rounded(x):
        return jnp.round(log_density(x) / spacing) * spacing

    exact = evidence(FLOW, params, rounded, key=KEY)
    shifted = evidence(FLOW, params, lambda x: rounded(x) + offset, key=KEY)
    for field in ("log_z_stderr", "elbo_stderr", "ess", "kl"):
        np.testing.assert_allclose(getattr(shifted, field), getattr(exact, field), rtol=1e-3)
    np.testing.assert_allclose(shifted.log_z - offset, exact.log_z, atol=spacing)
    assert 0 < shifted.ess <= 10_000
    # Where q is p, weights differ by the rounding of p alone.
    best = evidence(FLOW, EXACT, lambda x: log_density(x) + offset, key=KEY)
    variance = float(spacing) ** 2 / 12
    np.testing.assert_allclose(best.ess, 10_000 / (1 + variance), rtol=0.01)
    assert best.ess <= 10_000
    assert best.log_z_stderr <= 1.2 * np.sqrt(variance / 10_000)


def test_draws_without_weight():
    half = lambda x: jnp.where(x[..., 0] > MEAN[0], log_density(x), -jnp.inf)  # noqa: E731
    found = evidence(FLOW, EXACT, half, key=0)
    assert found.elbo == -np.inf
    assert found.elbo_stderr == found.kl == np.inf
    np.testing.assert_allclose(found.ess, 5_000, rtol=0.05)
    with pytest.warns(UserWarning, match="k-hat inf, above 0.7"):
        nothing = evidence(FLOW, EXACT, lambda x: jnp.full(x.shape[:-1], -jnp.inf), key=0)
    assert nothing.ess == 0
    assert nothing.log_z == nothing.elbo == -np.inf
    assert nothing.log_z_stderr == nothing.elbo_stderr == nothing.kl == np.inf
    lost = evidence(
        FLOW, EXACT, lambda x: jnp.where(x[..., 0] > MEAN[0], log_density(x), jnp.nan), key=0
    )
    assert all(np.isnan(value) for value in lost)


def test_evidence_is_compiled_and_seeded_alike():
    by_key = evidence(FLOW, EXACT, log_density, key=jax.random.key(3), num_samples=50)
    by_seed = evidence(FLOW, EXACT, log_density, key=3, num_samples=50)
    jitted = jax.jit(
        lambda params, key: evidence(FLOW, params, log_density, key=key, num_samples=50)
    )(EXACT, jax.random.key(3))
    jax.tree.map(np.testing.assert_array_equal, by_seed, by_key)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), jitted, by_key
    )


@pytest.mark.usefixtures("wrong_types")
@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (3.0, TypeError, "`log_density` must be a function"),
        (lambda x: log_density(x)[..., None], ValueError, r"shape \(3,\); got \(3, 1\)"),
        (lambda x: log_density(x).sum(), ValueError, r"shape \(3,\); got \(\)"),
    ],
)
def test_evidence_refuses_what_the_fit_refuses(wrong, error, message):
    with pytest.raises(error, match=message):
        evidence(FLOW, EXACT, wrong, key=KEY)
    with pytest.raises(error, match=message):
        dxf.fit_to_density(FLOW, wrong, key=KEY, num_steps=2)


@pytest.mark.usefixtures("wrong_types")
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"log_density": 3.0}, TypeError, "`log_density` must be a function"),
        ({"log_density": lambda x: x}, ValueError, r"it must give the shape \(3,\); got \(3, 2\)"),
        ({"num_samples": 0}, ValueError, "`num_samples` must be an integer of at least 1"),
        ({"forward_weight": 1.0}, ValueError, "`forward_weight` must be between 0 and 1; got"),
        ({"data": jnp.zeros((200, 2))}, ValueError, "`data` must vary in every column"),
        ({"batch_size": -3}, ValueError, "`batch_size` must be an integer of at least 1"),
        ({"patience": 3}, TypeError, "`fit_to_density` has no argument `patience`; got patience=3"),
        (
            {"data": jax.random.normal(KEY, (200, 2)).at[5].set(3e38)},
            ValueError,
            "`data` must lie in the support of the flow; 1 of 200 rows.*being row 5",
        ),
        ({"context": jnp.zeros((3, 1))}, ValueError, "`context` must be None: this flow was built"),
    ],
)
def test_refused_before_training(change, error, message):
    arguments = {"log_density": log_density, "key": KEY, "num_steps": 2} | change
    with pytest.raises(error, match=message):
        dxf.fit_to_density(FLOW, **arguments)


@pytest.mark.usefixtures("wrong_types")
def test_a_flow_with_state_is_refused():
    flow = dxf.transform_with_state(lambda: gaussian_flow())
    with pytest.raises(TypeError, match=r"`flow` must be a flow without state.*got StatefulFlow"):
        dxf.fit_to_density(flow, log_density, key=KEY)


def test_draws_outside_of_the_support_are_explained():
    def bounded(x):
        return jnp.where(jnp.abs(x[..., 0]) < 1.0, log_density(x), -jnp.inf)

    with pytest.raises(dxf.NonFiniteError) as caught:
        dxf.fit_to_density(FLOW, bounded, **OPTIONS)
    message = str(caught.value)
    assert "of 64 samples have a log-density under `log_density` that is not finite" in message
    assert "with -inf" in message
    assert "The output of every layer is finite" in message
    assert "Give the flow the support of the density" in message


@pytest.mark.slow
@pytest.mark.parametrize("resample", [False, True])
def test_annealing_improves_the_weights(resample):
    params = {"~": {"shift": jnp.array([0.7, -2.4]), "log_scale": jnp.array([-0.2, 0.6])}}
    annealing = dxf.Annealing(4, 3, resample)
    plain = evidence(FLOW, params, log_density, key=KEY, num_samples=900)
    found = evidence(
        FLOW, params, log_density, key=KEY, num_samples=900, annealing=annealing, batch_size=300
    )
    for estimate in (plain, found):
        assert abs(estimate.log_z - LOG_Z) < 4 * estimate.log_z_stderr
    assert found.ess > 1.2 * plain.ess
    assert found.elbo < found.log_z
    assert plain.elbo < found.elbo
    with_constant = evidence(
        FLOW,
        params,
        lambda x: log_density(x) + 1e4,
        key=KEY,
        num_samples=900,
        annealing=annealing,
        batch_size=300,
    )
    np.testing.assert_allclose(with_constant.log_z - 1e4, found.log_z, atol=0.02)
