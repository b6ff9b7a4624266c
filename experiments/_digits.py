"""Scikit-learn's handwritten digits: a split, and pictures."""

from typing import NamedTuple

import numpy as np
import sklearn.datasets
from jaxtyping import Float, Int
from matplotlib.axes import Axes

SIDE = 8  # pixels
MAX_LEVEL = 16  # a pixel is the number of set bits in a block of 4 by 4 bits of the scan


class Splits(NamedTuple):
    """Training, validation and test images: integers from 0 to 16."""

    train: Int[np.ndarray, "N 64"]
    validation: Int[np.ndarray, "N 64"]
    test: Int[np.ndarray, "N 64"]


def load_digits() -> Splits:
    """80, 10 and 10 % of the images, always the same ones: all fits are scored on the same."""
    pixels = sklearn.datasets.load_digits(return_X_y=True)[0].astype(np.int32)
    pixels = pixels[np.random.default_rng(0).permutation(len(pixels))]
    tenth = len(pixels) // 10
    return Splits(*np.split(pixels, [len(pixels) - 2 * tenth, len(pixels) - tenth]))


def draw_digits(
    ax: Axes, images: Float[np.ndarray, "R C 8 8"], title: str, low: float, high: float
) -> None:
    """Draws R rows of C images; brightness is from `low`, black, to `high`, white."""
    rows, columns = images.shape[:2]
    frame = ((0, 0), (0, 0), (0, 1), (0, 1))
    framed = np.pad(images, frame, constant_values=(low + high) / 2)
    mosaic = framed.transpose(0, 2, 1, 3).reshape(9 * rows, 9 * columns)
    ax.imshow(mosaic, cmap="gray", vmin=low, vmax=high)
    ax.set_axis_off()
    ax.set_title(title, fontsize=8)
