"""The five data sets of the paper on masked autoregressive flows, prepared as by its authors.

The files are at https://zenodo.org/records/1161203: `data.tar.gz` unpacks to a folder `data`. The
preparation is that of https://github.com/gpapamak/maf, `datasets/*.py`, including the seeds, so
that log-likelihoods are comparable with published ones. Its peculiarities are kept: rows are
standardised by the statistics of training and validation rows together, for `gas` also of the test
rows.

| set | event size | train | validation | test | columns |
|-|-|-|-|-|-|
| `power` | 6 | 1,659,917 | 184,435 | 204,928 | readings of a household's electricity meter |
| `gas` | 8 | 852,174 | 94,685 | 105,206 | chemical sensors in ethylene and CO |
| `hepmass` | 21 | 315,123 | 35,013 | 174,987 | features of collisions that make a new particle |
| `miniboone` | 43 | 29,556 | 3,284 | 3,648 | features of electron neutrinos and background |
| `bsds300` | 63 | 1,000,000 | 50,000 | 250,000 | patches of photographs |

Reference:
    Papamakarios et al., "Masked Autoregressive Flow for Density Estimation", 2017, appendix.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from experiments.tabular.files import read_parquet, read_table

Parts: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]

_DOWNLOAD = "Download data.tar.gz from https://zenodo.org/records/1161203."
_TO_PARQUET = (
    "The authors' gas/ethylene_CO.pickle is a table of pandas. Convert it once, where pandas and "
    'pyarrow are installed: python -c "import pandas; pandas.read_pickle('
    "'ethylene_CO.pickle').to_parquet('ethylene_CO.parquet', index=False)\"."
)


class MAFSet(NamedTuple):
    """One of the five sets."""

    # maps the folder `data` to training, validation and test rows
    read: Callable[[Path], Parts]
    event_size: int  # number of columns
    num_rows: tuple[int, int, int]  # training, validation and test rows in the paper


def load(name: str, data_dir: Path) -> Parts:
    """Training, validation and test rows of a set, `[N, D]`, from the authors' folder `data`.

    Raises:
        ImportError: the package that reads its files is missing.
        ValueError: its files are missing from the folder, or are not the authors'.
    """
    maf_set = MAF_SETS[name]
    train, validation, test = (part.astype(np.float32) for part in maf_set.read(data_dir))
    if train.shape[1] != maf_set.event_size:
        raise ValueError(
            f"`data_dir` must hold the authors' files, which leave {maf_set.event_size} columns of "
            f"{name}; got {train.shape[1]}. {_DOWNLOAD}"
        )
    return train, validation, test


def _power(data_dir: Path) -> Parts:
    """Shuffles rows, drops reactive power and intensity, and adds noise as wide as the last digit.

    The remaining columns are active power, in steps of 0.001, voltage, in steps of 0.01, three
    sub-meters, in steps of 1, and the time of day.
    """
    rng = np.random.RandomState(42)
    x = read_table(_file(data_dir, "power/data.npy"))
    # The same order as that of `rng.shuffle(x)`, which moves row by row.
    x = np.delete(x[rng.permutation(len(x))].astype(float), [1, 3], axis=1)
    x[:, 1] += 0.01 * rng.rand(len(x))
    x[:, 0] += 0.001 * rng.rand(len(x))
    x[:, 2:5] += rng.rand(len(x), 3)
    return _standardize_split(x)


def _gas(data_dir: Path) -> Parts:
    """Drops time, concentrations, and each sensor that correlates with a later one above 0.98."""
    path = _file(data_dir, "gas/ethylene_CO.parquet", _TO_PARQUET)
    x = read_parquet(path, drop=("Time", "Meth", "Eth")).astype(float)
    close = np.corrcoef(x, rowvar=False) > 0.98
    kept = list(range(x.shape[1]))
    for column in range(x.shape[1]):
        if close[column, kept].sum() > 1:  # with itself, always
            kept.remove(column)
    x = x[:, kept]
    return _split_end((x - x.mean(axis=0)) / x.std(axis=0, ddof=1))


def _hepmass(data_dir: Path) -> Parts:
    """Rows of the signal, without the label and columns whose minimum occurs more than 5 times.

    The authors keep the first tenth of the rows at UCI. Their test file has an extra last column.
    """
    train = read_table(_file(data_dir, "hepmass/1000_train.csv"))
    columns = range(train.shape[1])
    path = _file(data_dir, "hepmass/1000_test.csv")
    test = np.loadtxt(path, delimiter=",", skiprows=1, usecols=columns, ndmin=2)
    train, test = (x[x[:, 0] == 1, 1:] for x in (train, test))
    is_continuous = (train == train.min(axis=0)).sum(axis=0) <= 5
    train, test = train[:, is_continuous], test[:, is_continuous]
    mean, scale = train.mean(axis=0), train.std(axis=0, ddof=1)
    train, test = (train - mean) / scale, (test - mean) / scale
    num_train = len(train) - int(0.1 * len(train))
    return train[:num_train], train[num_train:], test


def _miniboone(data_dir: Path) -> Parts:
    """The authors' file already lacks outliers, and 7 columns whose minimum recurs."""
    return _standardize_split(read_table(_file(data_dir, "miniboone/data.npy")).astype(float))


def _bsds300(data_dir: Path) -> Parts:
    """Grey patches of 8 x 8, each with its mean subtracted, and so without its last pixel."""
    path = _file(data_dir, "BSDS300/BSDS300.hdf5")
    return read_table(f"{path}:train"), read_table(f"{path}:validation"), read_table(f"{path}:test")


def _split_end(x: np.ndarray) -> Parts:
    """Splits off the last tenth for testing, then the last tenth of the rest for validation."""
    num_test = int(0.1 * len(x))
    num_validation = int(0.1 * (len(x) - num_test))
    train, validation, test = np.split(x, [len(x) - num_test - num_validation, len(x) - num_test])
    return train, validation, test


def _standardize_split(x: np.ndarray) -> Parts:
    train, validation, test = _split_end(x)
    fitted = x[: len(train) + len(validation)]
    mean, scale = fitted.mean(axis=0), fitted.std(axis=0)
    return (train - mean) / scale, (validation - mean) / scale, (test - mean) / scale


def _file(data_dir: Path, name: str, remedy: str = _DOWNLOAD) -> Path:
    path = data_dir / name
    if not path.is_file():
        raise ValueError(f"`data_dir` must hold {name}; got data_dir={str(data_dir)!r}. {remedy}")
    return path


MAF_SETS = {
    "power": MAFSet(_power, 6, (1_659_917, 184_435, 204_928)),
    "gas": MAFSet(_gas, 8, (852_174, 94_685, 105_206)),
    "hepmass": MAFSet(_hepmass, 21, (315_123, 35_013, 174_987)),
    "miniboone": MAFSet(_miniboone, 43, (29_556, 3_284, 3_648)),
    "bsds300": MAFSet(_bsds300, 63, (1_000_000, 50_000, 250_000)),
}
