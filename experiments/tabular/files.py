"""Tables of numbers from files: CSV, NumPy, Parquet and HDF5."""

import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_WITH_KEY = re.compile(r"(.+\.(?:npz|h5|hdf5)):(.+)", re.IGNORECASE)


def read_table(path: str | Path) -> np.ndarray:
    """Reads the table in a file.

    A large `.npy` file takes no memory: it is mapped, as is an HDF5 dataset that is contiguous and
    not compressed. Integers are read into memory, as float32.

    Args:
        path: path of a file of one of these kinds.

            - `.csv`: comma-separated columns, with or without a header line.
            - `.npy`.
            - `.npz`: its only array, or the one named in `name.npz:array`.
            - `.parquet`: all columns. Nulls become NaN.
            - `.h5`, `.hdf5`: its only dataset, or the one named in `name.h5:dataset`.

    Returns:
        `[N, D]`, floating; a read-only `np.memmap` if mapped.

    Raises:
        ImportError: the package that reads such files is missing.
        ValueError: the file does not exist or is of another kind; it holds text, no rows, no
            columns, or no table; or it holds several arrays, and `path` names none of them.
    """
    file, key = _split_key(path)
    read = _READERS.get(file.suffix.lower())
    if read is None:
        raise ValueError(f"`path` must end in one of {list(_READERS)}; got path={str(path)!r}.")
    if not file.is_file():
        raise ValueError(f"`path` must name a file that exists; got path={str(path)!r}.")
    return _as_floating(read(file, key), path)


def read_parquet(path: str | Path, drop: Sequence[str] = ()) -> np.ndarray:
    """Reads the columns of a Parquet file, except those to drop, as `[N, D]` of a common dtype.

    Raises:
        ImportError: pyarrow is missing.
        ValueError: columns are not numeric, or one to drop is missing.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise _missing("pyarrow", path) from error
    table: Any = pyarrow.parquet.read_table(path)
    absent = [name for name in drop if name not in table.column_names]
    if absent:
        raise ValueError(f"{path} must have the columns {absent}; got {table.column_names}.")
    table = table.drop_columns(list(drop))
    is_number = (pyarrow.types.is_integer, pyarrow.types.is_floating, pyarrow.types.is_boolean)
    _refuse_columns(
        path, [field.name for field in table.schema if not any(f(field.type) for f in is_number)]
    )
    columns = [column.to_numpy() for column in table.columns]
    return np.column_stack(columns) if columns else np.empty((table.num_rows, 0))


def _split_key(path: str | Path) -> tuple[Path, str | None]:
    """The file, and the array named after a colon."""
    match = _WITH_KEY.fullmatch(str(path))
    return (Path(match[1]), match[2]) if match else (Path(path), None)


def _read_csv(file: Path) -> np.ndarray:
    with file.open(newline="", encoding="utf-8-sig") as lines:
        rows = csv.reader(lines)
        first = next(filter(None, rows), [])
        num_lines = rows.line_num
        rest = any(line.strip() for line in lines)
    names = [] if all(map(_is_number, first)) else first
    if not first or (names and not rest):
        return np.empty((0, len(first)))
    try:
        return np.loadtxt(
            file,
            delimiter=",",
            comments=None,
            quotechar='"',
            skiprows=num_lines if names else 0,
            ndmin=2,
            encoding="utf-8-sig",
        )
    except ValueError as error:
        _refuse_columns(file, _text_columns(file, names))
        raise ValueError(f"{file} must hold numbers, in rows of one length. {error}") from error


def _text_columns(file: Path, names: Sequence[str]) -> list[str]:
    """The columns of a CSV file with cells that are not numbers."""
    found: set[int] = set()
    with file.open(newline="", encoding="utf-8-sig") as lines:
        rows = list(filter(None, csv.reader(lines)))
        for row in rows[bool(names) :]:
            found.update(i for i, cell in enumerate(row) if not _is_number(cell))
    return [names[i] if i < len(names) else f"column {i}" for i in sorted(found)]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _read_npy(file: Path) -> np.ndarray:
    try:
        return np.load(file, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{file} must hold an array of numbers. {error}") from error


def _read_npz(file: Path, key: str | None) -> np.ndarray:
    with np.load(file, allow_pickle=False) as arrays:
        return arrays[_choose(file, key, arrays.files)]


def _read_hdf5(file: Path, key: str | None) -> np.ndarray:
    try:
        import h5py
    except ImportError as error:
        raise _missing("h5py", file) from error
    with h5py.File(file, "r") as root:
        datasets: dict[str, Any] = {}

        def collect(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                datasets[name] = item

        root.visititems(collect)
        dataset = datasets[_choose(file, key and key.strip("/"), list(datasets))]
        if dataset.shape is None:
            return np.empty((0, 0))
        offset = dataset.id.get_offset()
        # A dataset that was never written has no storage, and its offset is no address.
        stored = dataset.id.get_storage_size() == dataset.nbytes > 0
        if offset is not None and stored and dataset.dtype.kind == "f":
            return np.memmap(file, dataset.dtype, mode="r", offset=offset, shape=dataset.shape)
        return dataset[()]


def _choose(file: Path, key: str | None, names: Sequence[str]) -> str:
    if key is None and len(names) == 1:
        return names[0]
    if key is None:
        raise ValueError(
            f"{file} must hold one array, or `path` name one of {list(names)}, as in "
            f"{file.name}:{names[0] if names else 'name'}; got none named."
        )
    if key not in names:
        raise ValueError(f"`path` must name one of {list(names)} in {file}; got {key!r}.")
    return key


def _as_floating(table: np.ndarray, path: str | Path) -> np.ndarray:
    if table.dtype.kind not in "fiub":
        raise ValueError(f"{path} must hold real numbers; got the type {table.dtype}.")
    if table.ndim != 2:
        raise ValueError(
            f"{path} must hold a table, [N, D]; got the shape {table.shape}. Reshape it, for "
            "example with `.reshape(len(x), -1)`."
        )
    if table.size == 0:
        raise ValueError(f"{path} must hold at least one row and column; got {table.shape}.")
    if table.dtype.kind != "f":
        return table.astype(np.float32)
    # JAX accepts only the byte order of the machine.
    return table if table.dtype.isnative else table.astype(table.dtype.newbyteorder("="))


def _refuse_columns(path: str | Path, names: Sequence[str]) -> None:
    if names:
        raise ValueError(
            f"{path} must hold numbers only; got text, or nothing, in the columns {list(names)}. "
            "Drop them, or encode them as numbers."
        )


def _missing(package: str, path: str | Path) -> ImportError:
    return ImportError(f"Reading {path} needs {package}: pip install -e '.[experiments]'.")


# By file extension: maps a file, and the name of an array in it, to its table.
_READERS: dict[str, Callable[[Path, str | None], np.ndarray]] = {
    ".csv": lambda file, _: _read_csv(file),
    ".npy": lambda file, _: _read_npy(file),
    ".npz": _read_npz,
    ".parquet": lambda file, _: read_parquet(file),
    ".h5": _read_hdf5,
    ".hdf5": _read_hdf5,
}
