"""Columns of a table: their kinds, and the standardised numbers that replace them."""

import collections
import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from distrax_flows import supports
from distrax_flows.supports import Support

__all__ = ["Column", "category", "read_columns"]

_MAX = float(np.finfo(np.float32).max)
_TINY = float(np.finfo(np.float32).tiny)
_LIMITS = {  # of what float32 holds inside each support
    "positive": (_TINY, _MAX),
    "log_scale": (_TINY, _MAX),
    "above": (_TINY, _MAX),
    "below": (-_MAX, -_TINY),
    "interval": (_TINY, float(np.nextafter(np.float32(1), np.float32(0)))),
}
_MAX_LEVELS = 50  # a column with more levels is taken to name its rows
_MAX_INTEGER_RANGE = 100_000  # beyond, float32 has few numbers between integers
_MAX_INTEGER = 2.0**53  # beyond, float64 skips integers
_FAR_FROM_END = 1e3  # robust standard deviations
_AT_AN_END = 0.05  # share of rows at each end from which integers are bounded
_TIED = 0.1  # share of rows with the same value above which it gets a remark
_MAX_DECADES = 60  # float32 has 76
_HEAVY = 0.1  # nats per row that asinh must gain for tails to count as heavy
_FAR = 20.0  # robust standard deviations from the median at which a value is an outlier
# Words in the names of columns on circles, and the ranges of their units.
_CIRCLES = (
    (
        "angle|azimuth|bearing|heading|direction|longitude|phase|theta|phi",
        ((-math.pi, math.pi), (0.0, 2 * math.pi), (-180.0, 180.0), (0.0, 360.0)),
    ),
    ("hour", ((0.0, 24.0),)),
)


@dataclasses.dataclass(frozen=True)
class Category:
    """Kind of a column of names; see `category`."""


