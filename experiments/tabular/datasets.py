"""Data sets by name or from a file, split into training, validation and test rows."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sklearn.datasets

from experiments.tabular import maf_sets
from experiments.tabular.files import read_table

_MAX_READ = 2**30  # bytes; larger memory maps stay on disk
_MIN_ROWS = 10  # at least one row for each split
_ALPHA = 0.05


class Splits(NamedTuple):
    """Training, validation and test rows."""

    name: str  # of the data set or file, with `_` for all but letters and digits
    # `[N, D]`, float32. A `np.memmap` stays on disk and keeps the dtype of its file.
    train: np.ndarray
    validation: np.ndarray  # the same
    test: np.ndarray  # the same


def load(name_or_path: str, data_dir: Path, seed: int) -> Splits:
    """Loads a data set.

    Args:
        name_or_path: one of these.

            - `breast_cancer`, `wine`, `digits`: features of the sets in scikit-learn; 80 % of the
              rows are for training, 10 % for validation and 10 % for testing.
            - `power`, `gas`, `hepmass`, `miniboone`, `bsds300`: as in `maf_sets`.
            - A path, as of `read_table`; split like the sets in scikit-learn. A memory map of more
              than 1 GiB stays on disk: its first 80 % of the rows are for training, the next 10 %
              for validation and the last 10 % for testing, as a printed line says.
        data_dir: folder with the files of the five sets; used for these only.
        seed: seed of the order of the rows and of the noise of `digits`. The five sets have their
            own.

    Raises:
        ImportError: the package that reads such files is missing.
        ValueError: the data do not exist, have too few rows, or are not finite; or a column is
            constant.
    """
    if name_or_path in maf_sets.MAF_SETS:
        return Splits(name_or_path, *maf_sets.load(name_or_path, data_dir))
    rng = np.random.default_rng(seed)
    if name_or_path in _BUNDLED:
        x = _BUNDLED[name_or_path](rng).astype(np.float32)
        return _split(name_or_path, x[rng.permutation(len(x))])
    if "." not in name_or_path:
        raise ValueError(f"`data` must be one of {names()}, or a path; got data={name_or_path!r}.")
    return _from_file(name_or_path, rng)


def names() -> list[str]:
    """Names of the data sets."""
    return [*_BUNDLED, *maf_sets.MAF_SETS]


def _from_file(path: str, rng: np.random.Generator) -> Splits:
    name = re.sub(r"\W+", "_", Path(path).name)
    x = read_table(path)
    if len(x) < _MIN_ROWS:
        raise ValueError(f"{path} must hold at least {_MIN_ROWS} rows; got {len(x)}.")
    if isinstance(x, np.memmap) and x.nbytes > _MAX_READ:
        print(f"{path} stays on disk: its first rows train, its last rows test, in their order.")
        return _split(name, x)
    with np.errstate(over="ignore"):
        x = x.astype(np.float32)
    _check_columns(path, x)
    return _split(name, x[rng.permutation(len(x))])


def _split(name: str, x: np.ndarray) -> Splits:
    tenth = int(0.1 * len(x))
    return Splits(name, *np.split(x, [len(x) - 2 * tenth, len(x) - tenth]))


def _check_columns(path: str, x: np.ndarray) -> None:
    infinite = np.flatnonzero(~np.isfinite(x).all(axis=0)).tolist()
    if infinite:
        raise ValueError(
            f"{path} must hold finite numbers of float32; got others in the columns {infinite}, "
            "counted from 0. Drop them, or their rows."
        )
    constant = np.flatnonzero((x == x[0]).all(axis=0)).tolist()
    if constant:
        raise ValueError(
            f"{path} must vary in each column, for there to be a density; got constants in the "
            f"columns {constant}, counted from 0. Drop them."
        )


def _digits(rng: np.random.Generator) -> np.ndarray:
    """`[1797, 64]`: images of 8 by 8 pixels, integers from 0 to 16, made continuous.

    Uniform noise is added to the pixels u, and a logit maps them to the real line:

        x = logit(alpha + (1 - 2 alpha) (u + noise) / 17)

    with alpha = 0.05, as Papamakarios et al., 2017, do for CIFAR-10. Log-likelihoods are of x.
    Without noise, pixels that are always blank would have no density.
    """
    pixels = _features(sklearn.datasets.load_digits)
    x = _ALPHA + (1 - 2 * _ALPHA) * (pixels + rng.random(pixels.shape)) / 17
    return np.log(x) - np.log1p(-x)


def _features(load: Callable[..., Any]) -> np.ndarray:
    return load(return_X_y=True)[0]


_BUNDLED: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    # `[569, 30]`: measures of cell nuclei.
    "breast_cancer": lambda rng: _features(sklearn.datasets.load_breast_cancer),
    # `[178, 13]`: chemical measures.
    "wine": lambda rng: _features(sklearn.datasets.load_wine),
    "digits": _digits,
}
