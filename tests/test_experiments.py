"""The experiments end to end, in miniature, and their plotting functions."""

import csv
import dataclasses
import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from distrax_flows import densities
from distrax_flows.diagnostics import plotting

pytest.importorskip("tyro")
Image = pytest.importorskip("PIL.Image")

from experiments import rotation  # noqa: E402
from experiments._summary import known  # noqa: E402
from experiments._table import Table  # noqa: E402
from experiments.toy_densities import __main__ as toy_densities  # noqa: E402
from experiments.toy_densities.__main__ import Settings  # noqa: E402

REPOSITORY = Path(__file__).parents[1]
COLUMNS = (
    "flow,density,seed,num_layers,hidden_sizes,num_params,num_steps,batch_size,kl,kl_stderr,nll,"
    "entropy,train_seconds,compile_seconds,jax_version,device,means"
)


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def assert_picture(path):
    assert 0 < path.stat().st_size < 300_000
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert min(pixels.shape[:2]) > 100
    assert pixels.std() > 10  # not blank


@pytest.mark.slow
def test_toy_densities(tmp_path):
    toy_densities.main(Settings(quick=True, output=tmp_path))
    assert_table(tmp_path / "results.csv")
    for name in ("banana.png", "gaussian_blobs.png", "overview.png", "training.gif"):
        assert_picture(tmp_path / name)
    with Image.open(tmp_path / "training.gif") as gif:
        frames = []
        for frame in range(gif.n_frames):
            gif.seek(frame)
            frames.append(np.asarray(gif.convert("RGB"), float))
    assert len(frames) == 3
    assert np.abs(frames[0] - frames[-1]).mean() > 1


def assert_table(path):
    assert path.read_text().splitlines()[0] == COLUMNS
    rows = read(path)
    done = [(row["density"], row["flow"]) for row in rows]
    assert done == [
        (density, flow)
        for density in ("banana", "gaussian_blobs")
        for flow in ("maf", "realnvp", "nsf_coupling")
    ]
    for row in rows:
        kl, stderr, nll, entropy = (
            float(row[column]) for column in ("kl", "kl_stderr", "nll", "entropy")
        )
        assert -5 * stderr < kl < 2
        assert 0 < stderr < 0.1
        # The entropy that the draws themselves tell, which errs by about 1 / sqrt(10,000).
        assert nll - kl == pytest.approx(entropy, abs=0.05)
        assert int(row["num_params"]) > 0
        assert float(row["train_seconds"]) >= 0
        assert "standardised" in row["means"]


@pytest.mark.slow
def test_toy_densities_resume(tmp_path):
    settings = Settings(flows=("maf",), quick=True, output=tmp_path)
    toy_densities.main(settings)
    table = tmp_path / "results.csv"
    header, kept, lost = table.read_text().splitlines()
    table.write_text(f"{header}\n{kept}\n")
    (tmp_path / "banana.png").unlink()
    toy_densities.main(dataclasses.replace(settings, resume=True))
    assert table.read_text().splitlines()[:2] == [header, kept]
    done_again = read(table)[1]
    assert done_again["density"] == "gaussian_blobs"
    assert done_again["kl"] == lost.split(",")[8]
    assert_picture(tmp_path / "banana.png")


def test_finished_fits_are_found_again(tmp_path):
    path, columns = tmp_path / "results.csv", "flow density seed num_layers kl"

    def open_table(resume):
        return Table(path, columns, keep_params=True, resume=resume)

    identity = {"flow": "maf", "density": "moons", "seed": "0", "num_layers": "1"}
    params = {"maf/~/made": {"w": np.arange(3.0), "b": np.zeros(())}}
    open_table(resume=False).add(identity, {"kl": "0.5"}, params)
    table = open_table(resume=True)
    found = table.find(identity)
    assert found is not None
    assert found.row == identity | {"kl": "0.5"}
    jax.tree.map(np.testing.assert_array_equal, found.result, params)
    assert open_table(resume=False).find(identity) is None
    # Another fit whose parameters would lie in the same file.
    larger = identity | {"num_layers": "2"}
    assert table.find(larger) is None
    table.add(larger, {"kl": "0.4"}, params)
    assert table.find(identity) is None
    (tmp_path / "params" / "maf-moons-0.npz").unlink()
    assert table.find(larger) is None


