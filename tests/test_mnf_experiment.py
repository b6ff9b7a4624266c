"""Bayesian networks: images, scores, and the experiment in miniature."""

import csv
import gzip

import numpy as np
import pytest

pytest.importorskip("tyro")
pytest.importorskip("blackjax")
Image = pytest.importorskip("PIL.Image")

from experiments._idx import read_idx  # noqa: E402
from experiments.mnf import __main__ as mnf  # noqa: E402
from experiments.mnf import regression  # noqa: E402
from experiments.mnf.classifier import auroc, entropy, error, reliability  # noqa: E402
from experiments.mnf.images import draw_patches, load, rotate  # noqa: E402
from experiments.mnf.settings import Settings  # noqa: E402


def write_idx(path, array, pack=False):
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    content = head + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if pack else content)


def test_digits_and_what_is_made_of_them(tmp_path):
    images = load("digits", tmp_path)
    assert images.train_x.shape == (1447, 8, 8, 1)
    assert images.test_x.shape == (350, 8, 8, 1)
    assert images.train_x.dtype == np.float32
    np.testing.assert_array_equal(np.unique(images.train_x * 16), np.arange(17))
    np.testing.assert_allclose(rotate(images.test_x, 0), images.test_x)
    turned = np.rot90(images.test_x, k=-1, axes=(1, 2))
    for degrees, expected in ((90, turned[:, ::-1, ::-1]), (180, images.test_x[:, ::-1, ::-1])):
        np.testing.assert_allclose(rotate(images.test_x, degrees), expected, atol=1e-6)
    patches = draw_patches(images, 100, seed=0)
    assert patches.shape == (100, 8, 8, 1)
    assert set(np.unique(np.round(patches * 16, 4))) <= set(range(17))
    assert 0 < patches.min() + patches.max() <= 2


@pytest.mark.parametrize("pack", [False, True])
def test_idx_files(tmp_path, pack):
    suffix = "-ubyte.gz" if pack else "-ubyte"
    rng = np.random.default_rng(0)
    parts = {
        "train-images-idx3": rng.integers(0, 256, (5, 28, 28)),
        "train-labels-idx1": rng.integers(0, 10, 5),
        "t10k-images-idx3": rng.integers(0, 256, (3, 28, 28)),
        "t10k-labels-idx1": rng.integers(0, 10, 3),
    }
    for name, array in parts.items():
        write_idx(tmp_path / (name + suffix), array, pack)
    images = load("fashion_mnist", tmp_path)
    assert images.train_x.shape == (5, 28, 28, 1)
    np.testing.assert_allclose(images.test_x[..., 0] * 255, parts["t10k-images-idx3"], atol=1e-4)
    np.testing.assert_array_equal(images.test_y, parts["t10k-labels-idx1"])


def test_wrong_files_are_explained(tmp_path):
    message = "`data_dir` must hold a-ubyte or a-ubyte.gz; got .*`dataset-fashion-mnist` puts those"
    with pytest.raises(ValueError, match=message):
        read_idx(tmp_path, "a")
    write_idx(tmp_path / "a-ubyte", np.zeros((2, 3)))
    good = (tmp_path / "a-ubyte").read_bytes()
    for bad in (good[:-1], b"\0\0\x0d" + good[3:], b"text", b""):
        (tmp_path / "a-ubyte").write_bytes(bad)
        with pytest.raises(ValueError, match=r"a-ubyte in .* must be an idx file of bytes"):
            read_idx(tmp_path, "a")


def test_scores():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.25, 0.75], [0.45, 0.55]])
    y = np.array([0, 1, 1, 1])
    assert error(probabilities, y) == 0.25
    np.testing.assert_allclose(entropy(np.full((2, 4), 0.25)), np.log(4))
    confidence, accuracy, weight = reliability(probabilities, y)
    np.testing.assert_allclose(weight[5:], [0.25, 0, 0.25, 0, 0.5])
    np.testing.assert_allclose(confidence[[5, 7, 9]], [0.55, 0.75, 0.9])
    np.testing.assert_allclose(accuracy[[5, 7, 9]], [1, 1, 0.5])
    assert np.isnan(confidence[0])
    assert auroc(np.array([1.0, 2.0]), np.array([2.0, 3.0])) == 0.875


def test_the_gap_has_no_rows():
    rows = regression.draw_rows(0, 200)
    inside = regression.draw_rows(0, 200, in_gap=True)
    assert np.abs(rows.x).min() >= regression.GAP[1] >= np.abs(inside.x).max()
    assert np.abs(rows.x).max() <= regression.REACH
    away = rows.y - regression.true_function(np.asarray(rows.x))
    assert np.std(away) == pytest.approx(regression.NOISE, rel=0.2)


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def assert_picture(path):
    assert 0 < path.stat().st_size < 300_000
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert min(pixels.shape[:2]) > 100
    assert pixels.std() > 10  # not blank


@pytest.mark.slow
def test_regression(tmp_path):
    settings = {"parts": ("regression",), "quick": True, "output": tmp_path}
    mnf.main(Settings(**settings, networks=("MNF",)))
    rows = table(tmp_path / "regression.csv")
    assert [row["network"] for row in rows] == ["NUTS", "MNF"]
    for row in rows:
        assert float(row["width_gap"]) > 0.1
        assert float(row["nll_data"]) < 1
    assert_picture(tmp_path / "regression.png")
    # What is finished is not done again.
    mnf.main(Settings(**settings, networks=("ensemble", "MNF"), resume=True))
    again = table(tmp_path / "regression.csv")
    assert again[:2] == rows
    assert again[2]["network"] == "ensemble"


@pytest.mark.slow
def test_classifier(tmp_path):
    networks = ("dropout", "MNF")
    mnf.main(Settings(parts=("classifier",), networks=networks, quick=True, output=tmp_path))
    rows = table(tmp_path / "results.csv")
    assert [row["network"] for row in rows] == list(networks)
    assert min(float(row["error"]) for row in rows) < 0.8
    for row in rows:
        assert 0 < float(row["entropy"]) < np.log(10)
    assert_picture(tmp_path / "digits.png")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parts": ("clustering",)}, r"`parts` must be one of \['regression', 'classifier'\]"),
        ({"networks": ("laplace",)}, "`networks` must be one of .*; got 'laplace'"),
        ({"dataset": "mnist"}, "`dataset` must be one of .*; got 'mnist'"),
        ({"dropout_rate": 1.0}, "`dropout_rate` must be less than 1; got 1.0"),
        ({"num_steps": 0}, "`num_steps` must be at least 1; got 0"),
    ],
)
def test_mnf_refuses(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        mnf.main(Settings(output=tmp_path / "new", **changes))
    assert not (tmp_path / "new").exists()
