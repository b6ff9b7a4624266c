"""The experiment on simulation-based inference: its simulators, and a run in miniature."""

import bz2
import csv
import dataclasses
import io
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special

pytest.importorskip("tyro")
pytest.importorskip("sklearn")
pytest.importorskip("PIL")
pytest.importorskip("blackjax")

import distrax_flows as dxf
from experiments.sbi import __main__ as sbi
from experiments.sbi.mcmc import sample_posterior
from experiments.sbi.methods import sample_truncated
from experiments.sbi.mixtures import mixture_of
from experiments.sbi.references import read_reference
from experiments.sbi.settings import Settings
from experiments.sbi.tasks import TASKS

KEY = jax.random.key(0)
NUM = 20_000


def simulated(name, theta):
    """Data of a task for many copies of some parameters."""
    rows = jnp.broadcast_to(jnp.asarray(theta, jnp.float32), (NUM, len(theta)))
    return np.asarray(TASKS[name]().simulate(KEY, rows), float)


def assert_moments(x, mean, covariance):
    """Within four standard errors; those of covariances are those of Gaussians, and half more."""
    covariance = np.asarray(covariance)
    variances = np.diag(covariance)
    assert np.all(np.abs(x.mean(axis=0) - mean) < 4 * np.sqrt(variances / NUM) + 1e-6)
    error = np.sqrt((np.outer(variances, variances) + covariance**2) / NUM)
    assert np.all(np.abs(np.cov(x.T) - covariance) < 6 * error + 1e-6)


@pytest.mark.parametrize("theta", [(0.3, -0.5), (-0.2, 0.9)])
def test_two_moons(theta):
    shift = np.array([-abs(theta[0] + theta[1]), theta[1] - theta[0]]) / np.sqrt(2)
    ring = simulated("two_moons", theta) - shift - [0.25, 0]
    radius = np.linalg.norm(ring, axis=1)
    assert radius.mean() == pytest.approx(0.1, abs=4 * 0.01 / np.sqrt(NUM))
    assert radius.std() == pytest.approx(0.01, rel=0.03)
    angle = np.arctan2(ring[:, 1], ring[:, 0])
    assert np.all(np.abs(angle) <= np.pi / 2 + 1e-5)
    assert angle.std() == pytest.approx(np.pi / np.sqrt(12), rel=0.02)


def test_slcp():
    theta = np.array([0.7, -2.9, -1.0, -0.9, 0.6])
    scales, rho = theta[2:4] ** 2, np.tanh(theta[4])
    block = np.array([[1, rho], [rho, 1]]) * np.outer(scales, scales)
    assert_moments(simulated("slcp", theta), np.tile(theta[:2], 4), np.kron(np.eye(4), block))


def test_gaussians():
    theta = np.array([3.0, -7.0])
    x = simulated("gaussian_mixture", theta)
    np.testing.assert_allclose(x.mean(axis=0), theta, atol=0.03)
    np.testing.assert_allclose(x.var(axis=0), (1 + 0.01) / 2, rtol=0.05)
    # A half is narrow, in both dimensions at once.
    is_near = np.abs(x - theta) < 0.3
    assert np.mean(is_near.all(axis=1)) == pytest.approx(0.5 + 0.5 * 0.236**2, abs=0.02)
    linear = np.linspace(-1, 1, 10)
    assert_moments(simulated("gaussian_linear", linear), linear, 0.1 * np.eye(10))


@pytest.mark.slow
@pytest.mark.parametrize("theta", [(0.4, 0.125), (1.2, 0.2), (0.1, 0.15)])
def test_sir(theta):
    contact, recovery = theta

    def slope(time, state):
        new = contact * state[0] * state[1]
        return [-new, new - recovery * state[1]]

    days = 17.0 * np.arange(10)
    solved = scipy.integrate.solve_ivp(
        slope, (0, 160), [1 - 1e-6, 1e-6], t_eval=days, rtol=1e-10, atol=1e-14
    )
    share = solved.y[1]
    x = simulated("sir", theta)
    assert np.all(x == np.round(x))
    error = 4 * np.sqrt(1000 * share * (1 - share) / NUM) + 1e-3 * 1000 * share + 1e-3
    assert np.all(np.abs(x.mean(axis=0) - 1000 * share) < error)


