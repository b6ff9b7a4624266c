"""Posteriors by conditional flows: the exact ones, the scores, and the experiment in miniature."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("tyro")
Image = pytest.importorskip("PIL.Image")

from experiments._table import Finished  # noqa: E402
from experiments.hint import __main__ as hint  # noqa: E402
from experiments.hint.models import make_models  # noqa: E402
from experiments.hint.pictures import draw_gaussian  # noqa: E402
from experiments.hint.problems import PROBLEMS, chord, gaussian  # noqa: E402
from experiments.hint.scores import LEVELS, Estimate, Scored, exact, score  # noqa: E402
from experiments.hint.settings import Settings  # noqa: E402

EACH = pytest.mark.parametrize(
    "problem", [make() for make in PROBLEMS.values()], ids=list(PROBLEMS)
)


def log_mixture(x, centers, covariance):
    """Log-density of an equal mixture of Gaussians, in float64."""
    away = np.asarray(x, np.float64)[:, None] - centers
    exponent = -0.5 * np.einsum("nmd,de,nme->nm", away, np.linalg.inv(covariance), away)
    log_det = np.linalg.slogdet(2 * np.pi * covariance)[1]
    return np.log(np.exp(exponent).mean(axis=1)) - 0.5 * log_det


@EACH
def test_posterior_is_that_of_bayes(problem):
    x, y = problem.draw(jax.random.key(0), 200)
    matrix, variance = problem.matrix, problem.noise**2
    noise = variance * np.eye(problem.context_size)
    prior = problem.scale**2 * np.eye(problem.event_size)
    centers = problem.centers
    evidence = log_mixture(y, centers @ matrix.T, matrix @ prior @ matrix.T + noise)
    likelihood = log_mixture(y - np.asarray(x) @ matrix.T, np.zeros((1, len(matrix))), noise)
    expected = log_mixture(x, centers, prior) + likelihood - evidence
    np.testing.assert_allclose(problem.posterior(y).log_prob(x), expected, atol=1e-3)


@EACH
def test_posterior_draws_and_moments(problem):
    _, y = problem.draw(jax.random.key(1), 2)
    posterior = problem.posterior(y)
    draws = np.asarray(posterior.sample(jax.random.key(2), 50_000), np.float64)
    mean, covariance = posterior.moments()
    assert draws.shape == (50_000, 2, problem.event_size)
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=0.03)
    for n in range(2):
        np.testing.assert_allclose(np.cov(draws[:, n].T), covariance[n], atol=0.04)


def test_marginal_of_the_posterior():
    problem = chord()
    posterior = problem.posterior(jnp.array([-1.0, 0.6]))
    side = np.linspace(-4, 4, 100)
    points = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2).astype(np.float32)
    density = np.exp(posterior.first(2).log_prob(points)) * (side[1] - side[0]) ** 2
    assert density.sum() == pytest.approx(1, abs=1e-3)
    mean, covariance = posterior.moments()
    np.testing.assert_allclose(density @ points, mean[:2], atol=1e-3)
    second = np.einsum("n,nd,ne->de", density, points, points) - np.outer(mean[:2], mean[:2])
    np.testing.assert_allclose(second, covariance[:2, :2], atol=1e-2)


@pytest.mark.slow
def test_score_of_a_posterior_wrong_by_a_known_amount():
    """Half a deviation off in every whitened direction, and twice as wide."""
    problem = gaussian()
    true, size = exact(problem), problem.event_size

    def whitened(x, y):
        posterior = problem.posterior(y)
        inverse = jnp.linalg.inv(posterior.factor)
        return (x - posterior.moments()[0]) @ inverse.T, jnp.log(jnp.diagonal(inverse)).sum()

    def log_prob(x, y):
        z, log_det = whitened(x, y)
        exponent = -0.5 * jnp.square((z - 0.5) / 2).sum(axis=-1)
        return exponent + log_det - size * (jnp.log(2.0) + 0.5 * jnp.log(2 * jnp.pi))

    def sample(key, num, y):
        posterior = problem.posterior(y)
        z = 0.5 + 2 * jax.random.normal(key, (num, len(y), size))
        return posterior.moments()[0] + z @ posterior.factor.T

    settings = Settings(num_pairs=50_000, num_observations=4_000, num_draws=99)
    scored = score(problem, true, Estimate(log_prob, sample), jax.random.key(0), settings)
    divergence = size * (np.log(2) + (1 + 0.25) / 8 - 0.5)
    assert scored.errors["kl"] == pytest.approx(divergence, abs=5 * scored.errors["kl_stderr"])
    assert scored.errors["mean_error"] == pytest.approx(0.5, abs=0.01)
    assert scored.errors["cov_error"] == pytest.approx(3, abs=0.05)
    assert scored.coverage[4] > LEVELS[4] + 0.15  # too wide

    scored = score(problem, true, true, jax.random.key(0), settings)
    assert scored.errors["kl"] == 0
    assert scored.errors["mean_error"] < 0.02
    assert scored.errors["cov_error"] < 0.05
    assert np.abs(scored.coverage - LEVELS).max() < 0.02


@pytest.mark.slow
@EACH
@pytest.mark.parametrize("num_layers", [2, 8])
def test_equal_numbers_of_parameters(problem, num_layers):
    counts = [model.num_params for model in make_models(problem, num_layers, 64).values()]
    assert len(counts) == 3
    assert max(counts) < 1.03 * min(counts)


@pytest.mark.slow
def test_hint(tmp_path):
    hint.main(Settings(problems=("chord",), quick=True, output=tmp_path))
    for name in ("chord", "calibration"):
        assert_picture(tmp_path / f"{name}.png")
    with (tmp_path / "results.csv").open(newline="") as file:
        exactly, *flows = csv.DictReader(file)
    assert exactly["posterior"] == "exact"
    assert float(exactly["kl"]) == 0
    assert float(exactly["calibration_error"]) < 0.03
    # What the prior, which ignores the observation, would miss.
    x, y = chord().draw(jax.random.key(5), 2_000)
    prior = log_mixture(x, chord().centers, chord().scale ** 2 * np.eye(4))
    information = (chord().posterior(y).log_prob(x) - prior).mean()
    assert [row["posterior"] for row in flows] == ["HINT", "RealNVP", "RealNVP, rotated"]
    for row in flows:
        assert 5 * float(row["kl_stderr"]) < float(row["kl"]) < 0.7 * information
        assert float(row["calibration_error"]) < 0.1


@pytest.mark.slow
def test_picture_of_the_gaussian(tmp_path):
    posterior = Finished({"posterior": "exact"}, Scored(exact(gaussian()), LEVELS))
    draw_gaussian(tmp_path / "gaussian.png", gaussian(), [posterior])
    assert_picture(tmp_path / "gaussian.png")


def assert_picture(path):
    assert 0 < path.stat().st_size < 300_000
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert min(pixels.shape[:2]) > 100
    assert pixels.std() > 10  # not blank


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_steps": 0}, "`num_steps` must be at least 1; got 0"),
        ({"num_draws": 3}, "`num_draws` must be at least 4; got 3"),
        ({"learning_rate": 0.0}, "`learning_rate` must be positive; got 0.0"),
        ({"num_layers": ()}, "`num_layers` must hold at least one value"),
        ({"num_layers": (2, 0)}, "`num_layers` must be at least 1"),
        ({"problems": ("ring",)}, r"`problems` must be one of \['gaussian', .*got 'ring'"),
        ({"seeds": ()}, "`seeds` must hold at least one value"),
    ],
)
def test_hint_refuses(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        hint.main(Settings(output=tmp_path / "new", **changes))
    assert not (tmp_path / "new").exists()
