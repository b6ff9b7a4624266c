"""Images to classify, rotations of them, and patches of photographs."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.ndimage
import sklearn.datasets

from experiments._idx import read_idx

DATASETS = ("digits", "fashion_mnist")

_FILES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


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
