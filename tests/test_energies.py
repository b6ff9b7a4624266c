"""The potentials, their normalisers, and the experiment that fits flows to them, in miniature."""

import csv
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distrax_flows import densities

pytest.importorskip("tyro")
Image = pytest.importorskip("PIL.Image")

from experiments.energies import __main__ as energies  # noqa: E402
from experiments.energies import fits  # noqa: E402
from experiments.energies.recipes import RECIPES  # noqa: E402
from experiments.energies.settings import Settings  # noqa: E402
from experiments.energies.targets import TARGETS  # noqa: E402

COLUMNS = tuple(energies.COLUMNS.split())

EACH = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
LOG_Z = {"u1": 1.8775, "u2": 2.0821, "u3": 2.6417, "u4": 2.7107}

# Midpoints of cells whose edges meet the bounds of z1; they hold all but 1e-9 of each density.
SIDE = 0.02
MIDPOINTS = np.arange(-7 + SIDE / 2, 7, SIDE)
GRID = np.stack(np.meshgrid(MIDPOINTS, MIDPOINTS), axis=-1).astype(np.float32)


@EACH
def test_potentials_are_those_of_the_densities(target):
    z = jax.random.uniform(jax.random.key(0), (2_000, 2), minval=-5, maxval=5)
    expected = densities.get(target.name).log_prob(z)
    assert np.isinf(expected).any() == target.bounded
    log_prob = target.log_prob(z)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-5, atol=1e-5)
    single = target.log_density(z[0])
    assert single.shape == ()
    np.testing.assert_allclose(single - target.log_z, log_prob[0], rtol=1e-5)


def on_grid(log_density):
    return np.asarray(jax.jit(log_density)(GRID), float)


def integral(values):
    return values.sum() * SIDE**2


@EACH
def test_normalisers(target):
    """By quadrature; and to four digits, written down apart."""
    log_z = np.log(integral(np.exp(on_grid(target.log_density))))
    assert target.log_z == pytest.approx(log_z, abs=1e-5)
    assert target.log_z == pytest.approx(LOG_Z[target.name], abs=5e-5)


@pytest.mark.filterwarnings("ignore:The weights have k-hat")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["u1", "u2"])
def test_scores(name):
    """Of a flow that knows nothing yet, a normal on the support, against quadratures."""
    target, settings = TARGETS[name], Settings(num_layers=2, hidden_sizes=(4,))
    flow = fits.flow_of({"flow": "realnvp", "density": name}, settings)
    params = flow.init_without_data(jax.random.key(0))
    row = fits.scores(flow, target, params, jax.random.key(1), 100_000)
    value = {column: float(number) for column, number in row.items()}
    inside = np.isfinite(on_grid(target.log_prob))
    log_p = on_grid(target.log_prob)[inside]
    log_q = on_grid(lambda z: flow.log_prob(params, z))[inside]
    p, q = np.exp(log_p), np.exp(log_q)
    assert integral(q) == pytest.approx(1, abs=1e-5)
    reverse, forward = integral(q * (log_q - log_p)), integral(p * (log_p - log_q))
    assert value["reverse_kl"] == pytest.approx(reverse, abs=4 * value["reverse_kl_stderr"])
    assert value["forward_kl"] == pytest.approx(forward, abs=4 * value["forward_kl_stderr"])
    assert value["elbo"] == pytest.approx(target.log_z - value["reverse_kl"], abs=2e-6)
    assert value["log_z"] == pytest.approx(target.log_z, abs=4 * value["log_z_stderr"])
    if not target.bounded:  # else the weights' variance is infinite: normal tails on the line
        assert value["ess"] == pytest.approx(1 / integral(p**2 / q), rel=0.1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The weights have k-hat")
def test_energies(tmp_path, monkeypatch, capsys):
    settings = Settings(flows=("radial", "realnvp"), densities=("u4",), quick=True, output=tmp_path)
    energies.main(settings)
    table, picture = tmp_path / "results.csv", tmp_path / "overview.png"
    written = table.read_text()
    printed = capsys.readouterr().out
    rows = list(csv.DictReader(written.splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["density"], row["flow"]) for row in rows] == [
        (density, flow) for density in settings.densities for flow in settings.flows
    ]
    for row in rows:
        check_row(row)
        assert f"{row['density']}, {row['flow']}" in printed
    assert_picture(picture)

    def no_fit(*args, **kwargs):
        raise AssertionError("a finished fit is done again")

    picture.unlink()
    monkeypatch.setattr(fits.dxf, "fit_to_density", no_fit)
    energies.main(dataclasses.replace(settings, resume=True))
    assert table.read_text() == written
    assert_picture(picture)
    # The other gradient makes other fits.
    with pytest.raises(AssertionError, match="done again"):
        energies.main(dataclasses.replace(settings, resume=True, path_gradient=False))


def check_row(row):
    value = {column: float(row[column]) for column in COLUMNS[COLUMNS.index("num_params") : -2]}
    assert value["true_log_z"] == pytest.approx(LOG_Z[row["density"]], abs=5e-5)
    assert value["reverse_kl"] == pytest.approx(value["true_log_z"] - value["elbo"], abs=2e-6)
    for divergence in ("reverse_kl", "forward_kl"):
        assert value[f"{divergence}_stderr"] > 0
        assert value[divergence] > -5 * value[f"{divergence}_stderr"]
    assert value["reverse_kl"] < 3  # what is minimised; the other may be any
    assert 0 < value["ess"] <= 1
    # By Jensen's inequality, of the very same draws.
    assert value["elbo"] < value["log_z"]
    assert value["num_params"] > 0
    assert value["train_seconds"] >= 0
    assert row["gradient"] == "path"
    assert int(row["num_steps"]) == RECIPES[row["flow"]].times * 1_000
    assert (row["hidden_sizes"] != "") == RECIPES[row["flow"]].has_networks
    assert row["spline_reach"] == ""


def assert_picture(path):
    assert 0 < path.stat().st_size < 300_000
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[0] / pixels.shape[1] == pytest.approx(1 / 3, rel=0.1)
    assert pixels.std() > 10  # not blank


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_its_sizes_and_the_support(name):
    settings = Settings(num_layers=3, hidden_sizes=(7,), spline_reach=2.0)
    recipe = RECIPES[name]
    first, second, third = (
        fits.flow_of({"flow": name, "density": density}, settings) for density in ("u1", "u2", "u3")
    )
    params = jax.eval_shape(second.init, jax.random.key(0), jnp.zeros((10, 2)))
    shapes = [leaf.shape for leaf in jax.tree.leaves(params)]
    assert any(shape[:1] == (3 * recipe.times,) for shape in shapes)
    assert any(7 in shape for shape in shapes) == recipe.has_networks
    # Fits to the targets of one support compile once.
    assert third is second
    assert first is not second


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flows": ("maf",)}, r"`flows` must be one of \['planar', .*got 'maf'"),
        ({"densities": ("u5",)}, r"`densities` must be one of \['u1', .*got 'u5'"),
        ({"seeds": ()}, "`seeds` must hold at least one value"),
        ({"num_steps": 0}, "`num_steps` must be at least 1; got 0"),
        ({"num_draws": 1}, "`num_draws` must be at least 2; got 1"),
        ({"annealing": 1.5}, "`annealing` must be at most 1; got 1.5"),
        ({"spline_reach": 0.0}, "`spline_reach` must be positive; got 0.0"),
    ],
)
def test_energies_refuses(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        energies.main(Settings(output=tmp_path / "new", **changes))
    assert not (tmp_path / "new").exists()
