"""Reference pages, one per public module, made from every `__all__`.

A module is public if the top level lists it, or it lies in `interfaces`. Bijectors are exported by
the top level and have a page of their own.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import pkgutil
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import haiku as hk
from markdown_docstrings import inline, signature_of, spell, spelled

if TYPE_CHECKING:
    from sphinx.application import Sphinx  # tests use this module without Sphinx

PACKAGE = "distrax_flows"
BIJECTORS = "bijectors"


def public_modules() -> Iterator[ModuleType]:
    """Yield the top level, the modules it lists, those that these list, and the interfaces."""

    def listed(module: ModuleType) -> Iterator[ModuleType]:
        yield module
        for name in module.__all__:
            if inspect.ismodule(value := getattr(module, name)):
                yield from listed(value)

    yield from listed(importlib.import_module(PACKAGE))
    interfaces = importlib.import_module(f"{PACKAGE}.interfaces")
    for found in pkgutil.iter_modules(interfaces.__path__, f"{interfaces.__name__}."):
        if not found.name.rpartition(".")[2].startswith("_"):
            module = importlib.import_module(found.name)
            if hasattr(module, "__all__"):
                yield module


@functools.cache
def public_names() -> dict[str, tuple[str, object]]:
    """Return what the pages describe: full name to page and value."""
    names = {}
    for module in public_modules():
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.ismodule(value):
                continue
            page = module.__name__.removeprefix(PACKAGE).lstrip(".") or PACKAGE
            if getattr(value, "__module__", "").startswith(f"{PACKAGE}.{BIJECTORS}"):
                page = BIJECTORS
            names[f"{module.__name__}.{name}"] = (page, value)
    return names


def is_constant(value: object) -> bool:
    """Return whether a value is neither a class nor a function, and so has no docstring."""
    return not (inspect.isclass(value) and not typing.get_args(value)) and not inspect.isroutine(
        value
    )


@functools.cache
def comment(name: str) -> str:
    """Return the comment above the assignment of a constant or a type, which is its docstring."""
    for path in (Path(__file__).parents[2] / PACKAGE).rglob("*.py"):
        if found := re.search(rf"((?:^# .*\n)+){name}\b.* = ", path.read_text(), re.MULTILINE):
            return re.sub(r"^# ", "", found[1], flags=re.MULTILINE)
    raise ValueError(f"`{name}` must have a comment above its assignment, for the reference.")


def summary(full: str, value: object) -> str:
    """Return the first paragraph of a docstring, as Markdown."""
    text = comment(full.rpartition(".")[2]) if is_constant(value) else inspect.getdoc(value) or ""
    return " ".join(text.partition("\n\n")[0].split())


def entry(full: str, value: object) -> list[str]:
    """Return the reStructuredText of one name."""
    if inspect.isclass(value) and not is_constant(value):
        call = ["   :special-members: __call__"] if getattr(value, "_is_protocol", False) else []
        return [f".. autoclass:: {full}", "   :members:", *call, ""]
    if inspect.isroutine(value):
        return [f".. autofunction:: {full}", ""]
    lines = [f".. py:data:: {full}"]
    if isinstance(value, dict):
        lines += ["", f"   {inline(summary(full, value))}", ""]
        for key, function in value.items():
            lines += [f"   - {inline(f'`{key}`: ' + summary(key, function))}"]
        return [*lines, ""]
    shown = "" if isinstance(value, tuple) else f"   :type: {spelled(value)!r}"
    value_shown = f"   :value: {value!r}" if isinstance(value, tuple) else ""
    return [
        *lines,
        *filter(None, [shown, value_shown]),
        "",
        f"   {inline(summary(full, value))}",
        "",
    ]


def page_text(page: str, names: dict[str, object]) -> str:
    """Return the reStructuredText of a page, for the names on it."""
    module = PACKAGE if page == PACKAGE else f"{PACKAGE}.{page}"
    lines = [page, "=" * len(page), "", f".. automodule:: {module}", "   :no-members:"]
    lines.append("")
    lines += [".. list-table::", "   :class: api-summary", "   :widths: auto", ""]
    for full, value in names.items():
        short = full.rpartition(".")[2]
        lines += [f"   * - :py:obj:`{short} <{full}>`", f"     - {inline(summary(full, value))}"]
    lines.append("")
    for full, value in names.items():
        lines += entry(full, value)
    return "\n".join(lines)


def pages() -> dict[str, str]:
    """Return the text of each page, by its name."""
    grouped: dict[str, dict[str, object]] = {}
    for full, (page, value) in public_names().items():
        grouped.setdefault(page, {})[full] = value
    return {page: page_text(page, names) for page, names in grouped.items()}


def _spell_classes(app: Sphinx) -> None:
    """Give classes the readable signatures of their constructors, and properties their types.

    Sphinx would look at `__new__` first, which distrax and Haiku define for all their classes.
    """
    signatures = {}
    for _, value in public_names().values():
        if is_constant(value) or not inspect.isclass(value):
            continue
        for member in vars(value).values():
            if isinstance(member, property):
                spell(app, member.fget, True)
        if issubclass(value, hk.Module):  # signatures of these are read from `__init__`
            spell(app, value.__init__, True)
        else:
            with contextlib.suppress(TypeError, ValueError):  # exceptions and TypedDicts
                signatures[value] = signature_of(value)
    for value, signature in signatures.items():  # set at last, because subclasses inherit them
        value.__signature__ = signature


def write_pages(app: Sphinx) -> None:
    """Write the pages into docs/api; unchanged ones keep their time, so nothing is built again."""
    _spell_classes(app)
    folder = Path(app.srcdir) / "api"
    folder.mkdir(exist_ok=True)
    texts = {f"{page}.rst": text for page, text in pages().items()}
    for old in set(path.name for path in folder.glob("*.rst")) - set(texts):
        (folder / old).unlink()
    for name, text in texts.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the extension."""
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
