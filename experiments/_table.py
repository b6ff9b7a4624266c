"""Tables in CSV files, with the parameters of fits beside them."""

import contextlib
import csv
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from tqdm import tqdm

Row: TypeAlias = dict[str, str]


class Finished(NamedTuple):
    """A finished row and its result, which pictures need: usually the parameters of a fit."""

    row: Row
    result: Any


class Table:
    """Rows of a CSV file, written as they are finished.

    Args:
        path: path of the file; its folder is created with the first row.
        columns: names of the columns, separated by spaces. Missing cells stay empty.
        keep_params: store the results of fits, which must be parameters `{module name: {parameter
            name: array}}`, in the folder `params` beside the file, where a later table finds them.
        num_names: number of the first cells of a row that name the file of its result.
        resume: start from the rows of the file. Otherwise the first row replaces it.

    Attributes:
        rows: all rows.

    Raises:
        ValueError: the file to resume has other columns.
    """

    def __init__(
        self,
        path: Path,
        columns: str,
        *,
        keep_params: bool = False,
        num_names: int = 3,
        resume: bool = False,
    ):
        self.rows: list[Row] = []
        self._path, self._columns, self._keep_params = path, columns.split(), keep_params
        self._num_names = num_names
        if resume and path.exists():
            with path.open(newline="") as file:
                reader = csv.DictReader(file)
                if reader.fieldnames != self._columns:
                    raise ValueError(
                        f"{path} must have the columns {self._columns} to be resumed; got "
                        f"{reader.fieldnames}. Move it away, or choose another `output`."
                    )
                self.rows = list(reader)

    def fill(
        self, rows: Sequence[Row], compute: Callable[[Row], tuple[Row, Any]], title: str
    ) -> list[Finished]:
        """Completes rows, one after another, under a progress bar.

        Args:
            rows: the cells that identify each row. A row of the table is not computed again.
            compute: maps these cells to the other cells of the row, and its result.
            title: title of the bar, such as `"{flow} on {density}"`.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)  # for pictures, too
        return [
            self.find(row) or self.add(row, *compute(row)) for row in progress(rows, title, "fit")
        ]

    def find(self, identity: Row) -> Finished | None:
        """The finished row with these cells, and its parameters; None if either is missing."""
        row = next((row for row in self.rows if identity.items() <= row.items()), None)
        path = self._params_path(identity)
        if row is None or not path.exists():
            return None
        with np.load(path) as arrays:
            # Fits of other sizes have a file of the same name.
            if str(arrays["fit"]) != _key(identity):
                return None
            params = _nested({name: arrays[name] for name in arrays.files if name != "fit"})
        return Finished(row, params)

    def add(self, identity: Row, others: Row | None = None, result: Any = None) -> Finished:
        """Writes a finished row, in place of any earlier one with the same identity.

        Args:
            identity: the cells that identify the row.
            others: the other cells.
            result: its result.
        """
        if self._keep_params:
            with _whole(self._params_path(identity)) as partial, partial.open("wb") as file:
                np.savez(file, allow_pickle=False, fit=np.array(_key(identity)), **_flat(result))
        row = identity | (others or {})
        same = (i for i, other in enumerate(self.rows) if identity.items() <= other.items())
        place = next(same, len(self.rows))
        self.rows[place : place + 1] = [row]
        with _whole(self._path) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
        return Finished(row, result)

    def _params_path(self, identity: Row) -> Path:
        stem = "-".join([*identity.values()][: self._num_names])
        return self._path.parent / "params" / f"{stem}.npz"


def progress(rows: Iterable[Row], title: str, unit: str) -> Iterator[Row]:
    """The rows, under a progress bar whose title is formatted with the current row."""
    with tqdm(rows, unit=unit, disable=None) as bar:
        for row in bar:
            bar.set_description(title.format_map(row))
            yield row


def as_row(**values: Any) -> Row:
    """Values as cells: a tuple as its members separated by spaces, None as an empty cell."""

    def cell(value: Any) -> str:
        if isinstance(value, tuple):
            return " ".join(map(str, value))
        return "" if value is None else str(value)

    return {name: cell(value) for name, value in values.items()}


def cells_of(settings: Any, names: str) -> Row:
    """The settings of these names, separated by spaces, as cells."""
    return as_row(**{name: getattr(settings, name) for name in names.split()})


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A temporary path, which replaces `path` once written: an interrupt leaves `path` intact."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    yield partial
    os.replace(partial, path)


def _key(identity: Row) -> str:
    return " | ".join(identity.values())


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
