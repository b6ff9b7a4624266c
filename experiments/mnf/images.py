"""Images to classify, rotations of them, and patches of photographs."""

import gzip
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.ndimage
import sklearn.datasets

DATASETS = ("digits", "fashion_mnist")

_FILES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
_WHERE = (
    "Debian's package `dataset-fashion-mnist` puts them into /usr/share/datasets/fashion-mnist; "
    "they are also at https://github.com/zalandoresearch/fashion-mnist."
)


class Images(NamedTuple):
    """Images and their classes; pixels are from 0 to 1."""

    train_x: np.ndarray  # `[N, H, W, 1]`, float32
    train_y: np.ndarray  # `[N]`, integers
    test_x: np.ndarray  # the same of other images
    test_y: np.ndarray
    num_levels: int  # that a pixel may have


def load(name: str, data_dir: Path) -> Images:
    """Loads a data set.

    Args:
        name: `digits`, the 1,797 images of 8 by 8 pixels in scikit-learn, of which every fifth is
            for testing; or `fashion_mnist`, 60,000 and 10,000 images of 28 by 28 pixels.
        data_dir: folder of the four files of the latter, plain or compressed by gzip.

    Raises:
        ValueError: a file is missing, or is no idx file of bytes.
    """
    if name == "fashion_mnist":
        parts = [read_idx(data_dir, file) for file in _FILES]
        return Images(_scaled(parts[0], 256), parts[1], _scaled(parts[2], 256), parts[3], 256)
    digits: Any = sklearn.datasets.load_digits()
    x, y = _scaled(digits.images, 17), digits.target
    # Neighbours are by the same hand: blocks of 50 stay together.
    is_test = np.arange(len(x)) // 50 % 5 == 4
    return Images(x[~is_test], y[~is_test], x[is_test], y[is_test], 17)


def read_idx(folder: Path, name: str) -> np.ndarray:
    """The array of bytes in an idx file, `name-ubyte` or `name-ubyte.gz`.

    The format: two zero bytes, 8 for unsigned bytes, the number of axes, their sizes as big-endian
    32-bit integers, and the values.
    """
    plain, packed = folder / f"{name}-ubyte", folder / f"{name}-ubyte.gz"
    if plain.is_file():
        content = plain.read_bytes()
    elif packed.is_file():
        content = gzip.decompress(packed.read_bytes())
    else:
        raise ValueError(
            f"`data_dir` must hold {plain.name} or {packed.name}; got data_dir={str(folder)!r}, "
            f"which does not. {_WHERE}"
        )
    num_axes = content[3] if content[:3] == b"\0\0\x08" else 0
    start = 4 + 4 * num_axes
    shape = tuple(np.frombuffer(content[4:start], ">u4").tolist())
    if not num_axes or len(content) != start + np.prod(shape):
        raise ValueError(f"{plain.name} in {folder} must be an idx file of bytes. {_WHERE}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def rotate(x: np.ndarray, degrees: float) -> np.ndarray:
    """Images turned about their centres, `[N, H, W, 1]`, interpolated linearly."""
    return scipy.ndimage.rotate(x, degrees, axes=(1, 2), reshape=False, order=1)


def draw_patches(images: Images, num: int, seed: int) -> np.ndarray:
    """Square patches of scikit-learn's two photographs, in grey, like the images in size.

    Their grey values are rounded to as many levels as the images have.
    """
    rng = np.random.default_rng(seed)
    size, levels = images.test_x.shape[1], images.num_levels
    photographs: Any = sklearn.datasets.load_sample_images()
    patches = []
    for _ in range(num):
        grey = photographs.images[rng.integers(2)].mean(axis=-1)
        row, column = (rng.integers(side - size + 1) for side in grey.shape)
        patches.append(grey[row : row + size, column : column + size])
    return _scaled(np.floor(np.stack(patches) * levels / 256), levels)


def _scaled(pixels: np.ndarray, num_levels: int) -> np.ndarray:
    return (pixels / (num_levels - 1)).astype(np.float32)[..., None]
