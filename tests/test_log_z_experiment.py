"""The experiment on normalisers: targets against quadrature, and a quick run."""

import csv
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from test_experiments import assert_picture

from experiments.log_z import __main__ as log_z
from experiments.log_z import fits
from experiments.log_z.settings import Settings
from experiments.log_z.targets import TARGETS, eight_schools, funnel, gaussians, many_well

KEY = jax.random.key(0)


@pytest.mark.parametrize("name", TARGETS)
def test_batches_of_any_rank(name):
    target = TARGETS[name]()
    x = jax.random.normal(KEY, (2, 3, target.size))
    each = jax.vmap(jax.vmap(target.log_density))(x)
    np.testing.assert_allclose(target.log_density(x), each, rtol=1e-5)


def test_funnel():
    x = np.asarray(jax.random.normal(KEY, (5, 10)))
    expected = scipy.stats.norm.logpdf(x[:, 0], scale=3) + scipy.stats.norm.logpdf(
        x[:, 1:], scale=np.exp(x[:, :1] / 2)
    ).sum(-1)
    np.testing.assert_allclose(funnel().log_density(x), expected, rtol=1e-5)


def test_many_well():
    def density(a):
        log_density = many_well().log_density(jnp.zeros(32).at[0].set(a))
        return np.exp(float(log_density))

    one_well = scipy.integrate.quad(density, -4, 4, epsrel=1e-6)[0] * np.sqrt(2 * np.pi)
    np.testing.assert_allclose(16 * np.log(one_well), many_well().log_z, atol=1e-3)
    assert many_well().count_modes(np.full((3, 32), 1.7)) == 1
    both = np.concatenate([np.full((3, 32), 1.7), np.full((3, 32), -1.7)])
    assert many_well().count_modes(both) == 2


def test_gaussians():
    axis = np.linspace(-50, 50, 401)
    points = np.stack(np.meshgrid(axis, axis), axis=-1)
    density = np.exp(np.asarray(gaussians().log_density(points)))
    np.testing.assert_allclose(density.sum() * (axis[1] - axis[0]) ** 2, 1.0, rtol=1e-4)
    modes = gaussians().modes
    assert gaussians().count_modes(modes) == 40
    assert gaussians().count_modes(modes[:7] + 100.0) == 0


@pytest.mark.slow
def test_eight_schools():
    target, y, stderr = (
        eight_schools(),
        np.array([28, 8, -3, 7, -1, 1, 18, 12.0]),
        np.array([15, 10, 16, 11, 9, 11, 10, 18.0]),
    )

    def log_marginal(mu, log_tau):
        """Without eta, which is Gaussian given the others."""
        tau = np.exp(log_tau)
        log_prior = scipy.stats.norm.logpdf(mu, scale=5) + scipy.stats.halfcauchy.logpdf(
            tau, scale=5
        )
        scales = np.sqrt(tau[..., None] ** 2 + stderr**2)
        return log_prior + log_tau + scipy.stats.norm.logpdf(y, mu[..., None], scales).sum(-1)

    mu, log_tau = np.array([1.0, -4.0, 8.0]), np.array([0.3, 2.0, -1.0])
    tau, eta = np.exp(log_tau)[:, None], np.random.default_rng(0).normal(size=(3, 8))
    variance = 1 / (1 + tau**2 / stderr**2)
    mean = variance * tau * (y - mu[:, None]) / stderr**2
    log_eta = scipy.stats.norm.logpdf(eta, mean, np.sqrt(variance)).sum(-1)
    x = np.concatenate([mu[:, None], log_tau[:, None], eta], axis=-1)
    expected = log_marginal(mu, log_tau) + log_eta
    np.testing.assert_allclose(target.log_density(x), expected, rtol=1e-5)
    grid = np.meshgrid(np.linspace(-30, 30, 601), np.linspace(-20, 9, 2_901), indexing="ij")
    total = np.exp(log_marginal(*grid)).sum() * 0.1 * 0.01
    np.testing.assert_allclose(np.log(total), target.log_z, atol=1e-3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The weights have k-hat")
def test_log_z(tmp_path, monkeypatch, capsys):
    settings = Settings(quick=True, output=tmp_path)
    log_z.main(settings)
    written = (tmp_path / "results.csv").read_text()
    rows = list(csv.DictReader(written.splitlines()))
    assert [row["target"] for row in rows] == ["gaussians"]
    assert 0 < float(rows[0]["ess"]) <= 1
    assert 1 <= int(rows[0]["modes"]) <= 40
    assert abs(float(rows[0]["log_z_bias"])) <= float(rows[0]["log_z_error"])
    assert "gaussians" in capsys.readouterr().out
    assert_picture(tmp_path / "samples.png")

    def no_fit(*args, **kwargs):
        raise AssertionError("a finished fit is done again")

    monkeypatch.setattr(fits.dxf, "fit_to_density", no_fit)
    log_z.main(dataclasses.replace(settings, resume=True))
    assert (tmp_path / "results.csv").read_text() == written
