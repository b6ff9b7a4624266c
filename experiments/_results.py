"""Results on disk: a table of finished fits, and the parameters of each beside it."""

import contextlib
import csv
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

Row: TypeAlias = dict[str, str]


class Results:
    """The rows of `<folder>/results.csv` and the parameters in `<folder>/params`.

    Args:
        folder: where they lie; made if missing.
        columns: of the table.
        identity: the columns that say which fit a row is of. The first three name the file of its
            parameters.
        resume: whether to start from the rows already there. Otherwise the first row added
            replaces the file.

    Raises:
        ValueError: the table to resume has other columns.
    """

    def __init__(
        self, folder: Path, columns: Sequence[str], identity: Sequence[str], *, resume: bool
    ):
        self._folder = folder
        self._columns = tuple(columns)
        self._identity = tuple(identity)
        self._rows: dict[str, Row] = {}
        (folder / "params").mkdir(parents=True, exist_ok=True)
        if resume and self._path.exists():
            self._read()

    def get(self, wanted: Row) -> tuple[Row, Any] | None:
        """The row and the parameters of a finished fit; None unless both are there.

        Args:
            wanted: at least the identity of the fit.
        """
        row, path = self._rows.get(self._key(wanted)), self._params_path(wanted)
        if row is None or not path.exists():
            return None
        with np.load(path) as arrays:
            # The same file name serves fits of other sizes.
            if str(arrays["fit"]) != self._key(wanted):
                return None
            return row, _nested({name: arrays[name] for name in arrays.files if name != "fit"})

    def add(self, row: Row, params: Any) -> None:
        """Writes a finished fit; its row takes the place of an earlier one of the same fit.

        Args:
            row: all columns.
            params: `{module name: {parameter name: array}}`.
        """
        key, path = self._key(row), self._params_path(row)
        with _whole(path) as partial, partial.open("wb") as file:
            np.savez(file, allow_pickle=False, fit=np.array(key), **_flat(params))
        self._rows[key] = row
        write_table(self._path, self._columns, self._rows.values())

    def _key(self, row: Row) -> str:
        return " | ".join(row[column] for column in self._identity)

    @property
    def _path(self) -> Path:
        return self._folder / "results.csv"

    def _params_path(self, row: Row) -> Path:
        stem = "-".join(row[column] for column in self._identity[:3])
        return self._folder / "params" / f"{stem}.npz"

    def _read(self) -> None:
        with self._path.open(newline="") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != self._columns:
                raise ValueError(
                    f"{self._path} must have the columns {list(self._columns)} to be resumed; got "
                    f"{reader.fieldnames}. Move it away, or choose another `output`."
                )
            self._rows = {self._key(row): row for row in reader}


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes the rows finished so far as CSV, in the place of those of an earlier call.

    Args:
        path: of the file; its folder is made if missing.
        columns: of the table.
        rows: by column; what a row lacks stays empty.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _whole(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A path to write to, which then replaces `path`: an interrupt leaves that whole."""
    partial = path.with_suffix(".partial")
    yield partial
    os.replace(partial, path)


def _flat(params: Any) -> dict[str, np.ndarray]:
    return {
        f"{module}:{name}": np.asarray(array)
        for module, arrays in params.items()
        for name, array in arrays.items()
    }


def _nested(arrays: dict[str, np.ndarray]) -> Any:
    params: dict[str, dict[str, np.ndarray]] = {}
    for key, array in arrays.items():
        module, name = key.rsplit(":", 1)
        params.setdefault(module, {})[name] = array
    return params
