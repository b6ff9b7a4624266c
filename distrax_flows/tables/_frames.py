"""Tables of NumPy, pandas, polars and others as columns of NumPy arrays, and back."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from distrax_flows.tables._columns import Column

__all__ = ["Frame", "as_frame", "from_columns"]

_INSTALL = "Install it: `pip install 'distrax_flows[tables]'`."


class Frame(NamedTuple):
    """Columns of a table.

    Attributes:
        columns: `[N]` each, by name; of dtype object unless they are numbers.
        dtypes: dtype of each, as its library prints it.
        library: "matrix", "structured array" or "mapping", of NumPy; or the data frame's library,
            by its name in narwhals: "pandas", "polars", "pyarrow", ...
    """

    columns: dict[str, np.ndarray]
    dtypes: dict[str, str]
    library: str

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values())))


def as_frame(data: Any, names: Collection[str] | None = None) -> Frame:
    """Return the columns of a matrix, a structured array, a mapping of columns or a data frame.

    Columns of a matrix are named `x0`, `x1`, ... If `names` are given, only columns among them are
    read from a data frame.

    Raises:
        ImportError: data frames need narwhals.
        TypeError: `data` is not a table.
        ValueError: it has no rows or no columns, or two columns of the same name.
    """
    if isinstance(data, np.ndarray | jax.Array):
        frame = _of_array(np.asarray(data))
    elif isinstance(data, Mapping):
        frame = _of_arrays({str(name): np.asarray(x) for name, x in data.items()}, "mapping")
    else:
        frame = _of_data_frame(data, names)
    if (not frame.columns and names is None) or (frame.columns and frame.num_rows == 0):
        raise ValueError(
            f"`data` must have rows and columns; got {len(frame.columns)} columns of "
            f"{frame.num_rows if frame.columns else 0} rows."
        )
    if not frame.columns:
        return frame
    lengths = {name: values.shape for name, values in frame.columns.items()}
    if len(set(lengths.values())) > 1 or len(next(iter(lengths.values()))) != 1:
        raise ValueError(f"`data` must have columns of one length; got shapes {lengths}.")
    return frame


def from_columns(values: Mapping[str, np.ndarray], columns: Sequence[Column], library: str) -> Any:
    """Return a table like the one that `as_frame` took, with the dtypes that its columns had."""
    if library in ("matrix", "structured array", "mapping"):
        restored = {column.name: _restore(values[column.name], column) for column in columns}
        if library == "mapping":
            return restored
        if library == "matrix":
            return np.column_stack(list(restored.values()))
        table = np.empty(
            len(restored[columns[0].name]), [(name, x.dtype) for name, x in restored.items()]
        )
        for name, x in restored.items():
            table[name] = x
        return table
    nw = _narwhals()
    lists = {name: x.tolist() if x.dtype.kind in "UO" else x for name, x in values.items()}
    frame = nw.from_dict(lists, backend=library)
    casts = [nw.col(column.name).cast(_narwhals_dtype(column)) for column in columns]
    return frame.with_columns(*casts).to_native()


def _restore(values: np.ndarray, column: Column) -> np.ndarray:
    # Strings keep their own length, which a sample need not reach.
    return values if column.dtype.startswith(("<U", "str")) else values.astype(column.dtype)


def _of_array(array: np.ndarray) -> Frame:
    if array.dtype.names:
        columns = {name: array[name] for name in array.dtype.names}
    elif array.ndim == 2:
        columns = {f"x{index}": array[:, index] for index in range(array.shape[1])}
    else:
        raise ValueError(
            f"`data` must be a matrix `[N, D]`; got shape {array.shape}. A single column is "
            "`x[:, None]`."
        )
    return _of_arrays(columns, "structured array" if array.dtype.names else "matrix")


def _of_arrays(arrays: Mapping[str, np.ndarray], library: str) -> Frame:
    columns = {name: _as_numbers(x) if x.dtype == object else x for name, x in arrays.items()}
    return Frame(columns, {name: str(x.dtype) for name, x in columns.items()}, library)


def _of_data_frame(data: Any, wanted: Collection[str] | None) -> Frame:
    try:
        nw = _narwhals()
        frame = nw.from_native(data, eager_only=True)
    except TypeError as error:
        raise TypeError(
            "`data` must be a matrix, or a data frame of pandas, polars or pyarrow; got "
            f"{type(data).__name__}. A lazy frame is collected first, a list is `np.asarray(rows)`."
        ) from error
    except ValueError as error:  # narwhals found two columns of one name
        found = " ".join(str(error).split())
        raise ValueError(f"`data` must have columns of different names. {found}") from error
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        raise ValueError(f"`data` must have columns of different names; got {names}.")
    columns, dtypes = {}, {}
    for name in frame.columns:
        if wanted is not None and str(name) not in wanted:
            continue
        series, dtype = frame.get_column(name), frame.schema[name]
        if dtype.is_numeric():
            has_nulls = bool(series.is_null().any())
            is_wide = has_nulls or not (dtype.is_integer() or dtype.is_float())
            values = (series.cast(nw.Float64) if is_wide else series).to_numpy()
        elif dtype.is_temporal():
            raise TypeError(
                f"Column {name!r} must hold numbers or names; got {dtype}. Convert it, for "
                "instance to the number of days since a date, or to the hour of the day on a "
                "circle: `columns={'hour': supports.circle(0, 24)}`."
            )
        else:
            values = np.empty(len(series), object)
            values[:] = series.to_list()
            values[series.is_null().to_numpy()] = None
            if dtype == nw.Object:
                values = _as_numbers(values)
        columns[str(name)] = values
        dtypes[str(name)] = str(dtype)
    return Frame(columns, dtypes, frame.implementation.value)


def _as_numbers(values: np.ndarray) -> np.ndarray:
    """Return objects as floats if all are numbers, else as Python objects."""
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in plain):
        return np.array(plain, np.float64)
    objects = np.empty(len(plain), object)
    objects[:] = plain
    return objects


def _narwhals_dtype(column: Column) -> Any:
    nw = _narwhals()
    if column.dtype.startswith("Decimal"):
        return nw.Float64
    if column.dtype.startswith("Enum"):
        are_names = all(isinstance(level, str) for level in column.levels)
        return nw.Enum(list(column.levels)) if are_names else nw.Categorical
    return getattr(nw, column.dtype.split("(")[0])


def _narwhals() -> Any:
    try:
        import narwhals
    except ImportError as error:
        raise ImportError(f"Data frames need narwhals. {_INSTALL}") from error
    return narwhals
