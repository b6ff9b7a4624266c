"""Tables in files, read and written by polars and NumPy."""

import codecs
import io
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from distrax_flows.interfaces.command_line._errors import UsageError

__all__ = ["INPUTS", "OUTPUTS", "check_output", "complete_rows", "read", "write"]

_MISSING = ("", "NA", "N/A", "NaN", "nan", "NULL", "null")
_SEPARATORS = (";", "\t", "|", ",")  # of those that are as frequent, the first is taken


def read(source: str, texts: Collection[str] = ()) -> pl.DataFrame:
    """Read the table in a file, of a kind in `INPUTS`, or CSV from stdin if `source` is "-".

    Spaces around names and texts are removed, and text columns that are all numbers become numbers.
    Cells without a value, NaN among them, are null.

    Args:
        source: path of the file.
        texts: columns whose values are names, even where they look like numbers.

    Raises:
        UsageError: the kind of file is unknown.
        OSError: the file cannot be opened.
        ValueError: it does not hold a table.
    """
    suffix = ".csv" if source == "-" else Path(source).suffix.lower()
    if suffix not in INPUTS:
        raise UsageError(
            f"Data must come in a file that ends in one of {', '.join(INPUTS)}, or be CSV from "
            f"stdin, `-`; got {source!r}."
        )
    content = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    shown = "stdin" if source == "-" else source
    try:
        frame = INPUTS[suffix](content, texts)
        frame = frame.rename({name: name.strip() for name in frame.columns})
    except (pl.exceptions.PolarsError, ValueError, EOFError, OSError) as error:
        reason = str(error).split("\n")[0].rstrip(".")
        hint = " Convert it: `iconv -f latin1 -t utf8`." if "utf-8" in reason else ""
        message = f"{shown} must hold a table in {suffix[1:]} format; got: {reason}.{hint}"
        raise ValueError(message) from error
    frame = frame.with_columns(
        pl.col(name).cast(pl.String) for name in texts if name in frame.columns
    )
    frame = frame.with_columns(
        _tidied(frame[name], name in texts)
        for name in frame.columns
        if frame[name].dtype == pl.String
    )
    return frame.with_columns(pl.col(pl.Float32, pl.Float64).fill_nan(None))


def complete_rows(
    frame: pl.DataFrame, *, drop_missing: bool, remedy: str
) -> tuple[pl.DataFrame, np.ndarray]:
    """Return the rows without missing values, and their numbers from 0.

    Args:
        frame: the table.
        drop_missing: whether rows with missing values may be dropped.
        remedy: other remedies, for the message.

    Raises:
        ValueError: values are missing, and their rows may not be dropped; or no rows are left.
    """
    missing = {c.name: c.null_count() for c in frame.get_columns() if c.null_count()}
    if missing and not drop_missing:
        counts = ", ".join(f"{count} in {name!r}" for name, count in missing.items())
        raise ValueError(
            f"Data must have a value in each cell; got missing ones: {counts}, of {len(frame)} "
            f"rows. `--drop-missing` leaves out their rows{remedy}."
        )
    is_complete = frame.select(
        pl.all_horizontal(pl.lit(True), pl.all().is_not_null()).alias("complete")
    )["complete"].to_numpy()
    rows = np.flatnonzero(np.broadcast_to(is_complete, len(frame)))
    if len(rows) == 0:
        raise ValueError(f"Data must have complete rows; got none among {len(frame)}.")
    return frame[rows], rows


def check_output(path: str | None, kinds: Collection[str] | None = None) -> None:
    """Refuse a path that cannot be written, before anything is computed.

    Args:
        path: path of a file; None is stdout.
        kinds: suffixes that are allowed; those of tables if None.

    Raises:
        UsageError: the suffix is unknown, or the folder does not exist.
    """
    kinds = OUTPUTS if kinds is None else kinds
    if path is None:
        return
    if Path(path).suffix.lower() not in kinds:
        raise UsageError(f"`--output` must end in one of {', '.join(kinds)}; got {path!r}.")
    if not Path(path).parent.is_dir():
        raise UsageError(f"`--output` must be in a folder that exists; got {path!r}.")


def write(frame: pl.DataFrame, path: str | None) -> None:
    """Write a table to a file, by its suffix, or as CSV to stdout if `path` is None.

    Raises:
        ValueError: the kind of file has no room for the columns.
    """
    if path is None:
        print(frame.write_csv(), end="")
    else:
        OUTPUTS[Path(path).suffix.lower()](frame, path)


