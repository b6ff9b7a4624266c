"""The zoo of flows and the Gaussian mixtures: they are complete, and their scores are correct."""

import csv
import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import distrax_flows as dxf
from distrax_flows import densities
from distrax_flows.diagnostics import plotting

pytest.importorskip("tyro")
Image = pytest.importorskip("PIL.Image")

from experiments import _common  # noqa: E402
from experiments.flow_zoo import __main__ as flow_zoo  # noqa: E402
from experiments.flow_zoo.__main__ import Settings as ZooSettings  # noqa: E402
from experiments.flow_zoo.zoo import ZOO  # noqa: E402
from experiments.gaussian_mixtures import __main__ as gaussian_mixtures  # noqa: E402
from experiments.gaussian_mixtures.models import make_flow, make_mixture  # noqa: E402
from experiments.gaussian_mixtures.settings import FLOWS  # noqa: E402
from experiments.gaussian_mixtures.settings import Settings as MixtureSettings  # noqa: E402

COLUMNS = tuple(flow_zoo.COLUMNS.split())

# Names of `flows.__all__` that no picture of a plain density can show.
NOT_SHOWN = {
    "FlowOptions",  # no flow, but the arguments that all share
    "Transformed",  # no flow, but the type of all
    "custom",  # a flow of a layer that the user brings
    "dequantized",  # of integers
    "ImageOptions",
    *(name for name in dxf.flows.__all__ if name.startswith("image_")),
}


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def assert_picture(path, shape):
    """A picture of about that many panels, down and across, that is not blank."""
    assert 0 < path.stat().st_size < 300_000
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[0] / pixels.shape[1] == pytest.approx(shape[0] / shape[1], rel=0.05)
    assert pixels.std() > 10


def test_the_zoo_shows_every_builder():
    shown = {name.partition("-")[0] for name in ZOO}
    assert shown.isdisjoint(NOT_SHOWN)
    assert shown | NOT_SHOWN == set(dxf.flows.__all__)


def test_the_zoo_shows_every_family():
    """By a flow of that family's name, or under the builder that fixes it."""
    fixed = {
        "additive": "nice",
        "affine": "realnvp",
        "spline": "nsf_coupling",
        "bernstein": "bernstein_coupling",
    }
    no_families = {"Family", "chain", "inverse"}
    on_circles = {"circular_spline"}
    shown = {name.partition("-")[2] for name in ZOO} | {
        f for f, flow in fixed.items() if flow in ZOO
    }
    assert set(dxf.families.__all__) - no_families - on_circles <= shown


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_an_entry_is_the_flow_it_is_named_after(name):
    """Its sizes are taken up: parameters of each repeated layer are stacked."""
    flow = flow_zoo.make_flow(name, num_layers=3, hidden_sizes=(7,))
    params = jax.eval_shape(flow.init, jax.random.key(0), jnp.zeros((10, 2)))
    leaves = {
        f"{module}/{leaf}": array.shape
        for module, arrays in params.items()
        for leaf, array in arrays.items()
    }
    assert any(path.endswith("/fixed_mean") for path in leaves)  # standardised
    assert any(shape[:1] == (ZOO[name].layers(3),) for shape in leaves.values())
    has_networks = any(7 in shape for shape in leaves.values())
    assert has_networks == (ZOO[name].learning_rate == 1e-3)


@pytest.mark.slow
def test_flow_zoo(tmp_path):
    settings = ZooSettings(flows=("independent-spline",), quick=True, repeats=2, output=tmp_path)
    flow_zoo.main(settings)
    table, picture = tmp_path / "results.csv", tmp_path / "moons.png"
    rows = read(table)
    assert tuple(rows[0]) == COLUMNS
    assert [(row["flow"], row["density"]) for row in rows] == [
        (flow, density) for flow in settings.flows for density in settings.densities
    ]
    for row in rows:
        kl, stderr = float(row["kl"]), float(row["kl_stderr"])
        assert 0 < stderr < 0.1
        assert float(row["nll"]) - float(row["entropy"]) == pytest.approx(kl, abs=0.05)
        assert float(row["disagreement"]) < 1e-4
        assert all(float(row[column]) > 0 for column in ("num_params", "log_prob_ms", "sample_ms"))
        # No product of densities is nearer than that of the marginals.
        least = _mutual_information(row["density"])
        assert least - 4 * stderr < kl < least + 0.3
        assert_picture(tmp_path / f"{row['density']}.png", (1, 2))
    picture.unlink()
    flow_zoo.main(dataclasses.replace(settings, resume=True))
    kept = set(COLUMNS) - {"log_prob_ms", "sample_ms"}  # which are measured again
    for before, after in zip(rows, read(table), strict=True):
        assert {c: before[c] for c in kept} == {c: after[c] for c in kept}
    assert_picture(picture, (1, 2))


def _mutual_information(density):
    """KL from the density to the product of its marginals, on a grid."""
    bounds = ((-6.0, 6.0), (-6.0, 6.0))
    p = plotting.density_grid(jax.jit(densities.get(density).log_prob), bounds, 400).astype(float)
    p /= p.sum()
    product = p.sum(axis=0)[None] * p.sum(axis=1)[:, None]
    inside = p > 0
    return np.sum(p[inside] * np.log(p[inside] / product[inside]))


