"""Selection, averages and text of the rows of tables."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from experiments._table import Finished, Row


def select(rows: Iterable[Row], **cells: str) -> list[Row]:
    """The rows that have these cells."""
    return [row for row in rows if cells.items() <= row.items()]


def select_fits(fits: Iterable[Finished], **cells: str) -> list[Finished]:
    """The finished rows that have these cells."""
    return [fit for fit in fits if cells.items() <= fit.row.items()]


def mean(rows: Iterable[Row], column: str) -> float:
    """The mean of a column."""
    return np.mean([float(row[column]) for row in rows]).item()


def mean_and_stderr(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """The mean of independent values, and its standard error: NaN for a single value."""
    values = np.asarray(values, float)
    stderr = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return float(values.mean()), float(stderr)


def with_stderr(mean: float, stderr: float) -> str:
    """A mean as text, with its standard error unless that is NaN."""
    return f"{mean:.2f}" + ("" if math.isnan(stderr) else f" ± {stderr:.2f}")


def known(rows: Iterable[Row], column: str) -> list[float]:
    """The numbers of a column except NaN; a single NaN if there are no others."""
    return [value for row in rows if not math.isnan(value := float(row[column]))] or [math.nan]


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Aligned text: the first column is aligned left, the others right."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])])
        for cells in lines
    ]
    return "\n".join([text[0], "-" * len(text[0]), *text[1:]])


def format_rows(rows: Sequence[Row], columns: str) -> str:
    """Columns of rows as aligned text; their names are separated by spaces."""
    names = columns.split()
    return format_table(names, [[row.get(name, "") for name in names] for row in rows])
