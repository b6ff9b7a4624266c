"""The Bernstein experiment end to end, in miniature, and the parts of its scores and stages."""

import csv
import dataclasses

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("tyro")
Image = pytest.importorskip("PIL.Image")

from experiments.bernstein import __main__ as bernstein  # noqa: E402
from experiments.bernstein import fits, targets  # noqa: E402
from experiments.bernstein.settings import Settings  # noqa: E402
from experiments.bernstein.stages import Stages, take_apart  # noqa: E402

DEGREE = 8
PICTURES = ("stages.png", "degrees.png", "columns.png", "regression.png")


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    output = tmp_path_factory.mktemp("bernstein")
    bernstein.main(Settings(quick=True, output=output))
    return output


@pytest.mark.slow
def test_table(output):
    with (output / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    kls = {(row["part"], row["density"], row["flow"], row["degree"]): row["kl"] for row in rows}
    kls = {key: float(kl) for key, kl in kls.items()}
    assert len(kls) == len(rows) == 9
    for row in rows:
        # The table rounds the entropy and the mean.
        assert float(row["nll"]) - float(row["entropy"]) == pytest.approx(
            float(row["kl"]), abs=2e-4
        )
    # A higher degree fits better; the densities of quadrature integrate to one, or KL would be off.
    assert 0 < kls["line", "bimodal", "bernstein", "8"] < 0.01
    assert kls["line", "bimodal", "bernstein", "4"] > 0.03
    for column in targets.COLUMNS:
        assert 0 < kls["columns", column.name, "bernstein", "8"] < 0.01
    # No Gaussian can tell of two modes.
    gaussian = kls["regression", "branches", "gaussian", ""]
    assert 0 < kls["regression", "branches", "bernstein", "8"] < 0.6 * gaussian
    regressions = {row["flow"]: row for row in rows if row["part"] == "regression"}
    errors = {flow: float(row["quantile_error"]) for flow, row in regressions.items()}
    assert errors["bernstein"] < 0.7 * errors["gaussian"]
    assert float(regressions["bernstein"]["coverage_90"]) == pytest.approx(0.9, abs=0.04)


@pytest.mark.slow
@pytest.mark.parametrize("name", PICTURES)
def test_pictures(output, name):
    assert 0 < (output / name).stat().st_size < 300_000
    with Image.open(output / name) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert min(pixels.shape[:2]) > 300
    assert pixels.std() > 10  # not blank


@pytest.fixture(scope="module")
def line_fit():
    """Parameters away from the identity; they need not fit anything."""
    flow = fits.make_line_flow(DEGREE)
    data = targets.BIMODAL.density.sample(seed=jax.random.key(0), sample_shape=(1_000, 1))
    params = flow.init(jax.random.key(0), data)
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [x + 0.5 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return flow, jax.tree.unflatten(treedef, moved)


@pytest.mark.slow
def test_stages_are_the_flow(line_fit):
    flow, params = line_fit
    stages = take_apart(params, DEGREE)
    y = jnp.linspace(-8.0, 8.0, 101)
    to_base = distrax.Chain(stages[::-1])
    density = distrax.Transformed(distrax.Normal(0.0, 1.0), distrax.Inverse(to_base))
    np.testing.assert_allclose(density.log_prob(y), flow.log_prob(params, y[:, None]), atol=1e-4)
    z = y
    for stage in stages:
        z = stage.forward(z)
    np.testing.assert_allclose(z, flow.inverse(params, y[:, None])[0][:, 0], atol=1e-4)
    assert isinstance(stages, Stages)
    assert stages.polynomial.degree == DEGREE
    assert np.abs(np.diff(stages.polynomial.coefficients, n=2)).max() > 0.1


@pytest.mark.slow
def test_column_log_probs(line_fit):
    flow, params = line_fit
    y = jnp.linspace(-8.0, 8.0, 101)[:, None]
    columns = fits.column_log_probs(flow, params, y)
    np.testing.assert_allclose(columns[:, 0], flow.log_prob(params, y), atol=1e-4)


@pytest.mark.parametrize("line", [*targets.LINES, *targets.COLUMNS], ids=lambda line: line.name)
def test_lines_hold_their_mass(line):
    y = line.grid(20_000)
    density = np.exp(line.density.log_prob(jnp.asarray(y, jnp.float32)), dtype=float)
    assert density.mean() * (line.high - line.low) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_regression_density():
    """Density, distribution function, quantiles and draws tell of the same thing."""
    x = jnp.array([[-0.9], [0.0], [0.7]])
    y = jnp.linspace(-12.0, 12.0, 20_001)[None]
    density = np.exp(targets.log_prob(y, x), dtype=float)
    mass = np.cumsum(density, axis=-1) * 24 / 20_000
    np.testing.assert_allclose(mass, targets.cdf(y, x), atol=2e-3)
    assert mass[:, -1] == pytest.approx(1, abs=1e-4)
    levels = np.array(targets.LEVELS)[:, None]
    reached = targets.cdf(jnp.asarray(targets.quantiles(np.ravel(x))), jnp.ravel(x)[None])
    np.testing.assert_allclose(reached, np.broadcast_to(levels, reached.shape), atol=3e-3)
    draws = targets.draw_pairs(jax.random.key(0), 20_000)
    u = np.sort(np.ravel(targets.cdf(*draws)))
    assert np.abs(u - np.arange(20_000) / 20_000).max() < 1.95 / 20_000**0.5  # p = 0.001


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"degrees": ()}, "`degrees` must hold at least one"),
        ({"degrees": (4, 65)}, "`degree` must be at most 64; got degree=65"),
        ({"num_draws": 0}, "`num_draws` must be at least 1; got 0"),
        ({"num_steps": 0}, "`num_steps` must be at least 1; got 0"),
        ({"batch_size": -1}, "`batch_size` must be at least 1; got -1"),
    ],
)
def test_refuses(changes, message, tmp_path):
    settings = dataclasses.replace(Settings(output=tmp_path / "new"), **changes)
    with pytest.raises(ValueError, match=message):
        bernstein.main(settings)
    assert not (tmp_path / "new").exists()