@pytest.mark.slow
def test_gaussian_mixtures(tmp_path):
    settings = MixtureSettings(
        flows=("nsf_coupling",), dimensions=(1,), quick=True, output=tmp_path
    )
    gaussian_mixtures.main(settings)
    (row,) = read(tmp_path / "results.csv")
    assert (row["flow"], row["dimension"]) == ("nsf_coupling", "1")
    # One Gaussian of the mixture's moments is at KL 0.35.
    assert -5 * float(row["kl_stderr"]) < float(row["kl"]) < 0.1
    assert float(row["nll"]) - float(row["entropy"]) == pytest.approx(float(row["kl"]), abs=1e-3)
    assert float(row["entropy"]) == pytest.approx(_entropy_on_the_line(), abs=0.03)
    assert abs(float(row["latent_mean"])) < 0.1
    assert float(row["latent_deviation"]) == pytest.approx(1, abs=0.1)
    assert_picture(tmp_path / "1d-nsf_coupling.png", (1, 3))


def _entropy_on_the_line():
    x = np.linspace(-12, 12, 10_001)
    log_p = np.asarray(make_mixture(1).log_prob(jnp.asarray(x[:, None])), float)
    return -np.trapezoid(np.exp(log_p) * log_p, x)


def test_mixtures_are_normalised():
    assert np.isfinite(_entropy_on_the_line())
    centers = (np.arange(400) + 0.5) / 400 * 20 - 10
    points = jnp.asarray(np.stack(np.meshgrid(centers, centers), axis=-1))
    assert np.exp(make_mixture(2).log_prob(points)).sum() * 0.05**2 == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "event_size"), [("planar", 1), ("bernstein", 1), ("radial", 2), ("realnvp", 2)]
)
def test_layers_between(name, event_size):
    """`--actnorm` and `--lu` add parameters to every layer."""
    x = jnp.zeros((10, event_size))
    counts = {}
    for actnorm, lu in itertools.product((False, True), repeat=2):
        settings = MixtureSettings(num_layers=2, hidden_sizes=(4,), actnorm=actnorm, lu=lu)
        params = jax.eval_shape(make_flow(name, event_size, settings).init, jax.random.key(1), x)
        counts[actnorm, lu] = _common.num_parameters(params)
    added = 2 * event_size * ZOO[name].layers(2)  # a location and a scale for each layer
    assert counts[True, False] == counts[False, False] + added
    assert counts[False, True] > counts[False, False]
    assert counts[True, True] == counts[False, True] + added


def test_layers_between_leave_a_density():
    settings = MixtureSettings(num_layers=1, actnorm=True, lu=True)
    flow = make_flow("radial", 2, settings)
    x = make_mixture(2).sample(seed=jax.random.key(0), sample_shape=(50,))
    params = flow.init(jax.random.key(1), x)
    z, log_det = flow.inverse(params, x)
    normal = -0.5 * jnp.sum(z**2, axis=-1) - math.log(2 * math.pi)
    np.testing.assert_allclose(flow.log_prob(params, x), normal + log_det, atol=1e-3)
    np.testing.assert_allclose(flow.forward(params, z)[0], x, atol=1e-3)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-3)  # by ActNorm, at the start


@pytest.mark.parametrize(
    ("main", "settings", "message"),
    [
        (flow_zoo.main, ZooSettings(flows=("glow2",)), r"`flows` must be one of .*got 'glow2'"),
        (flow_zoo.main, ZooSettings(flows=()), "`flows` must hold at least one"),
        (flow_zoo.main, ZooSettings(densities=("two_gaussians",)), "`densities` must be one of"),
        (flow_zoo.main, ZooSettings(repeats=0), "`repeats` must be at least 1; got 0"),
        (gaussian_mixtures.main, MixtureSettings(flows=("dog",)), "`flows` must be one of"),
        (gaussian_mixtures.main, MixtureSettings(dimensions=(3,)), "`dimensions` must be one of"),
        (
            gaussian_mixtures.main,
            MixtureSettings(flows=("maf",), dimensions=(1,)),
            "`flows` must hold one that there is in the dimensions",
        ),
        (gaussian_mixtures.main, MixtureSettings(num_draws=0), "`num_draws` must be at least 1"),
    ],
)
def test_refusals(main, settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        main(dataclasses.replace(settings, output=tmp_path / "new"))
    assert not (tmp_path / "new" / "results.csv").exists()


def test_a_fit_too_short_to_tell_its_compile_time():
    """The summary shows what the other density tells, or NaN."""
    settings = ZooSettings(flows=("maf",), densities=("moons", "circles"))
    row = dict.fromkeys(COLUMNS, "1") | {"flow": "maf"}
    unknown = row | {"compile_seconds": "nan"}
    assert "nan" not in flow_zoo.summary([row | {"compile_seconds": "2"}, unknown], settings)
    assert "nan" in flow_zoo.summary([unknown, unknown], settings)


def test_defaults_are_there():
    assert set(MixtureSettings().flows) <= set(FLOWS[1]) | set(FLOWS[2])
    assert set(FLOWS[1]) | set(FLOWS[2]) <= set(ZOO)
