"""The benchmark of spline orders in miniature, and the splines that it compares."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("tyro")

from experiments.benchmarks import spline_orders
from experiments.benchmarks.spline_orders import CANDIDATES, CubicSpline, Settings


@pytest.mark.parametrize("one", CANDIDATES, ids=lambda one: one.name)
def test_candidates(one, x64):
    """Identity at zero; derivative; inverse; whether the density has steps."""
    family = one.family(6)
    x = jnp.linspace(-7.0, 7.0, 20_001)
    identity = family.bijector(jnp.zeros(family.num_params))
    np.testing.assert_allclose(identity.forward(x), x, atol=1e-12)
    bijector = family.bijector(jax.random.normal(jax.random.key(0), (family.num_params,)))
    y, log_det = bijector.forward_and_log_det(x)
    back, inverse_log_det = bijector.inverse_and_log_det(y)
    np.testing.assert_allclose(back, x, atol=1e-8)
    inside = jnp.abs(x) < 4.99
    smooth = inside & (jnp.abs(log_det + inverse_log_det) < 1e-5)  # rounding may change the bin
    assert smooth.sum() >= inside.sum() - 6
    slope = jnp.diff(y) / jnp.diff(x)
    middle = bijector.forward_log_det_jacobian((x[1:] + x[:-1]) / 2)
    assert np.median(np.abs(jnp.log(slope) - middle)) < 1e-5
    steps = jnp.max(jnp.abs(jnp.diff(log_det[inside])))
    assert (steps > 0.1) == (one.joins == "steps")


def test_cubic_inverse_has_gradients(x64):
    params = jax.random.normal(jax.random.key(1), (12,))
    y = jnp.linspace(-4.9, 4.9, 31)
    slope = jax.vmap(jax.grad(CubicSpline(params).inverse))(y)
    log_det = CubicSpline(params).inverse_log_det_jacobian(y)
    np.testing.assert_allclose(jnp.log(slope), log_det, atol=1e-6)


def test_table(tmp_path, monkeypatch):
    monkeypatch.setattr(spline_orders, "CANDIDATES", CANDIDATES[::4])
    spline_orders.main(Settings(quick=True, output=tmp_path))
    with (tmp_path / "spline_orders.csv").open(newline="") as file:
        rows = {row["spline"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["linear", "rational-quadratic"]
    assert [int(row["params"]) for row in rows.values()] == [8, 25]
    for row in rows.values():
        assert 0 < float(row["kl_gaussian_blobs"]) < 2
        assert 0 < float(row["round_trip_1"]) < 0.01


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_bins": ()}, "`num_bins` must hold at least one"),
        ({"num_bins": (1, 8)}, "`num_bins` must be at least 2"),
        ({"num_draws": 0}, "`num_draws` must be at least 1; got 0"),
    ],
)
def test_refuses(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        spline_orders.main(Settings(output=tmp_path, **changes))
