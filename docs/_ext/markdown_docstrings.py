"""Docstrings to reStructuredText: they are Markdown with sections in Google's style.

In a docstring, names stand between single backticks, tables are drawn with bars, formulas are
indented, and examples begin with `>>>`. All of it reads well in a terminal, and none of it, except
for the examples, is what Sphinx expects.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import re
import textwrap
import typing
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from distrax_flows._core.options import Option, _hints, _Shown, _spelled

if TYPE_CHECKING:
    from sphinx.application import Sphinx  # tests use this module without Sphinx

FIELDS = {"Args": "param", "Raises": "raises", "Warns": "Warns"}  # an entry is `name: text`
PARAGRAPHS = {"Call": "Call", "Returns": "returns", "Yields": "yields", "Reference": "Reference"}
SECTIONS = (*FIELDS, *PARAGRAPHS, "Attributes", "Example")
# Functions make these; their constructors are not public.
MADE_ELSEWHERE = ("distrax_flows.Flow", "distrax_flows.StatefulFlow")
_LITERAL = re.compile(r"(`+)(.+?)\1", re.DOTALL)
_ENTRY = re.compile(r"(\*{0,2}\w+(?:, \*{0,2}\w+)*): (.*)", re.DOTALL)


def inline(text: str) -> str:
    r"""Return Markdown text of one paragraph as reStructuredText.

    >>> print(inline("`a_`s, and |b|, of *args"))
    ``a_``\ s, and \|b\|, of \*args
    """
    parts, last = [], 0
    for found in _LITERAL.finditer(text):
        parts.append(_escaped(text[last : found.start()]))
        before = r"\ " if re.search(r"[\w*|.]$", parts[-1]) else ""
        after = r"\ " if re.match(r"\w", text[found.end() :]) else ""
        parts.append(f"{before}``{found[2]}``{after}")
        last = found.end()
    return "".join([*parts, _escaped(text[last:])])


def _escaped(text: str) -> str:
    return re.sub(r"(?<=\w)_(?!\w)", r"\\_", re.sub(r"[\\*|`]", r"\\\g<0>", text))


def body(text: str) -> list[str]:
    """Return paragraphs, lists, tables, formulas and examples as reStructuredText."""
    lines: list[str] = []
    for block in _merged(_blocks(text)):
        first = block.lstrip("\n").splitlines()[0]
        if first.lstrip().startswith(">>>"):
            lines += textwrap.dedent(block).splitlines()
        elif first.startswith("|"):
            lines += _table(block.splitlines())
        elif first.startswith(" "):
            language = "python" if _is_python(block) else "text"
            lines += [f".. code-block:: {language}", "", *block.splitlines()]
        elif re.match(r"([-*]|\d+\.) ", first):
            lines += _items(block)
        else:
            lines += inline(block).splitlines()
        lines.append("")
    return lines


def _is_python(block: str) -> bool:
    """Return whether an indented block is code; a formula mostly is no Python."""
    try:
        ast.parse(textwrap.dedent(block))
    except SyntaxError:
        return False
    return True


def _blocks(text: str) -> Iterator[str]:
    """Yield what blank lines separate, and lists, tables and examples apart from text."""
    block: list[str] = []
    for line in text.splitlines():
        kind = re.match(r"\s*([-*]|\d+\.) |\s*>>>|\|", line)
        starts_list = bool(kind) and not (block and re.match(r"\s*>>>|\|", block[0]))
        in_list = bool(block) and re.match(r"([-*]|\d+\.) ", block[0])
        if block and (not line.strip() or (starts_list and not in_list)):
            yield "\n".join(block)
            block = []
        if line.strip():
            block.append(line)
    if block:
        yield "\n".join(block)


def _merged(blocks: Iterable[str]) -> list[str]:
    """Join indented blocks that follow one another: code with blank lines."""
    merged: list[str] = []
    for block in blocks:
        is_indented = block.startswith(" ") and not block.lstrip().startswith(">>>")
        if merged and is_indented and merged[-1].startswith(" "):
            merged[-1] += "\n\n" + block
        else:
            merged.append(block)
    return merged


def _items(block: str) -> list[str]:
    items = re.split(r"^(?=(?:[-*]|\d+\.) )", block, flags=re.MULTILINE)
    lines = []
    for item in filter(None, items):
        marker, _, text = item.partition(" ")
        lines += f"{marker} {inline(text)}".splitlines()
    return lines


def _table(rows: list[str]) -> list[str]:
    head, _, *cells = [[cell.strip() for cell in row.strip("| ").split(" |")] for row in rows]
    head = [cell.strip() for cell in rows[0].strip().strip("|").split("|")]
    has_head = any(head)
    lines = [".. list-table::", "   :widths: auto"]
    lines += ["   :header-rows: 1", ""] if has_head else [""]
    for row in ([head] if has_head else []) + cells:
        for number, cell in enumerate(row):
            lines.append(f"   {'* -' if number == 0 else '  -'} {inline(cell)}")
    return lines


def sections(text: str) -> list[tuple[str, str]]:
    r"""Divide a docstring into the text before its sections, and each section by name.

    >>> sections("Go.\n\nArgs:\n    a: one.")
    [('', 'Go.'), ('Args', 'a: one.')]
    """
    pieces = re.split(rf"^({'|'.join(SECTIONS)}):\n", text + "\n", flags=re.MULTILINE)
    found = [("", pieces[0].strip("\n"))]
    for name, content in zip(pieces[1::2], pieces[2::2], strict=True):
        indented, rest = re.match(r"((?: [^\n]*\n|\n)*)(.*)", content, re.DOTALL).groups()
        found.append((name, textwrap.dedent(indented).strip("\n")))
        if rest.strip():
            found.append(("", rest.strip("\n")))
    return found


def entries(text: str) -> list[tuple[str, str]]:
    r"""Return name and description of each entry of a section, such as Args.

    >>> entries("a: one,\n    or more.\nb, c: two.")
    [('a', 'one,\nor more.'), ('b, c', 'two.')]
    """
    found = []
    for entry in filter(str.strip, re.split(r"^(?=\S)", text, flags=re.MULTILINE)):
        if (match := _ENTRY.match(entry)) is None:
            raise ValueError(f"an entry of a docstring has no `name: `; got {entry!r}.")
        first, _, rest = match[2].partition("\n")
        found.append((match[1], "\n".join([first, textwrap.dedent(rest)]).strip()))
    return found


def to_rst(text: str, value: Any = None) -> list[str]:
    """Return a docstring as lines of reStructuredText; `value` has it."""
    lines: list[str] = []
    for name, content in sections(text):
        if name == "Attributes":
            lines += _attributes(content, value)
        elif name in FIELDS:
            for entry, description in entries(content):
                lines += _field(f"{FIELDS[name]} {_escaped(entry)}", description)
        elif name in PARAGRAPHS:
            lines += _field(PARAGRAPHS[name], re.sub(r"\n +", "\n", content))
        else:
            lines += ["", f".. rubric:: {name}", ""] if name else []
            lines += body(content)
    if typing.is_typeddict(value):
        for name, (annotation, option) in _hints(value).items():
            lines += _attribute(name, annotation, f"{option.text} Default: `{_default(option)}`.")
    return [*lines, ""]


def _field(name: str, text: str) -> list[str]:
    first, *others = body(text)
    return [f":{name}: {first}", *(f"    {line}" if line else "" for line in others)]


def _attributes(content: str, value: Any) -> list[str]:
    annotations = inspect.get_annotations(value) if inspect.isclass(value) else {}
    lines = []
    for name, description in entries(content):
        lines += _attribute(name, annotations.get(name), description)
    return lines


def _attribute(name: str, annotation: Any, description: str) -> list[str]:
    kind = [] if annotation is None else [f"   :type: {spelled(annotation)!r}"]
    text = [f"   {line}" if line else "" for line in body(description)]
    return ["", f".. attribute:: {name}", *kind, "", *text]


def _default(option: Option) -> str:
    return option.shown or repr(option.default)


# What jaxtyping and JAX make of their short names, where `_spelled` does not look inside.
_SHORTER = (
    (r"str \| type\[Any\] \| dtype \| SupportsDType", "DTypeLike"),
    (r"Union\[Array, ndarray, bool, number[\w, ]*\]", "ArrayLike"),
    (r"Union\[Float\[Array, ('.*?')\], Float\[ndarray, \1\], number\]", r"Float[ArrayLike, \1]"),
    (r"Union\[(\w+), \1\]", r"\1"),
    (r"Union\[(\w+), \1, (.*?), None\]", r"\1 | \2 | None"),
    (r"\bdtype\b", "numpy.dtype"),  # not the attributes of that name
)


def spelled(annotation: Any) -> Any:
    """Return a type as written in source, for signatures."""
    if annotation is inspect.Signature.empty:
        return annotation
    text = repr(_spelled(annotation))
    for pattern, short in _SHORTER:
        text = re.sub(pattern, short, text)
    return _Shown(text)


def shown(default: Any) -> Any:
    """Return a default, functions and types by their names, for signatures."""
    if default is inspect.Parameter.empty or not callable(default):
        return default
    return _Shown(getattr(default, "__name__", repr(default)))


def signature_of(function: Any) -> inspect.Signature:
    """Return the signature, with types and defaults as the source has them."""
    signature = inspect.signature(function)
    parameters = [
        parameter.replace(
            annotation=spelled(parameter.annotation), default=shown(parameter.default)
        )
        for parameter in signature.parameters.values()
    ]
    return signature.replace(
        parameters=parameters, return_annotation=spelled(signature.return_annotation)
    )


def spell(app: Sphinx, function: Any, is_bound: bool) -> None:
    """Give a function, or the constructor of a class, its readable signature."""
    # Raised by types in C, which have no signature or accept no attribute.
    with contextlib.suppress(AttributeError, TypeError, ValueError):
        signature = signature_of(function)
        function.__signature__ = signature
        # Sphinx asks `typing.get_type_hints`, which would bring the modules back.
        function.__annotations__ = {
            name: parameter.annotation
            for name, parameter in signature.parameters.items()
            if parameter.annotation is not parameter.empty
        } | {"return": signature.return_annotation}
        if signature.return_annotation is signature.empty:
            del function.__annotations__["return"]


def hide(
    app: Sphinx, what: str, name: str, value: Any, options: Any, signature: str, result: str
) -> tuple[str, None] | None:
    """Leave out the constructors of protocols, and those that only the library calls."""
    made_elsewhere = getattr(value, "_is_protocol", False) or name in MADE_ELSEWHERE
    return ("", None) if what == "class" and made_elsewhere else None


def process(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Replace the lines of a docstring, for autodoc."""
    lines[:] = to_rst("\n".join(lines), value)


def skip(
    app: Sphinx, what: str, name: str, value: Any, is_skipped: bool, options: Any
) -> bool | None:
    """Leave out the fields of tuples and data classes, which the docstring describes."""
    is_field = type(value).__name__ in ("_tuplegetter", "member_descriptor")
    return True if is_field else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the extension."""
    app.connect("autodoc-before-process-signature", spell)
    app.connect("autodoc-process-signature", hide)
    app.connect("autodoc-process-docstring", process)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