def test_a_finished_row_takes_the_place_of_an_earlier_one(tmp_path):
    table = Table(tmp_path / "results.csv", "flow kl remark")
    for flow, kl in (("maf", "1"), ("iaf", "2"), ("maf", "3")):
        table.add({"flow": flow}, {"kl": kl})
    expected = [{"flow": "maf", "kl": "3"}, {"flow": "iaf", "kl": "2"}]
    assert table.rows == expected
    assert read(tmp_path / "results.csv") == [row | {"remark": ""} for row in expected]


COMMITTED = [
    ("toy_densities", "toy_densities"),
    ("flow_zoo", "flow_zoo"),
    ("energies", "energies"),
    ("energies", "energies_full"),
    ("tabular", "tabular"),
    ("vae", "vae"),
]


@pytest.mark.parametrize(("name", "folder"), COMMITTED)
def test_committed_tables_are_resumed(name, folder, tmp_path):
    """Their columns are those of the experiment, and a finished fit leaves them as they are."""
    module = importlib.import_module(f"experiments.{name}.__main__")
    path = tmp_path / "results.csv"
    shutil.copy(REPOSITORY / "figures" / folder / "results.csv", path)
    before = read(path)
    table = Table(path, module.COLUMNS, resume=True)
    assert table.rows == before
    table.add(before[3])
    assert read(path) == before


def test_toy_densities_resume_of_another_table(tmp_path):
    (tmp_path / "results.csv").write_text("flow,kl\nmaf,0.1\n")
    settings = Settings(flows=("maf",), quick=True, output=tmp_path, resume=True)
    with pytest.raises(ValueError, match="must have the columns"):
        toy_densities.main(settings)
    assert (tmp_path / "results.csv").read_text() == "flow,kl\nmaf,0.1\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flows": ("glow2",)}, r"`flows` must be one of \['maf', .*got 'glow2'"),
        ({"densities": ("banan",)}, r"`densities` must be one of \['banana', .*got 'banan'"),
        ({"densities": ("two_gaussians",)}, "`densities` must be one of"),
        ({"gif_flow": "iaf2"}, "`gif_flow` must be one of"),
        ({"gif_density": "dog"}, "`gif_density` must be one of"),
        ({"seeds": ()}, "`seeds` must hold at least one"),
        ({"num_draws": 0}, "`num_draws` must be at least 1"),
        ({"num_steps": 0}, "`num_steps` must be"),
    ],
)
def test_toy_densities_refuses(changes, message, tmp_path):
    settings = dataclasses.replace(Settings(output=tmp_path / "new"), **changes)
    with pytest.raises(ValueError, match=message):
        toy_densities.main(settings)
    assert not (tmp_path / "new" / "results.csv").exists()


@pytest.mark.parametrize(
    ("values", "expected"), [((1.0, np.nan, 3.0), [1.0, 3.0]), ((np.nan, np.nan), [np.nan])]
)
def test_what_is_not_known_does_not_hide_what_is(values, expected):
    rows = [{"compile_seconds": str(value)} for value in values]
    np.testing.assert_array_equal(known(rows, "compile_seconds"), expected)


def test_rotation(tmp_path):
    rotation.main(rotation.Settings(quick=True, output=tmp_path))
    assert_picture(tmp_path / "rotation.png")
    rows = {row["parameter"]: row for row in read(tmp_path / "results.csv")}
    assert list(rows) == ["shift_x", "shift_y", "angle", "scale_1", "scale_2"]
    for row in rows.values():
        true, learned, stderr = (float(row[c]) for c in ("true", "learned", "standard_error"))
        assert 0 < stderr < 0.1
        assert abs(learned - true) < 4 * stderr


