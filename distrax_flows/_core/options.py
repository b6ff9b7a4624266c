"""Options that many functions share: written once, shown in each signature and docstring."""

import dataclasses
import difflib
import functools
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

__all__ = ["Option", "resolve", "takes"]

P = ParamSpec("P")
R = TypeVar("R")

_WIDTH = 100


@dataclasses.dataclass(frozen=True)
class Option:
    """Description of an option, besides its name and type.

    It annotates a field of a TypedDict: `remat: Annotated[bool, Option(False, "whether ...")]`.

    Attributes:
        default: the default value.
        text: the description in docstrings.
        shown: text of the default in signatures; its repr if None.
    """

    default: Any
    text: str
    shown: str | None = None


class _Shown:
    """Stand-in for a default or a type in a signature, with a readable repr."""

    def __init__(self, text: str):
        self._text = text

    def __repr__(self) -> str:
        return self._text


def takes(
    options: type,
    *,
    without: tuple[str, ...] = (),
    changed: Mapping[str, Option] | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function whose last argument is `**options: Unpack[...]`.

    Its signature and docstring then show every option. The docstring's line that begins with
    `**options` becomes a line for each. A name that is wrong or does not apply is refused by the
    function's own name.

    Args:
        options: the TypedDict.
        without: options that do not apply.
        changed: options with another default or text here.
    """
    changed = changed or {}

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        *own, _ = signature.parameters.values()
        shared = {
            name: (annotation, changed.get(name, option))
            for name, (annotation, option) in _hints(options).items()
            if name not in without
        }
        accepted = [*(parameter.name for parameter in own), *shared]

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            for name, value in kwargs.items():
                if name not in accepted:
                    _refuse(function.__name__, name, value, accepted, name in without)
            for name, option in changed.items():
                kwargs.setdefault(name, option.default)
            return function(*args, **kwargs)

        parameters = [*own, *(_parameter(name, *hint) for name, hint in shared.items())]
        checked.__signature__ = signature.replace(  # pyright: ignore[reportAttributeAccessIssue]
            parameters=[
                parameter.replace(
                    annotation=_spelled(parameter.annotation), default=_named(parameter.default)
                )
                for parameter in parameters
            ],
            return_annotation=_spelled(signature.return_annotation),
        )
        checked.__doc__ = _documented(function.__doc__ or "", shared)
        return checked

    return decorate


def resolve(options: type, given: Mapping[str, Any]) -> types.SimpleNamespace:
    """Return all options of a TypedDict as attributes: the given ones, else defaults."""
    defaults = {name: option.default for name, (_, option) in _hints(options).items()}
    return types.SimpleNamespace(**{**defaults, **given})


@functools.cache
def _hints(options: type) -> dict[str, tuple[Any, Option]]:
    """Return type and `Option` of each field, by name."""
    hints = typing.get_type_hints(options, include_extras=True)
    return {name: (hint.__origin__, hint.__metadata__[0]) for name, hint in hints.items()}


def _parameter(name: str, annotation: Any, option: Option) -> inspect.Parameter:
    default = option.default if option.shown is None else _Shown(option.shown)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _named(default: Any) -> Any:
    """Return a default, with functions shown by name."""
    name = getattr(default, "__name__", None)
    return _Shown(name) if callable(default) and name and not isinstance(default, type) else default


def _spelled(annotation: Any) -> Any:
    """Return a type as written in source: without modules, with bars for unions."""
    if annotation in (inspect.Parameter.empty, inspect.Signature.empty):
        return annotation
    branches = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    names = [
        branch.__qualname__ if isinstance(branch, type) else repr(branch) for branch in branches
    ]
    names = [re.sub(r"(?:\w+\.)+(?=\w)", "", name).replace("NoneType", "None") for name in names]
    # An array of JAX or NumPy is a branch for each of them.
    names = [
        re.sub(r"\[(?:Array|ndarray|number|bool), '(.*)'\]$", r"[ArrayLike, '\1']", name)
        for name in names
    ]
    return _Shown(" | ".join(dict.fromkeys(names)))


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _documented(doc: str, shared: Mapping[str, tuple[Any, Option]]) -> str:
    """Return the docstring with a line per option in place of that of `**options`."""
    lines = []
    for line in doc.split("\n"):
        if not line.lstrip().startswith("**options"):
            lines.append(line)
            continue
        indent = line[: len(line) - len(line.lstrip())]
        for name, (_, option) in shared.items():
            lines += textwrap.wrap(
                f"{name}: {option.text}",
                _WIDTH,
                initial_indent=indent,
                subsequent_indent=indent + "    ",
                break_on_hyphens=False,
            )
    return "\n".join(lines)


def _refuse(function: str, name: str, value: Any, accepted: list[str], applies_to: bool) -> None:
    nearest = difflib.get_close_matches(name, accepted, n=1)
    remedy = f"Perhaps `{nearest[0]}` is meant." if nearest else f"It takes {sorted(accepted)}."
    if applies_to:
        raise TypeError(
            f"`{function}` takes no `{name}`, which would have no effect there; got "
            f"{name}={value!r}."
        )
    raise TypeError(f"`{function}` has no argument `{name}`; got {name}={value!r}. {remedy}")
