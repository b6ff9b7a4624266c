"""Kinds of columns as text, such as `circle:0:360`."""

import math
from collections.abc import Callable, Iterable

from distrax_flows import supports
from distrax_flows.interfaces.command_line._errors import UsageError
from distrax_flows.supports import Support
from distrax_flows.tables import Category, Column, category

__all__ = ["KINDS", "kind_of", "parse_kinds"]

# How each kind is written, and how it is made from its ends.
KINDS: dict[str, tuple[str, Callable[..., Support | Category]]] = {
    "real": ("real", supports.real),
    "positive": ("positive", supports.positive),
    "log_scale": ("log_scale", supports.log_scale),
    "above": ("above:LOW", supports.above),
    "below": ("below:HIGH", supports.below),
    "interval": ("interval:LOW:HIGH", supports.interval),
    "circle": ("circle:LOW:HIGH", supports.circle),
    "integer": ("integer:LOW:HIGH", supports.integer),
    "category": ("category", category),
}


def parse_kinds(texts: Iterable[str]) -> dict[str, Support | Category]:
    """Return kinds by column, from texts such as `angle=circle:0:360`.

    Ends are numbers, or multiples of pi such as `-pi` and `2pi`. Those of a circle are -pi and pi
    if not given; each end of integers may be left out or empty, `integer:0` and `integer::10`.

    Raises:
        UsageError: a text does not name a kind, or gives it the wrong ends.
    """
    kinds = {}
    for text in texts:
        name, equals, kind = text.rpartition("=")
        word, *ends = kind.split(":")
        if not equals or not name or word not in KINDS:
            raise UsageError(
                f"`--columns` must be NAME=KIND, with a kind of "
                f"{', '.join(form for form, _ in KINDS.values())}; got {text!r}."
            )
        form, make = KINDS[word]
        try:
            kinds[name] = make(*(_number(end, word) for end in ends))
        except (ValueError, TypeError) as error:
            raise UsageError(
                f"`--columns` must have the form {name}={form}, with numbers LOW < HIGH or "
                f"multiples of pi; got {text!r}."
            ) from error
    return kinds


def kind_of(column: Column) -> str:
    """Return the kind of a column as text, which `parse_kinds` reads."""
    if column.kind in ("real", "positive", "log_scale", "category"):
        return column.kind
    low, high = ("" if math.isinf(end) else f"{end:.17g}" for end in (column.low, column.high))
    ends = {"above": [low], "below": [high]}.get(column.kind, [low, high])
    return ":".join([column.kind, *ends]).rstrip(":")


def _number(text: str, kind: str) -> float | int | None:
    if kind == "integer":
        return int(text) if text else None
    if text.endswith("pi"):
        factor = text.removesuffix("pi")
        return math.pi * float(factor + "1" if factor in ("", "-", "+") else factor)
    return float(text)
