"""The experiment with images: end to end in miniature, and the files of data sets."""

import csv
import dataclasses
import gzip

import numpy as np
import pytest

pytest.importorskip("tyro")
pytest.importorskip("sklearn")
Image = pytest.importorskip("PIL.Image")

from experiments.images import __main__ as experiment  # noqa: E402
from experiments.images.datasets import load  # noqa: E402
from experiments.images.settings import Settings, check_settings  # noqa: E402
from experiments.images.tables import scores  # noqa: E402


def idx(images):
    header = bytes([0, 0, 8, images.ndim]) + np.array(images.shape, ">i4").tobytes()
    return header + images.astype(np.uint8).tobytes()


@pytest.mark.slow
def test_images(tmp_path, capsys, monkeypatch):
    settings = Settings(quick=True, output=tmp_path, flows=("patches", "glow_flat"))
    experiment.main(settings)
    folder = tmp_path / "digits"
    with (folder / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == experiment.COLUMNS.split()
    assert [row["flow"] for row in rows] == ["patches", "glow_flat"]
    for row in rows:
        assert 2 < float(row["importance_weighted"]) <= float(row["bits_per_dim"]) < 8
        assert row["changed_pixels"] == "0"
    assert "glow_flat" in capsys.readouterr().out
    pictures = [folder / f"{name}.png" for name in ("scores", "samples", "patches", "glow_flat")]
    for path in pictures:
        assert 0 < path.stat().st_size < 300_000
        with Image.open(path) as image:
            assert np.asarray(image.convert("L")).std() > 10  # not blank
        path.unlink()
    # Nothing is fitted again, and all is drawn.
    monkeypatch.setattr(experiment, "fit", None)
    experiment.main(dataclasses.replace(settings, resume=True))
    assert all(path.exists() for path in pictures)


def test_digits_are_always_split_the_same():
    images = load("digits", None)
    assert (images.num_levels, images.shape) == (17, (8, 8, 1))
    assert tuple(map(len, images[2:])) == (1439, 179, 179)
    assert images.train.dtype == np.uint8
    assert images.train.max() == 16
    np.testing.assert_array_equal(images.test, load("digits", None).test)


@pytest.mark.parametrize("compressed", [False, True])
def test_idx_files(compressed, tmp_path):
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 256, (num, 28, 28)) for num in (60, 10))
    for name, images in (("train", train), ("t10k", test)):
        path = tmp_path / f"{name}-images-idx3-ubyte"
        if compressed:
            path.with_suffix(".gz").write_bytes(gzip.compress(idx(images)))
        else:
            path.write_bytes(idx(images))
    images = load("fashion_mnist", tmp_path)
    np.testing.assert_array_equal(np.concatenate(images[2:4])[..., 0], train)
    np.testing.assert_array_equal(images.test[..., 0], test)
    assert len(images.validation) == 10
    assert images.num_levels == 256


def test_batches_of_cifar10(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 32, 32, 3)).astype(np.uint8)
    records = np.concatenate(
        [np.full((12, 1), 7, np.uint8), images.transpose(0, 3, 1, 2).reshape(12, -1)], axis=1
    )
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        (tmp_path / name).write_bytes(records.tobytes())
    loaded = load("cifar10", tmp_path)
    np.testing.assert_array_equal(loaded.test, images)
    assert len(loaded.train) + len(loaded.validation) == 60


def test_npz_files(tmp_path):
    arrays = {name: np.full((20, 4, 4), 5, np.uint8) for name in ("train", "test")}
    np.savez(tmp_path / "some.npz", **arrays)
    images = load("npz", tmp_path / "some.npz")
    assert (images.name, images.num_levels, images.shape) == ("some", 6, (4, 4, 1))
    assert tuple(map(len, images[2:])) == (18, 2, 20)


def test_errors_of_files(tmp_path):
    with pytest.raises(
        ValueError, match=r"must hold train-images-idx3-ubyte or .*Debian's package"
    ):
        load("fashion_mnist", tmp_path)
    with pytest.raises(ValueError, match=r"must hold data_batch_1.bin; .*Extract https"):
        load("cifar10", tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((3, 4))))
    with pytest.raises(ValueError, match=r"must hold bytes, \[N, H, W\].*shape \(3, 4\)"):
        load("mnist", tmp_path)
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        (tmp_path / name).write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="must hold records of 3,073 bytes; got 100"):
        load("cifar10", tmp_path)
    with pytest.raises(ValueError, match=r"must be an .npz file"):
        load("npz", tmp_path)
    np.savez(tmp_path / "floats.npz", train=np.zeros((2, 4, 4)), test=np.zeros((2, 4, 4)))
    with pytest.raises(ValueError, match=r"must hold bytes.*dtype float64"):
        load("npz", tmp_path / "floats.npz")
    np.savez(tmp_path / "other.npz", images=np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"must hold `train` and `test`; got \['images'\]"):
        load("npz", tmp_path / "other.npz")


def test_errors_of_settings():
    with pytest.raises(ValueError, match="`dataset` must be one of"):
        check_settings(Settings(dataset="letters"))
    with pytest.raises(ValueError, match="`flows` must be one of"):
        check_settings(Settings(flows=("gan",)))


def test_published_figures_stand_beside():
    row = {"flow": "glow", "bits_per_dim": "1.2", "importance_weighted": "1.1", "num_params": "5"}
    rows = [row | {"train_seconds": str(seconds)} for seconds in (10, 20)]
    assert "Kingma & Dhariwal" in scores(rows, "mnist")
    assert "published" not in scores(rows, "digits")
    assert "1.200 ± 0.000" in scores(rows, "digits")