def test_bernoulli_glm():
    """The benchmark's design matrix: a constant, and the stimulus with nine lags."""
    stimulus = np.random.RandomState(42).randn(100)
    design = np.ones((100, 10))
    for lag in range(9):
        design[:, 1 + lag] = np.append(np.zeros(lag), stimulus)[:100]
    theta = np.linspace(-1.5, 1.0, 10)
    rate = scipy.special.expit(design @ theta)
    covariance = design.T @ (rate * (1 - rate) * design.T).T
    assert_moments(simulated("bernoulli_glm", theta), design.T @ rate, covariance)


def test_prior_of_the_filter_is_smooth():
    size = 9
    difference = np.eye(size) - np.diag(np.ones(size - 1), -1)
    penalty = difference @ difference + np.diag(np.arange(size) / size) ** 0.5
    precision = np.zeros((10, 10))
    precision[0, 0], precision[1:, 1:] = 0.5, penalty.T @ penalty
    prior = TASKS["bernoulli_glm"]().prior
    x = np.asarray(prior.sample(seed=KEY, sample_shape=(NUM,)), float)
    assert_moments(x, np.zeros(10), np.linalg.inv(precision))


@pytest.mark.parametrize("name", TASKS)
def test_supports_hold_the_prior(name):
    task = TASKS[name]()
    theta, x = task.sample(KEY, 100)
    assert np.all((theta > task.support.low) & (theta < task.support.high))
    assert np.isfinite(task.prior.log_prob(theta)).all()
    assert np.isfinite(x).all()


def wheel(path, num_observations=10):
    """A wheel with posteriors of two moons, of 40 samples each."""
    rng = np.random.default_rng(0)

    def text(rows):
        file = io.StringIO()
        np.savetxt(file, rows, delimiter=",", header="a,b", comments="")
        return file.getvalue().encode()

    with zipfile.ZipFile(path, "w") as file:
        for number in range(1, 1 + num_observations):
            folder = f"sbibm/tasks/two_moons/files/num_observation_{number}"
            file.writestr(f"{folder}/observation.csv", text([[0.1 * number, 0.2]]))
            file.writestr(f"{folder}/true_parameters.csv", text([[0.5, 0.25]]))
            samples = bz2.compress(text(rng.uniform(-1, 1, (40, 2))))
            file.writestr(f"{folder}/reference_posterior_samples.csv.bz2", samples)
    return path


def test_references_are_read(tmp_path):
    path = wheel(tmp_path / "sbibm.whl", 2)
    reference = read_reference(path, "two_moons", 2)
    np.testing.assert_allclose(reference.observation, [0.2, 0.2])
    np.testing.assert_allclose(reference.parameters, [0.5, 0.25])
    assert reference.posterior.shape == (40, 2)
    with pytest.raises(ValueError, match="must hold sbibm/tasks/two_moons/files/num_observation_3"):
        read_reference(path, "two_moons", 3)
    with pytest.raises(ValueError, match=r"`wheel` must be a file, .* `pip download"):
        read_reference(tmp_path / "none.whl", "two_moons", 1)


