"""Log-variance and FAB: their gradients, what they cover, their memory, their refusals."""

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_fit_to_density import EXACT, FLOW, KEY, LOG_Z, OPTIONS, log_density, two_modes

import distrax_flows as dxf
from distrax_flows import Annealing
from distrax_flows.diagnostics import evidence
from distrax_flows.training import FAB, LogVariance, ReverseKL, Target

SMALL = FAB(num_new=64, num_replays=4, buffer_size=512, annealing=Annealing(2, 3))


def test_log_variance_has_the_gradient_of_reverse_kl():
    params = {"~": {"shift": jnp.array([0.9, -1.8]), "log_scale": jnp.array([-0.6, 1.0])}}
    target = Target(log_density, None, 200_000)
    gradients = [
        jax.jit(jax.grad(lambda p, d=divergence: d(FLOW, p, target, KEY)))(params)
        for divergence in (LogVariance(), ReverseKL(path_gradient=False))
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=0.05), *gradients)
    target = Target(log_density, None, 3)
    gradient = jax.grad(lambda p: LogVariance()(FLOW, p, target, KEY))(EXACT)
    jax.tree.map(lambda g: np.testing.assert_allclose(g, 0.0, atol=1e-5), gradient)


@pytest.mark.parametrize("divergence", [LogVariance(), SMALL], ids=["log_variance", "fab"])
def test_finds_the_density_and_its_normaliser(divergence):
    fitted = dxf.fit_to_density(FLOW, log_density, divergence=divergence, **OPTIONS)
    found = evidence(FLOW, fitted.params, log_density, key=KEY)
    np.testing.assert_allclose(found.log_z, LOG_Z, atol=5e-3)
    assert found.kl < 5e-3
    if divergence is SMALL:
        ess = fitted.history.extras["ess"]
        assert ess[-50:].mean() > 0.95 > 0.5 > ess[:10].mean()


def test_fab_covers_both_modes_of_which_reverse_kl_takes_one():
    start = {"~": {"shift": jnp.array([1.0, 0.0]), "log_scale": jnp.zeros(2)}}
    options = OPTIONS | {"params": start}
    reverse = dxf.fit_to_density(FLOW, two_modes, **options)
    covering = dxf.fit_to_density(FLOW, two_modes, divergence=SMALL, **options)
    assert abs(float(reverse.params["~"]["shift"][0])) > 2.5
    # The Gaussian whose moments are those of p^2 / q, of which each mode has its own Gaussian.
    np.testing.assert_allclose(covering.params["~"]["shift"], 0.0, atol=0.3)
    scale = np.exp(covering.params["~"]["log_scale"])
    np.testing.assert_allclose(scale, best_scale(), rtol=0.1)


def best_scale():
    """Scale of each dimension at which a centred Gaussian minimises E_p[p / q], by quadrature."""
    grid = np.linspace(-8, 8, 801)
    across = np.exp(-0.5 * ((grid[:, None] - [-3.0, 3.0]) / 0.5) ** 2).sum(-1)
    scales = np.linspace(0.4, 5, 2_000)
    log_q = -0.5 * (grid / scales[:, None]) ** 2 - np.log(scales)[:, None]
    along = np.exp(-0.5 * (grid / 0.5) ** 2)
    return [scales[np.argmin((p**2 / np.exp(log_q)).sum(-1))] for p in (across, along)]


@pytest.mark.slow
def test_fab_takes_contexts_several_fits_and_checkpoints(tmp_path):
    flow = dxf.transform(
        lambda context: dxf.flows.nice(2, num_layers=2, hidden_sizes=(8,), context=context)
    )
    context = jnp.array([[0.0], [1.0], [2.0]])

    def conditional(x, context):
        return -0.5 * jnp.sum((x - context) ** 2, axis=-1)

    options = OPTIONS | {"key": jax.random.split(KEY, 2), "context": context, "num_samples": 16}
    options["divergence"] = SMALL
    fitted = dxf.fit_to_density(flow, conditional, **options)
    for fit in range(2):
        one = jax.tree.map(lambda leaf: leaf[fit], fitted.params)  # noqa: B023
        found = evidence(flow, one, conditional, key=KEY, context=context)
        np.testing.assert_allclose(found.log_z, np.log(2 * np.pi), atol=0.05)

    def stop(step, params):
        if step == 250:
            raise KeyboardInterrupt

    # The buffer is part of a checkpoint.
    checkpoints = {"checkpoint_dir": tmp_path, "resume": True}
    with pytest.raises(dxf.FitInterrupted):
        dxf.fit_to_density(flow, conditional, callback=stop, **options, **checkpoints)
    resumed = dxf.fit_to_density(flow, conditional, **options, **checkpoints)
    jax.tree.map(np.testing.assert_array_equal, resumed.params, fitted.params)