def _read_csv(content: bytes, texts: Collection[str]) -> pl.DataFrame:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        content = content.decode("utf-16").encode()
    first = next((line for line in content.splitlines() if line.strip()), b"").decode()
    separator = max(_SEPARATORS, key=first.count) if any(c in first for c in _SEPARATORS) else ","
    row = pl.read_csv(
        io.BytesIO(content), separator=separator, n_rows=1, has_header=False, infer_schema=False
    ).row(0)
    names = [(name or "").strip() for name in row]
    # Where semicolons separate columns, commas begin decimals.
    has_header = not any(_is_number(name.replace(",", ".")) for name in names)
    if not has_header:  # files written here never have numbers as names
        names = [f"x{index}" for index in range(len(row))]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"{names.count(twice[0])} columns named {twice[0]!r}; rename them")
    return pl.read_csv(
        io.BytesIO(content),
        has_header=has_header,
        new_columns=names,
        separator=separator,
        decimal_comma=separator == ";",
        null_values=list(_MISSING),
        schema_overrides={name: pl.String for name in names if name in texts},
        infer_schema_length=None,  # all rows decide whether a column holds numbers
        try_parse_dates=True,
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_npy(content: bytes) -> pl.DataFrame:
    return _of_arrays({"the array": np.load(io.BytesIO(content), allow_pickle=False)})


def _read_npz(content: bytes) -> pl.DataFrame:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return _of_arrays({name: arrays[name] for name in arrays.files})


def _read_fits(content: bytes) -> pl.DataFrame:
    """Return the first table of a FITS file."""
    try:
        from astropy.table import Table  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError("Files in .fits format need astropy: `pip install astropy`.") from error
    table = Table.read(io.BytesIO(content), format="fits")
    table.convert_bytestring_to_unicode()
    columns = {}
    for name in table.colnames:
        values = np.ma.asarray(table[name])
        if values.ndim != 1:
            raise ValueError(
                f"its columns must hold one value per row; got {values.shape[1:]} of them in "
                f"{name!r}"
            )
        column = pl.Series(name, _native(values.data))
        columns[name] = column.set(pl.Series(np.ma.getmaskarray(values)), None)
    return pl.DataFrame(columns)


def _of_arrays(arrays: Mapping[str, np.ndarray]) -> pl.DataFrame:
    """Return one matrix or structured array, or vectors of one length, as a table."""
    if len(arrays) == 1:
        (array,) = arrays.values()
        if array.dtype.names:
            return pl.DataFrame({name: _native(array[name]) for name in array.dtype.names})
        if array.ndim == 2:
            return pl.DataFrame({f"x{i}": _native(x) for i, x in enumerate(array.T)})
    shapes = {name: array.shape for name, array in arrays.items()}
    if {len(shape) for shape in shapes.values()} != {1} or len(set(shapes.values())) != 1:
        raise ValueError(f"it must be one matrix, or columns of one length; got shapes {shapes}")
    return pl.DataFrame({name: _native(array) for name, array in arrays.items()})


def _native(x: np.ndarray) -> np.ndarray:
    """Return a column in the byte order of the machine, next to each other in memory."""
    return np.ascontiguousarray(x, x.dtype.newbyteorder("="))


def _tidied(column: pl.Series, is_text: bool) -> pl.Series:
    stripped = column.str.strip_chars()
    stripped = stripped.set(stripped.is_in(list(_MISSING)), None)
    if not is_text and stripped.null_count() < len(stripped):
        for dtype in (pl.Int64, pl.Float64):
            numbers = stripped.cast(dtype, strict=False)
            if numbers.null_count() == stripped.null_count():
                return numbers
    return stripped


def _write_npy(frame: pl.DataFrame, path: str) -> None:
    names = [column.name for column in frame.get_columns() if not column.dtype.is_numeric()]
    if names:
        raise ValueError(
            f"`--output` must be of a kind for texts, such as .csv or .parquet, as columns {names} "
            f"hold no numbers; got {path!r}."
        )
    np.save(path, frame.to_numpy())


def _write_npz(frame: pl.DataFrame, path: str) -> None:
    columns: dict[str, Any] = {
        column.name: np.array(column.to_list()) if column.dtype == pl.String else column.to_numpy()
        for column in frame.get_columns()
    }
    np.savez(path, **columns)


# By suffix: from the content of a file, and the names of text columns, to a table.
INPUTS: dict[str, Callable[[bytes, Collection[str]], pl.DataFrame]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".txt": _read_csv,
    ".parquet": lambda content, _: pl.read_parquet(io.BytesIO(content)),
    ".feather": lambda content, _: pl.read_ipc(io.BytesIO(content)),
    ".npy": lambda content, _: _read_npy(content),
    ".npz": lambda content, _: _read_npz(content),
    ".fits": lambda content, _: _read_fits(content),
}

# By suffix: writes a table to a path.
OUTPUTS: dict[str, Callable[[pl.DataFrame, str], None]] = {
    ".csv": lambda frame, path: frame.write_csv(path),
    ".tsv": lambda frame, path: frame.write_csv(path, separator="\t"),
    ".parquet": lambda frame, path: frame.write_parquet(path),
    ".feather": lambda frame, path: frame.write_ipc(path),
    ".npy": _write_npy,
    ".npz": _write_npz,
}
