"""Commands: arguments, which are also their help, and actions."""

import dataclasses
import difflib
import json
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

import numpy as np
import polars as pl
import tyro
from tyro.conf import OmitArgPrefixes, Positional, arg, subcommand

import distrax_flows
from distrax_flows.interfaces.command_line._errors import UsageError
from distrax_flows.interfaces.command_line._files import (
    INPUTS,
    OUTPUTS,
    check_output,
    complete_rows,
    read,
    write,
)
from distrax_flows.interfaces.command_line._kinds import KINDS, kind_of, parse_kinds
from distrax_flows.supports import Support
from distrax_flows.tables import Category, Recipe, TableInterrupted
from distrax_flows.tables._columns import read_columns
from distrax_flows.tables._density import TableDensity
from distrax_flows.tables._fit import fit_table
from distrax_flows.tables._frames import as_frame
from distrax_flows.tables._recipe import FLOWS

__all__ = ["parse"]

_PICTURES = (".png", ".pdf", ".svg")
_DENSITY = "density.flow"
_CONFIGURATION = "configuration.json"

_Data = Annotated[
    Positional[str],
    arg(
        metavar="DATA",
        help=f"Table in a file that ends in {', '.join(INPUTS)}; - is CSV from stdin.",
    ),
]
_Model = Annotated[
    Positional[str],
    arg(metavar="MODEL", help="Folder that `fit` wrote, or a file that `TableDensity.save` wrote."),
]
_DropMissing = Annotated[bool, arg(help="Leave out rows with missing values.")]
_Seed = Annotated[int, arg(help="Seed of all randomness: equal seeds give equal results.")]


def _changes() -> Any:
    """Return a type of dictionary of those fields of `Recipe` that are given."""
    by_size = arg(help_behavior_hint="(default: by the size of the table)")
    fields = {field.name: field.type for field in dataclasses.fields(Recipe)}
    fields["flow"] = Literal[FLOWS]
    annotated = {name: Annotated[kind, by_size] for name, kind in fields.items()}
    make_type: Any = TypedDict  # checkers want to read the fields of a type
    changes = make_type("Recipe", annotated, total=False)
    changes.__doc__ = Recipe.__doc__
    return changes


if TYPE_CHECKING:
    _Changes = dict[str, Any]
