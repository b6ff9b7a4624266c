"""Scikit-learn's digits, split into rows that train, validate and test."""

from typing import NamedTuple

import numpy as np
import sklearn.datasets
from jaxtyping import Int

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