def test_your_own_divergence_may_keep_a_memory():
    class Counted:
        def start(self, flow, params, target, key):
            return jnp.zeros(())

        def __call__(self, flow, params, target, key):
            loss = ReverseKL()(flow, params, target, key)
            count = target.memory + 1
            return dxf.training.Loss(loss, extras={"count": count}, memory=count)

    fitted = dxf.fit_to_density(
        FLOW, log_density, divergence=Counted(), **OPTIONS | {"num_steps": 7}
    )
    np.testing.assert_array_equal(fitted.history.extras["count"], np.arange(1, 8))


INTEGERS = dxf.transform(
    lambda: dxf.flows.nsf_coupling(
        2,
        num_layers=1,
        hidden_sizes=(4,),
        support=[dxf.supports.integer(0, 9), dxf.supports.real()],
    )
)


@pytest.mark.slow
def test_integers_have_no_gradients_of_samples():
    def binomial(x):
        k = x[..., 0]
        log_k = jax.scipy.stats.binom.logpmf(k, 9, 0.3)
        return log_k + jax.scipy.stats.norm.logpdf(x[..., 1])

    for divergence in (ReverseKL(), SMALL):
        with pytest.raises(ValueError, match="must have no dimensions of integers"):
            dxf.fit_to_density(INTEGERS, binomial, divergence=divergence, key=0, num_steps=2)
    fitted = dxf.fit_to_density(
        INTEGERS, binomial, divergence=LogVariance(), key=0, num_steps=10, num_samples=32
    )
    found = evidence(INTEGERS, fitted.params, binomial, key=1, num_samples=2_000)
    assert abs(found.log_z) < 5 * found.log_z_stderr


def test_a_buffer_without_weights_is_an_error():
    with pytest.raises(dxf.NonFiniteError, match="not finite"):
        dxf.fit_to_density(
            FLOW,
            lambda x: jnp.where(x[..., 0] > 50, 0.0, -jnp.inf),
            divergence=SMALL,
            **OPTIONS | {"num_steps": 10},
        )


def test_the_path_gradient_needs_exact_densities():
    def normal(loc, scale):
        return distrax.Independent(distrax.Normal(loc, scale * jnp.ones_like(loc)), 1)

    def make():
        slope = hk.get_parameter("slope", [], init=jnp.zeros)
        layer = dxf.modules.LatentVariable(
            decoder=lambda z: normal(z, 1.0), encoder=lambda x: normal(slope * x, 0.5**0.5)
        )
        return dxf.flows.Transformed(normal(jnp.zeros(1), 1.0), layer)

    flow, params = dxf.transform(make), {"~": {"slope": jnp.zeros(())}}
    exact = normal(jnp.zeros(1), 2**0.5).log_prob
    target = Target(exact, None, 20_000)
    loss, gradient = jax.value_and_grad(lambda p: ReverseKL()(flow, p, target, KEY))(params)
    assert loss > 0.4  # an upper bound of a divergence that is zero
    np.testing.assert_allclose(gradient["~"]["slope"], -2.0, atol=0.2)


@pytest.mark.usefixtures("wrong_types")
def test_refusals():
    with pytest.raises(ValueError, match=r"`annealing` must be None with FAB\("):
        dxf.fit_to_density(
            FLOW, log_density, divergence=SMALL, annealing=lambda step: 1.0 + 0 * step, **OPTIONS
        )
    with pytest.raises(TypeError, match=r"`divergence` must be one such as .*got 'fab'"):
        dxf.fit_to_density(FLOW, log_density, divergence="fab", **OPTIONS)
    with pytest.raises(ValueError, match="`buffer_size` must be at least `num_new`; got"):
        FAB(num_new=20, buffer_size=10)
    with pytest.raises(ValueError, match="`num_samples` must be at least 2 for a variance; got 1"):
        dxf.fit_to_density(
            FLOW, log_density, divergence=LogVariance(), **OPTIONS | {"num_samples": 1}
        )
    with pytest.raises(ValueError, match="`divergence` must return a memory if and only if"):
        dxf.fit_to_density(
            FLOW, log_density, divergence=lambda *_: dxf.training.Loss(0.0, memory=1.0), **OPTIONS
        )
    with pytest.raises(ValueError, match="`annealing` must not resample"):
        FAB(annealing=Annealing(2, 3, resample=True))