def test_mixture():
    """The density is the mean of the members', and so is the mean of the samples."""
    flow = dxf.transform(
        lambda context: dxf.flows.maf(2, num_layers=1, context=context, standardize=True)
    )
    x = jax.random.normal(KEY, (100, 2))
    # Standardisation moves the two members to 0 and 50.
    params = [flow.init(KEY, x + shift, x) for shift in (0.0, 50.0)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
    mixture = mixture_of(flow, stacked)
    members = np.stack([flow.log_prob(p, x, x) for p in params])
    np.testing.assert_allclose(
        mixture.log_prob({}, x, x), np.logaddexp(*members) - np.log(2), rtol=1e-5
    )
    samples = mixture.sample({}, KEY, (1_000,), x)
    assert samples.shape == (1_000, 100, 2)
    assert np.mean(samples > 25) == pytest.approx(0.5, abs=0.02)
    assert np.all((samples > 25).all(axis=-1) == (samples > 25).any(axis=-1))  # of one member


@pytest.mark.slow
def test_chains_find_both_modes():
    """Parameters of the task up to a sign: |theta_1 + theta_2| is the first datum."""
    task = TASKS["two_moons"]()

    def log_likelihood(theta):
        return -0.5 * jnp.sum(((jnp.abs(theta) - jnp.array([0.5, 0.2])) / 0.05) ** 2, axis=-1)

    settings = Settings(num_chains=200, num_warmup=100, num_burn_in=5)
    samples = np.asarray(sample_posterior(KEY, 2_000, task, log_likelihood, settings))
    assert samples.shape == (2_000, 2)
    np.testing.assert_allclose(np.abs(samples).mean(axis=0), [0.5, 0.2], atol=0.01)
    np.testing.assert_allclose(np.abs(samples).std(axis=0), 0.05, rtol=0.15)
    assert np.mean(samples > 0, axis=0) == pytest.approx(0.5, abs=0.12)


def test_truncated_prior():
    task = TASKS["two_moons"]()
    inside = sample_truncated(KEY, 500, task, lambda theta: theta[:, 0] > 0.5)
    assert inside.shape == (500, 2)
    assert np.all((inside[:, 0] > 0.5) & (inside[:, 0] < 1))
    assert inside[:, 0].mean() == pytest.approx(0.75, abs=0.03)


@pytest.mark.slow
def test_sbi(tmp_path, capsys, monkeypatch):
    settings = Settings(quick=True, output=tmp_path / "output", wheel=wheel(tmp_path / "a.whl"))
    sbi.main(settings)
    rows = rows_of(settings.output / "results.csv")
    assert [row["observation"] for row in rows] == [str(n) for n in range(1, 11)]
    assert all(0.3 < float(row["c2st"]) <= 1 for row in rows)
    assert len({row["fit_seconds"] for row in rows}) == 1  # all observations share a fit
    (row,) = rows_of(settings.output / "calibration.csv")
    assert all(0 <= float(row[name]) <= 1 for name in ("p_coordinates", "p_hpd", "p_tarp"))
    for name in ("posteriors_npe.png", "calibration.png"):
        assert 0 < (settings.output / name).stat().st_size < 300_000
    assert "published NPE" in capsys.readouterr().out

    # Nothing is fitted again.
    monkeypatch.setattr(sbi, "score", lambda row, **_: pytest.fail(f"fitted again: {row}"))
    monkeypatch.setattr(sbi, "calibrate", lambda row, **_: pytest.fail(f"fitted again: {row}"))
    sbi.main(Settings(quick=True, resume=True, output=settings.output, wheel=settings.wheel))


@pytest.mark.slow
def test_other_methods(tmp_path, capsys):
    settings = Settings(
        quick=True,
        tasks=("two_moons", "sir"),
        methods=("nle",),
        observations=(2,),
        output=tmp_path,
        wheel=wheel(tmp_path / "a.whl"),
    )
    sbi.main(settings)
    assert "No likelihoods of sir: their data are discrete." in capsys.readouterr().out
    rounds = dataclasses.replace(settings, tasks=("two_moons",), methods=("tsnpe",), resume=True)
    sbi.main(rounds)
    rows = rows_of(tmp_path / "results.csv")
    assert [(r["task"], r["method"], r["observation"]) for r in rows] == [
        ("two_moons", "nle", "2"),
        ("two_moons", "tsnpe", "2"),
    ]
    assert not (tmp_path / "calibration.csv").exists()  # that of npe


def rows_of(path):
    """The rows of a table."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_the_experiment_refuses(tmp_path):
    with pytest.raises(ValueError, match="`tasks` must be one of"):
        sbi.main(Settings(tasks=("three_moons",), output=tmp_path))
    with pytest.raises(ValueError, match="`methods` must be one of"):
        sbi.main(Settings(methods=("abc",), output=tmp_path))
    with pytest.raises(ValueError, match="`num_simulations` must be at least 20"):
        sbi.main(Settings(num_simulations=10, output=tmp_path))