def category() -> Category:
    """Return the kind of a column whose values are names, such as colours, whatever their type.

        fit_table(frame, columns={"cylinders": category()})

    `fit_table` treats columns of strings, booleans and enumerations as categories by default.
    """
    return Category()


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table, and the numbers that the flow sees in its place.

    A value x becomes `u = (x - shift) / scale`, in float64, and the flow then sees float32; for a
    category, u is the number of the level.

    Attributes:
        name: name of the column.
        kind: "real", "positive", "log_scale", "above", "below", "interval", "circle", "integer" or
            "category".
        low: lower end of its values.
        high: upper end.
        shift: number subtracted from values.
        scale: divisor of the shifted values.
        dtype: dtype of the column in the frame that was fitted, as its library prints it.
        tails: `loc` and `scale` of `supports.asinh_scale` if its tails are heavy, else None.
        levels: the values of a category, in order.
        remarks: notes on the column for its reader.
    """

    name: str
    kind: str
    low: float = -math.inf
    high: float = math.inf
    shift: float = 0.0
    scale: float = 1.0
    dtype: str = "float64"
    tails: tuple[float, float] | None = None
    levels: tuple[str | int | float | bool, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def is_category(self) -> bool:
        """Whether its values are names."""
        return self.kind == "category"

    def support(self) -> Support:
        """Return the support of the numbers that the flow sees."""
        if self.tails is not None:
            loc, scale = self.tails
            support = dataclasses.replace(self, tails=None).support()
            return supports.asinh_scale(support, loc=loc, scale=scale)
        match self.kind:
            case "real":
                return supports.real()
            case "positive" | "above":
                return supports.positive()
            case "log_scale":
                return supports.log_scale()
            case "below":
                return supports.below(0.0)
            case "interval":
                return supports.interval(0.0, 1.0)
            case "circle":
                return supports.circle()
        low, high = (
            None if math.isinf(end) else round(end - self.shift) for end in (self.low, self.high)
        )
        return supports.integer(low, high)

    def encode(self, values: np.ndarray) -> Float[np.ndarray, " N"]:
        """Replace values by the numbers that the flow sees.

        Args:
            values: `[N]`, numbers, or levels of a category.

        Raises:
            ValueError: values are missing, or are not values of this column.
        """
        if self.is_category:
            numbers = {level: number for number, level in enumerate(self.levels)}
            unknown = sorted({str(value) for value in values.tolist() if value not in numbers})
            if unknown:
                raise ValueError(
                    f"Column {self.name!r} must hold levels it was fitted to, "
                    f"{list(self.levels)}; got {unknown[:5]}."
                )
            return np.array([numbers[value] for value in values.tolist()], np.float64)
        values = _without_booleans(values)
        check_values(self.name, values)
        x = values.astype(np.float64)
        u = (x - self.shift) / self.scale
        # The flow sees float32: values inside stay inside, and those outside overflow nothing.
        low, high = _LIMITS.get(self.kind, (-_MAX, _MAX))
        is_inside = (x > self.low) & (x < self.high)
        return np.where(is_inside, u.clip(low, high), u.clip(-_MAX, _MAX))

    def decode(self, u: Shaped[np.ndarray, " N"]) -> np.ndarray:
        """Replace samples of the flow by values.

        Args:
            u: `[N]`, as `encode` returns them.
        """
        if self.is_category:
            are_alike = len({type(level) for level in self.levels}) == 1
            return np.array(self.levels, None if are_alike else object)[u.astype(int)]
        values = self.shift + self.scale * u.astype(np.float64)
        held = re.fullmatch(r"u?int\d+", self.dtype.lower())
        if self.kind == "integer" or held:
            values = np.rint(values)
        if held:
            info = np.iinfo(held[0])
            values = values.clip(info.min, info.max)
        if self.kind != "circle":
            return values
        return np.where(values < self.high, values, self.low)

    def describe(self) -> str:
        """Return its kind and range, as `fit_table` prints them."""
        if self.tails is not None:
            return dataclasses.replace(self, tails=None).describe() + ", asinh scale"
        if self.is_category:
            shown = ", ".join(map(str, self.levels[:6])) + (", ..." if len(self.levels) > 6 else "")
            return f"category of {len(self.levels)}: {shown}"
        if math.isinf(self.low) and math.isinf(self.high):
            return self.kind
        closing = "]" if self.kind == "integer" and math.isfinite(self.high) else ")"
        opening = "[" if self.kind in ("integer", "circle") and math.isfinite(self.low) else "("
        return f"{self.kind} {opening}{self.low:g}, {self.high:g}{closing}"


def read_columns(
    table: Mapping[str, np.ndarray],
    dtypes: Mapping[str, str],
    told: Mapping[str, Support | Category],
) -> tuple[Column, ...]:
    """Return the columns of a table, of the kinds in `told` or those that their values suggest.

    Raises:
        ValueError: a column is constant, has missing values, as many names as a column of
            identifiers, or values outside its support in `told`; or `told` names no column.
        TypeError: a column holds neither numbers nor names, or a value in `told` is not a kind.
    """
    unknown = [name for name in told if name not in table]
    if unknown:
        raise ValueError(f"`columns` must name columns of the data, {list(table)}; got {unknown}.")
    return tuple(
        _read(name, values, dtypes[name], told.get(name)) for name, values in table.items()
    )


def check_values(name: str, values: np.ndarray) -> None:
    """Raise unless all values are finite numbers."""
    if values.dtype.kind not in "biuf":
        raise TypeError(
            f"Column {name!r} must hold numbers; got values of {values.dtype}, such as "
            f"{values[0]!r}."
        )
    for kind, where, in_pandas, in_polars in (
        ("missing", np.isnan(values), "frame.dropna()", "frame.drop_nans().drop_nulls()"),
        (
            "infinite",
            np.isinf(values),
            f"frame[np.isfinite(frame[{name!r}])]",
            f"frame.filter(pl.col({name!r}).is_finite())",
        ),
    ):
        if where.any():
            raise ValueError(
                f"Column {name!r} must hold finite numbers; got {where.sum()} {kind} ones, the "
                f"first in row {int(np.argmax(where))}. Drop their rows, `{in_pandas}` in pandas "
                f"or `{in_polars}` in polars, drop the column, or fill them in."
            )


def _without_booleans(values: np.ndarray) -> np.ndarray:
    """Return objects that are all booleans as numbers, for a column told to hold numbers."""
    are_booleans = values.dtype == object and all(isinstance(value, bool) for value in values)
    return values.astype(np.float64) if are_booleans else values


def _read(name: str, values: np.ndarray, dtype: str, told: Support | Category | None) -> Column:
    if isinstance(told, Category) or (told is None and values.dtype.kind in "bUO"):
        return _read_category(name, values, dtype)
    values = _without_booleans(values)
    check_values(name, values)
    x = values.astype(np.float64)
    if values.dtype.kind in "iu" and (np.abs(x) > _MAX_INTEGER).any():
        raise ValueError(
            f"Column {name!r} must hold integers of at most 2**53, which float64 tells apart; got "
            f"{values[np.argmax(np.abs(x))]}. Subtract an offset, or drop it if it names rows."
        )
    if (x == x[0]).all():
        raise ValueError(f"Column {name!r} must vary; got {values[0]} in all rows. Drop it.")
    if told is None:
        told = _guess(name, x, is_integer=values.dtype.kind in "iu")
    column = _scaled(name, x, dtype, told)
    if column.tails is None and column.kind != "circle":
        column = dataclasses.replace(column, tails=_heavy_tails(column, x))
    return dataclasses.replace(column, remarks=(*column.remarks, *_remarks(column, x)))


def _read_category(name: str, values: np.ndarray, dtype: str) -> Column:
    levels = values.tolist()
    absent = [row for row, level in enumerate(levels) if level is None or level != level]
    if absent:
        raise ValueError(
            f"Column {name!r} must have a value in each row; got {len(absent)} missing ones, the "
            f"first in row {absent[0]}. Drop their rows, or fill in a level of their own, such as "
            '"unknown".'
        )
    wrong = [level for level in levels if not isinstance(level, str | int | float | bool)]
    if wrong:
        raise TypeError(
            f"Column {name!r} must hold numbers or names; got {type(wrong[0]).__name__}, such as "
            f"{wrong[0]!r}. Convert it, for instance a date to the number of days since another."
        )
    found = sorted(set(levels), key=lambda level: (isinstance(level, str), level))
    if len(found) == 1:
        raise ValueError(f"Column {name!r} must vary; got {found[0]!r} in all rows. Drop it.")
    if len(found) > _MAX_LEVELS:
        raise ValueError(
            f"Column {name!r} must have at most {_MAX_LEVELS} levels; got {len(found)} in "
            f"{len(levels)} rows, such as {found[:3]}. Drop it if it names rows, or merge levels."
        )
    column = Column(name, "category", dtype=dtype, levels=tuple(found))
    rare = sum(count < 5 for count in collections.Counter(levels).values())
    remarks = (f"{rare} levels with fewer than 5 rows",) if rare else ()
    return dataclasses.replace(column, remarks=remarks)


def _guess(name: str, x: np.ndarray, is_integer: bool) -> Support:
    """Return the support that the values of a column suggest; see `fit_table`."""
    low, high = x.min(), x.max()
    for words, ranges in _CIRCLES:
        if not re.search(rf"(?:^|_)(?:{words})(?:$|_)", name, re.IGNORECASE):
            continue
        for start, end in ranges:
            # Numbers that only reach a small part of the circle may be in another unit.
            if start <= low and high <= end and high - low > 0.5 * (end - start):
                return supports.circle(start, end)
    whole = is_integer or (x == np.rint(x)).all()
    if whole and high - low <= _MAX_INTEGER_RANGE:
        # An end that many rows reach is the end of a scale, such as that of a rating.
        at_low, at_high = ((x == end).mean() >= _AT_AN_END for end in (low, high))
        is_near_zero = low >= 0 and high <= _MAX_INTEGER_RANGE
        start = int(low) if at_low and at_high else 0 if is_near_zero else None
        return supports.integer(start, int(high) if at_low and at_high else None)
    # Far from zero, a column needs no end, and float32 then keeps its values distinct.
    if low <= 0 or low > _FAR_FROM_END * _robust_deviation(x):
        return supports.real()
    candidates = {supports.positive(): x, supports.log_scale(): np.log(x)}
    slopes = {supports.positive(): np.zeros_like(x), supports.log_scale(): -np.log(x)}
    if high < 1 and high > 0.5:
        unit = supports.interval(0.0, 1.0)
        candidates[unit] = np.log(x) - np.log1p(-x)
        slopes[unit] = -np.log(x) - np.log1p(-x)
    return max(
        candidates, key=lambda kind: slopes[kind].mean() - np.log(candidates[kind].std() + 1e-300)
    )


def _scaled(name: str, x: np.ndarray, dtype: str, told: Support) -> Column:
    """Return the column of a support, scaled by its values."""
    if not isinstance(told, Support):
        raise TypeError(
            f"`columns[{name!r}]` must be a support such as `supports.positive()`, or "
            f"`tables.category()`; got {told!r}."
        )
    if isinstance(told, supports.AsinhScale):
        column = _scaled(name, x, dtype, told.support)
        return dataclasses.replace(column, tails=(told.loc, told.scale))
    low, high = told.low, told.high
    inside = (x > low) & (x < high)
    if isinstance(told, supports.Circle | supports.Integer):
        inside = (x >= low) & (x <= high)
    if isinstance(told, supports.Integer):
        inside &= x == np.rint(x)
    if not inside.all():
        row = int(np.argmin(inside))
        raise ValueError(
            f"Column {name!r} must lie inside its support, {told}; got {x[row]:g} in row {row}"
            f"{' and others' if (~inside).sum() > 1 else ''}. Choose a wider support, or move the "
            "values inside."
        )
    spread = _robust_deviation(x)
    match told:
        case supports.Real():
            return Column(name, "real", low, high, float(np.median(x)), spread, dtype)
        case supports.Positive():
            return Column(name, "positive", low, high, 0.0, spread, dtype)
        case supports.LogScale() if np.log10(x.max()) - np.log10(x.min()) > _MAX_DECADES:
            raise ValueError(
                f"Column {name!r} must lie within {_MAX_DECADES} powers of ten; got values from "
                f"{x.min():g} to {x.max():g}. Take its logarithm."
            )
        case supports.LogScale():
            middle = float(np.exp(np.median(np.log(x))))
            return Column(name, "log_scale", low, high, 0.0, middle, dtype)
        case supports.Above():
            return Column(name, "above", low, high, low, spread, dtype)
        case supports.Below():
            return Column(name, "below", low, high, high, spread, dtype)
        case supports.Interval():
            return Column(name, "interval", low, high, low, high - low, dtype)
        case supports.Circle():
            scale = (high - low) / (2 * math.pi)
            return Column(name, "circle", low, high, low + math.pi * scale, scale, dtype)
        case supports.Integer():
            shift = next((end for end in (low, high) if math.isfinite(end)), np.rint(np.median(x)))
            return Column(name, "integer", low, high, float(shift), 1.0, dtype)
    raise TypeError(
        f"`columns[{name!r}]` must be a support of this library; got {told!r}. Transform the "
        "column instead."
    )


def _robust_deviation(x: np.ndarray) -> float:
    """Return the normalised interquartile range, or the standard deviation where that is zero."""
    low, high = np.quantile(x, [0.25, 0.75])
    return float((high - low) / 1.349) or float(x.std())


def _heavy_tails(column: Column, x: np.ndarray) -> tuple[float, float] | None:
    """Return where tails begin, if asinh brings the column much nearer to a Gaussian."""
    u = column.encode(x) + (0.5 if column.kind == "integer" else 0.0)
    bijector = column.support().bijector()
    z = u if bijector is None else np.asarray(bijector.inverse(u.astype(np.float32)), np.float64)
    gains = {}
    for loc, scale in ((0.0, 1.0), (np.median(z), _robust_deviation(z))):
        # Rounded, so that tables of the same kinds share compiled code more often.
        loc, scale = float(f"{loc:.1g}"), float(f"{scale:.1g}")
        y = (z - loc) / scale
        gain = -0.5 * np.log1p(y**2).mean() - np.log(np.arcsinh(y).std() / y.std())
        gains[loc, scale] = gain
    best = max(gains, key=lambda tails: gains[tails])
    return best if gains[best] > _HEAVY else None


def _remarks(column: Column, x: np.ndarray) -> Sequence[str]:
    remarks: list[Any] = []
    if column.kind != "integer":
        values, counts = np.unique(x, return_counts=True)
        if counts.max() > max(_TIED * len(x), 5):
            remarks.append(
                f"{counts.max()} rows share {values[counts.argmax()]:g}: a code, or rounded?"
            )
    if column.kind not in ("integer", "circle"):
        z = np.log(x) if column.kind == "log_scale" else x
        far = np.abs(z - np.median(z)) > _FAR * _robust_deviation(z)
        if far.any():
            farthest = x[np.argmax(np.abs(z - np.median(z)))]
            remarks.append(f"{far.sum()} outliers, such as {farthest:g}")
    return remarks
