"""The experiment on MCMC: its targets, its effective sample sizes, and a run in miniature."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from jax.tree_util import Partial
from scipy import stats

pytest.importorskip("tyro")
pytest.importorskip("blackjax")
pytest.importorskip("sklearn")
pytest.importorskip("PIL")

from sklearn.datasets import load_breast_cancer

from experiments.mcmc import __main__ as mcmc
from experiments.mcmc.sampling import bulk_ess, r_hat, run_nuts
from experiments.mcmc.settings import Settings
from experiments.mcmc.targets import TARGETS

KEY = jax.random.key(0)


def test_banana():
    target = TARGETS["banana"]()
    x = np.asarray(target.sample(KEY, 100_000))
    np.testing.assert_allclose(x.mean(axis=0), target.moments.mean, atol=0.03)
    np.testing.assert_allclose(x.std(axis=0), target.moments.scale, rtol=0.02)


def test_funnel():
    target = TARGETS["funnel"]()
    x = np.asarray(target.sample(KEY, 100_000), float)
    v, rest = x[:, 0], x[:, 1:]
    assert target.scored == (0,)
    assert v.mean() == pytest.approx(target.moments.mean.item(), abs=0.04)
    assert v.std() == pytest.approx(target.moments.scale.item(), rel=0.01)
    np.testing.assert_allclose((rest / np.exp(v / 2)[:, None]).std(axis=0), 1, rtol=0.01)
    expected = stats.norm.logpdf(v[:50], 0, 3)
    expected += stats.norm.logpdf(rest[:50], 0, np.exp(v[:50] / 2)[:, None]).sum(axis=1)
    np.testing.assert_allclose(target.log_density(jnp.asarray(x[:50])), expected, rtol=1e-5)


def test_eight_schools():
    target = TARGETS["eight_schools"]()
    y, s = [28, 8, -3, 7, -1, 1, 18, 12], [15, 10, 16, 11, 9, 11, 10, 18]
    log_tau, mu, theta = 0.7, 4.0, np.linspace(-3, 9, 8)
    tau = np.exp(log_tau)
    expected = (
        stats.norm.logpdf(mu, 0, 5)
        + stats.halfcauchy.logpdf(tau, scale=5)
        + log_tau
        + stats.norm.logpdf(theta, mu, tau).sum()
        + stats.norm.logpdf(y, theta, s).sum()
    )
    x = jnp.array([log_tau, mu, *theta])
    assert float(target.log_density(x)) == pytest.approx(expected, rel=1e-5)
    # The reference samples effects in units of tau.
    z = jnp.array([log_tau, mu, *(theta - mu) / tau])
    found, log_det = target.straighten(z)
    np.testing.assert_allclose(found, x, rtol=1e-5)
    jacobian = jax.jacfwd(lambda z: target.straighten(z)[0])(z)
    assert float(log_det) == pytest.approx(float(jnp.linalg.slogdet(jacobian)[1]), rel=1e-5)


def test_logistic():
    target = TARGETS["logistic"]()
    features, labels = load_breast_cancer(return_X_y=True)
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    design = np.insert(features, 0, 1, axis=1)
    weights = np.random.default_rng(0).normal(size=31)
    logits = design @ weights
    expected = stats.norm.logpdf(weights).sum() + np.sum(
        labels * logits - np.log1p(np.exp(-np.abs(logits))) - np.maximum(logits, 0)
    )
    gradient = design.T @ (labels - scipy.special.expit(logits)) - weights
    value, found = jax.value_and_grad(target.log_density)(jnp.asarray(weights, jnp.float32))
    assert float(value) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(found, gradient, atol=1e-3)


@pytest.mark.parametrize("name", TARGETS)
def test_targets_take_batches(name):
    target = TARGETS[name]()
    x = jax.random.normal(KEY, (3, 2, target.size))
    each = jax.vmap(jax.vmap(target.log_density))(x)
    np.testing.assert_allclose(target.log_density(x), each, rtol=1e-4)


@pytest.mark.slow
def test_effective_sample_sizes():
    """Of an autoregression with coefficient a, N (1 - a) / (1 + a); of a Cauchy, too."""
    num, a = 20_000, np.array([0.0, 0.5, 0.9])
    noise = np.random.default_rng(0).normal(size=(4, num, 3)) * np.sqrt(1 - a**2)
    x = np.zeros((4, num, 3))
    for i in range(1, num):
        x[:, i] = a * x[:, i - 1] + noise[:, i]
    expected = 4 * num * (1 - a) / (1 + a)
    np.testing.assert_allclose(bulk_ess(x), expected, rtol=0.1)
    cauchy = np.tan(np.pi * (stats.norm.cdf(x) - 0.5))
    np.testing.assert_allclose(bulk_ess(cauchy), expected, rtol=0.1)
    assert bulk_ess(x[..., :1]).shape == (1,)
    assert r_hat(x) < 1.01
    x[0] += 3
    assert r_hat(x) > 1.3


@pytest.mark.slow
def test_nuts_samples_a_gaussian():
    chains = run_nuts(
        Partial(lambda scale, x: -0.5 * jnp.sum((x / scale) ** 2), jnp.array([1.0, 10.0])),
        jnp.ones((4, 2)),
        KEY,
        num_warmup=300,
        num_draws=500,
    )
    assert chains.samples.shape == (4, 500, 2)
    assert chains.num_divergent == 0
    assert chains.gradients >= 2_000
    assert chains.warmup_gradients >= 1_200
    np.testing.assert_allclose(chains.samples.std(axis=(0, 1)), [1, 10], rtol=0.15)


@pytest.mark.slow
def test_mcmc(tmp_path, capsys, monkeypatch):
    settings = Settings(quick=True, targets=("eight_schools",), output=tmp_path)
    mcmc.main(settings)
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["target"], row["method"]) for row in rows] == [
        ("eight_schools", "reference"),
        *((target, method) for target in settings.targets for method in settings.methods),
    ]
    for row in rows:
        assert 0 < float(row["min_ess"]) == min(float(row["ess"]), float(row["ess_squares"]))
        assert float(row["ess_per_1000"]) > float(row["ess_per_1000_all"]) > 0
        assert (row["mean_error"] == "") == (row["method"] == "reference")
        assert (row["fit_gradients"] == "6400") == (row["method"] == "neutra")
        assert (int(row["fit_gradients"] or 0) > 6_400) == (row["method"] == "adapted")
    for name in ("samples.png", "ess.png"):
        assert 0 < (tmp_path / name).stat().st_size < 300_000
    assert "eight_schools, neutra" in capsys.readouterr().out

    # Nothing is sampled again.
    monkeypatch.setattr(mcmc, "sample", lambda row, **_: pytest.fail(f"sampled again: {row}"))
    mcmc.main(Settings(quick=True, resume=True, targets=settings.targets, output=tmp_path))


def test_what_the_experiment_refuses(tmp_path):
    with pytest.raises(ValueError, match="`targets` must be one of"):
        mcmc.main(Settings(targets=("apple",), output=tmp_path))
    with pytest.raises(ValueError, match="`num_chains` must be at least 2"):
        mcmc.main(Settings(num_chains=1, output=tmp_path))
