"""Images by name or from a file, split into training, validation and test images."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments._digits import MAX_LEVEL, SIDE, load_digits
from experiments._idx import read_idx

_HELD_OUT = 10_000  # last training images of the larger sets, for validation


class Images(NamedTuple):
    """Images with integer levels from 0, `[N, H, W, C]`, uint8."""

    name: str
    num_levels: int
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of an image."""
        height, width, channels = self.train.shape[1:]
        return height, width, channels


def load(name: str, data_dir: Path) -> Images:
    """Loads a data set.

    Args:
        name: one of these.

            - `digits`: scikit-learn's, 1,797 images of 8 by 8 pixels and 17 levels, permuted by
              `np.random.default_rng(0)`: 80 % for training, 10 % each for validation and testing.
            - `mnist`, `fashion_mnist`: their four idx files, compressed or not, in `data_dir`.
            - `cifar10`: its binary batches in `data_dir`.
            - `npz`: the file `data_dir`, with arrays `train` and `test` and perhaps `validation`,
              `[N, H, W]` or `[N, H, W, C]`, of bytes.
        data_dir: folder with the files, or the .npz file.

    The last 10,000 training images of the larger sets are for validation.

    Raises:
        ValueError: a file is missing, or is not what it should be.
    """
    return DATASETS[name](data_dir)


def _digits(data_dir: Path) -> Images:
    parts = (part.astype(np.uint8).reshape(-1, SIDE, SIDE, 1) for part in load_digits())
    return Images("digits", MAX_LEVEL + 1, *parts)


def _idx_set(name: str) -> Callable[[Path], Images]:
    def load_set(data_dir: Path) -> Images:
        train, test = (
            _checked(data_dir, part, read_idx(data_dir, f"{part}-images-idx3"))
            for part in ("train", "t10k")
        )
        return Images(name, 256, *_split(train), test)

    return load_set


def _cifar10(data_dir: Path) -> Images:
    train = [_read_cifar(data_dir / f"data_batch_{i}.bin") for i in range(1, 6)]
    test = _read_cifar(data_dir / "test_batch.bin")
    return Images("cifar10", 256, *_split(np.concatenate(train)), test)


def _npz(path: Path) -> Images:
    if not path.is_file():
        raise ValueError(f"`data_dir` must be an .npz file for `--dataset npz`; got {path}.")
    with np.load(path) as arrays:
        if not {"train", "test"} <= set(arrays.files):
            raise ValueError(f"{path} must hold `train` and `test`; got {sorted(arrays.files)}.")
        parts = {name: _checked(path, name, arrays[name]) for name in arrays.files}
    train, validation = parts["train"], parts.get("validation")
    if validation is None:
        train, validation = np.split(train, [len(train) - max(1, len(train) // 10)])
    num_levels = 1 + max(int(part.max()) for part in (train, validation, parts["test"]))
    return Images(path.stem, num_levels, train, validation, parts["test"])


def _split(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    held_out = min(_HELD_OUT, len(images) // 6)
    return images[:-held_out], images[-held_out:]


def _checked(path: Path, name: str, images: np.ndarray) -> np.ndarray:
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or not len(images):
        raise ValueError(
            f"{path} must hold bytes, [N, H, W] or [N, H, W, C]; got {name} of dtype "
            f"{images.dtype} and shape {images.shape}."
        )
    return images if images.ndim == 4 else images[..., None]


def _read_cifar(path: Path) -> np.ndarray:
    """Images of a binary batch, `[N, 32, 32, 3]`; each follows its label."""
    if not path.is_file():
        raise ValueError(
            f"`data_dir` must hold {path.name}; got data_dir={str(path.parent)!r}, which does not. "
            "Extract https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz there."
        )
    data = np.fromfile(path, np.uint8)
    if data.size == 0 or data.size % 3073:
        raise ValueError(f"{path} must hold records of 3,073 bytes; got {data.size} bytes.")
    return data.reshape(-1, 3073)[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


DATASETS: dict[str, Callable[[Path], Images]] = {
    "digits": _digits,
    "mnist": _idx_set("mnist"),
    "fashion_mnist": _idx_set("fashion_mnist"),
    "cifar10": _cifar10,
    "npz": _npz,
}