def test_rotation_reaches_the_maximum():
    """The estimate has a closed form: the mean, and the spectrum of the covariance."""
    x = rotation.make_density(rotation.TRUE_PARAMS).sample(
        seed=jax.random.key(3), sample_shape=(500,)
    )
    params = rotation.canonical(rotation.fit(x, 1_000))
    x = np.asarray(x, np.float64)
    variances, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    angle = np.arctan(vectors[1, 1] / vectors[0, 1])
    np.testing.assert_allclose(params["shift"], x.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(params["angle"], angle, atol=1e-3)
    np.testing.assert_allclose(params["log_scale"], 0.5 * np.log(variances[::-1]), atol=1e-3)


@pytest.mark.parametrize(("turns", "exchange"), [(2, False), (-4, False), (1, True), (-3, True)])
def test_rotation_canonical(turns, exchange):
    true = rotation.TRUE_PARAMS
    log_scale = true["log_scale"][::-1] if exchange else true["log_scale"]
    same = {
        "shift": true["shift"],
        "angle": true["angle"] + turns * np.pi / 2,
        "log_scale": log_scale,
    }
    for name, value in rotation.canonical(same).items():
        np.testing.assert_allclose(value, true[name], atol=1e-12)


def test_rotation_refuses(tmp_path):
    with pytest.raises(ValueError, match="`num_samples` must be at least 1; got 0"):
        rotation.main(rotation.Settings(num_samples=0, output=tmp_path))


@pytest.mark.slow
def test_as_a_command(tmp_path):
    command = [sys.executable, "-m", "experiments.rotation", "--quick", "--output", tmp_path]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "standard_error" in done.stdout
    assert (tmp_path / "rotation.png").exists()


# Plotting


def test_density_grid_orientation_and_batches():
    bounds = ((0.0, 4.0), (10.0, 12.0))
    grids = [
        plotting.density_grid(lambda x: x @ np.array([1.0, 0.1]), bounds, 4, batch_size)
        for batch_size in (1, 5, 16, 100)
    ]
    x, y = np.array([0.5, 1.5, 2.5, 3.5]), np.array([10.25, 10.75, 11.25, 11.75])
    for grid in grids:
        np.testing.assert_allclose(grid, np.exp(x[None, :] + 0.1 * y[:, None]), rtol=1e-5)


def test_samples_and_density_look_alike():
    banana = densities.get("banana")
    x = banana.sample(seed=jax.random.key(0), sample_shape=(200_000,))
    bounds = plotting.sample_bounds(x)
    density = plotting.density_grid(jax.jit(banana.log_prob), bounds, num=20)
    _, axes = plotting.panels(1, 2)
    plotting.plot_samples(axes[0, 0], x, bounds, num=20)
    plotting.plot_density(axes[0, 1], density, bounds)
    histogram, image = (ax.images[0].get_array() for ax in axes[0])
    assert np.abs(histogram - image).max() < 0.1 * image.max()
    assert axes[0, 0].get_xlim() == pytest.approx(axes[0, 1].get_xlim())


def test_sample_bounds_ignore_a_far_draw():
    x = np.random.default_rng(0).normal(size=(10_000, 2)) * [1.0, 0.1]
    far = np.concatenate([x, [[1e6, 1e6]]])
    for (low, high), (far_low, far_high) in zip(
        plotting.sample_bounds(x), plotting.sample_bounds(far), strict=True
    ):
        assert high - low == pytest.approx(2 * 3.09 * 1.3, rel=0.1)
        assert (far_low, far_high) == pytest.approx((low, high), rel=0.1)


@pytest.mark.usefixtures("wrong_types")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plotting.sample_bounds(np.zeros((3, 3))), "`x` must have shape"),
        (lambda: plotting.sample_bounds(np.zeros((3, 2))), "extent of x"),
        (lambda: plotting.density_grid(len, ((0, 1), (0, 1)), num=0), "`num` must be"),
        (lambda: plotting.save_gif("none.gif", []), "`images` must hold"),
    ],
)
def test_plotting_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"distrax_flows\[plots\]"):
        plotting.panels(1, 1)