else:
    _Changes = _changes()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """Fit a density to a table, and save it in a folder.

    The kinds of columns, the flow and its training are chosen by the data, printed, and written
    into the folder; options change them. Ctrl-C saves what was fitted so far.

    For example:

    distrax-flows fit people.csv --output people

    distrax-flows fit wind.csv --output wind --columns angle=circle:0:360 grade=category

    distrax-flows fit rows.parquet --output rows --drop id name --flow maf --num-members 1
    """

    data: _Data
    output: Annotated[str, arg(metavar="FOLDER", help="Folder to save in.")]
    columns: Annotated[
        tuple[str, ...],
        arg(
            metavar="NAME=KIND",
            help="Kinds of columns that their values do not show. KIND is one of "
            f"{', '.join(form for form, _ in KINDS.values())}; multiples of pi are numbers, too.",
            help_behavior_hint="(default: all by their values)",
        ),
    ] = ()
    drop: Annotated[
        tuple[str, ...],
        arg(metavar="NAME", help="Columns to leave out.", help_behavior_hint="(default: none)"),
    ] = ()
    drop_missing: _DropMissing = False
    seed: _Seed = 0
    overwrite: Annotated[bool, arg(help="Replace a density that `--output` has already.")] = False
    quiet: Annotated[bool, arg(help="Print nothing.")] = False
    recipe: OmitArgPrefixes[_Changes] = dataclasses.field(default_factory=dict)

    def run(self) -> None:
        """Run the command."""
        told = parse_kinds(self.columns)
        try:
            Recipe(**self.recipe)
        except (ValueError, TypeError) as error:
            raise UsageError(error) from error
        folder = Path(self.output)
        if (folder / _DENSITY).exists() and not self.overwrite:
            raise UsageError(
                f"`--output` must not hold a density yet; got {self.output!r}. Add `--overwrite`, "
                "or choose another folder."
            )
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"`--output` must be a folder; got the file {self.output!r}.")
        frame = read(self.data, [name for name, kind in told.items() if kind == Category()])
        for name in (*self.drop, *told):
            if name not in frame.columns:
                raise UsageError(_no_column(name, frame.columns))
        frame = frame.drop(self.drop)
        table, _ = complete_rows(
            frame, drop_missing=self.drop_missing, remedy=", `--drop NAME` columns"
        )
        if len(table) < len(frame) and not self.quiet:
            print(f"{len(frame) - len(table)} of {len(frame)} rows left out: values are missing")
        told = {name: kind for name, kind in told.items() if name in table.columns}
        _check_columns(table, told)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            density = fit_table(
                table, columns=told, key=self.seed, progress=not self.quiet, **self.recipe
            )
        except TableInterrupted as interrupt:
            self._save(interrupt.density)
            raise KeyboardInterrupt(f"{interrupt} It is saved in {folder}.") from None
        self._save(density)
        if not self.quiet:
            print(f"Saved in {folder}. Next: distrax-flows sample {folder} 1000")

    def _save(self, density: TableDensity) -> None:
        spec = density.spec
        density.save(Path(self.output) / _DENSITY)
        configuration = {
            "distrax_flows": distrax_flows.__version__,
            "data": self.data,
            "seed": self.seed,
            "drop": self.drop,
            "columns": {column.name: kind_of(column) for column in spec.columns},
            "recipe": dataclasses.asdict(spec.recipe),
            "facts": dict(spec.facts),
        }
        text = json.dumps(configuration, indent=2, ensure_ascii=False)
        (Path(self.output) / _CONFIGURATION).write_text(text + "\n", encoding="utf-8")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """Print the mean log-density of the rows of a table, with its standard error.

    In nats per row, per unit of each column: higher is better. Rows of low density are unusual.

    For example:

    distrax-flows score people test.csv

    distrax-flows score people test.csv --rows | sort -t, -gk2 | head

    distrax-flows score people test.csv --rows --output scores.parquet
    """

    model: _Model
    data: _Data
    rows: Annotated[
        bool, arg(help="Write the log-density of each row, beside its number, counted from 0.")
    ] = False
    output: Annotated[
        str | None,
        arg(
            metavar="FILE",
            help=f"File for the rows: {', '.join(OUTPUTS)}.",
            help_behavior_hint="(default: stdout)",
        ),
    ] = None
    drop_missing: _DropMissing = False

    def run(self) -> None:
        """Run the command."""
        if self.output is not None and not self.rows:
            raise UsageError("`--output` is for rows: add `--rows`.")
        check_output(self.output)
        density = _load(self.model)
        table, numbers = _table_for(density, self.data, self.drop_missing)
        log_prob = density.log_prob(table)
        # Rows on stdout may be read by another program.
        to = sys.stderr if self.rows and self.output is None else sys.stdout
        print(_summary(log_prob), file=to)
        if self.rows:
            write(pl.DataFrame({"row": numbers, "log_prob": log_prob}), self.output)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """Sample rows of the density, as CSV to stdout or into a file.

    For example:

    distrax-flows sample people 5

    distrax-flows sample people 100000 --seed 1 --output samples.parquet
    """

    model: _Model
    num: Annotated[Positional[int], arg(metavar="NUM", help="Number of rows.")] = 1000
    seed: _Seed = 0
    output: Annotated[
        str | None,
        arg(
            metavar="FILE",
            help=f"File: {', '.join(OUTPUTS)}.",
            help_behavior_hint="(default: CSV on stdout)",
        ),
    ] = None

    def run(self) -> None:
        """Run the command."""
        if self.num < 1:
            raise UsageError(f"`NUM` must be an integer of at least 1; got {self.num}.")
        check_output(self.output)
        samples = as_frame(_load(self.model).sample(self.num, key=self.seed)).columns
        write(
            pl.DataFrame(
                {name: x.tolist() if x.dtype.kind in "OU" else x for name, x in samples.items()}
            ),
            self.output,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Info:
    """Print the columns and the configuration of a density.

    For example:

    distrax-flows info people
    """

    model: _Model

    def run(self) -> None:
        """Run the command."""
        print(_load(self.model))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plot:
    """Draw a corner plot of a table beside samples of the density: up to 8 columns.

    For example:

    distrax-flows plot people people.csv --output people.png
    """

    model: _Model
    data: _Data
    output: Annotated[str, arg(metavar="FILE", help=f"Picture: {', '.join(_PICTURES)}.")]
    num: Annotated[int, arg(help="Most rows of the table, and of samples, to show.")] = 2_000
    seed: _Seed = 0
    drop_missing: _DropMissing = False

    def run(self) -> None:
        """Run the command."""
        if self.num < 1:
            raise UsageError(f"`--num` must be an integer of at least 1; got {self.num}.")
        check_output(self.output, _PICTURES)
        density = _load(self.model)
        table, _ = _table_for(density, self.data, self.drop_missing)
        figure = density.plot(table, num=self.num, key=self.seed)
        figure.savefig(self.output, dpi=150)
        print(f"Saved as {self.output}.")


_Command = (
    Annotated[Fit, subcommand("fit")]
    | Annotated[Score, subcommand("score")]
    | Annotated[Sample, subcommand("sample")]
    | Annotated[Info, subcommand("info")]
    | Annotated[Plot, subcommand("plot")]
)


def parse(program: str, args: Sequence[str]) -> Any:
    """Return the command that the arguments describe, with a method `run`.

    Raises:
        SystemExit: with code 2, the arguments are wrong; with code 0, they ask for help.
    """
    return tyro.cli(
        _Command,
        prog=program,
        args=args,
        config=(tyro.conf.FlagCreatePairsOff,),
        description="Densities of tables: fit one to a file, score rows, sample new ones. "
        "`--version` prints the version.",
    )


def _check_columns(table: pl.DataFrame, told: Mapping[str, Support | Category]) -> None:
    """Refuse all columns that have no density at once; `fit_table` names only the first."""
    refused = {}
    for name in table.columns:
        try:
            frame = as_frame(table.select(name))
            kind = {name: told[name]} if name in told else {}
            read_columns(frame.columns, frame.dtypes, kind)
        except (ValueError, TypeError) as error:
            refused[name] = str(error)
    if refused:
        names = " ".join(map(shlex.quote, refused))
        raise ValueError("\n  ".join([*refused.values(), f"To leave out: --drop {names}"]))


def _load(model: str) -> TableDensity:
    path = Path(model)
    if path.is_dir() and not (path / _DENSITY).exists():
        raise ValueError(f"`MODEL` must be a folder that `fit` wrote; got {model!r}, without one.")
    if not path.exists():
        raise ValueError(f"`MODEL` must exist; got {model!r}. `distrax-flows fit` makes one.")
    return TableDensity.load(path / _DENSITY if path.is_dir() else path)


def _table_for(
    density: TableDensity, data: str, drop_missing: bool
) -> tuple[pl.DataFrame, np.ndarray]:
    """Return the columns of a density of the complete rows of a file, and their numbers."""
    columns = density.spec.columns
    texts = [
        column.name
        for column in columns
        if column.is_category and all(isinstance(level, str) for level in column.levels)
    ]
    frame = read(data, texts)
    for column in columns:
        if column.name not in frame.columns:
            raise ValueError(_no_column(column.name, frame.columns))
    frame = frame.select(column.name for column in columns)
    return complete_rows(frame, drop_missing=drop_missing, remedy="")


def _no_column(name: str, names: Sequence[str]) -> str:
    by_lower = {other.lower(): other for other in names}
    close = difflib.get_close_matches(name.lower(), by_lower, 1)
    hint = f" Perhaps {by_lower[close[0]]!r} is meant." if close else ""
    return f"Data must have a column {name!r}; got {list(names)}.{hint}"


def _summary(log_prob: np.ndarray) -> str:
    num, inside = len(log_prob), np.isfinite(log_prob)
    if inside.all():
        error = f" +- {log_prob.std(ddof=1) / math.sqrt(num):.4f}" if num > 1 else ""
        return f"mean log-density: {log_prob.mean():.4f}{error} nats per row ({num} rows)"
    others = f"; {log_prob[inside].mean():.4f} without them" if inside.any() else ""
    outside = f"{(~inside).sum()} of {num} rows are outside the support"
    return f"mean log-density: -inf, as {outside}{others}"
