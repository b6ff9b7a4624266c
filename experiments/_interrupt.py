"""Ctrl-C ends an experiment with one line and the exit code that shells give it."""

import sys
from types import TracebackType
from typing import NoReturn

EXIT_CODE = 130  # 128 + SIGINT


def end(interrupt: BaseException, kept: str = "") -> NoReturn:
    """Says in one line what was interrupted, and what is kept, and ends the process."""
    told = " ".join(str(interrupt).split()) or "Interrupted."
    print(f"{told} {kept}".rstrip(), file=sys.stderr)
    raise SystemExit(EXIT_CODE) from None


def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A `sys.excepthook` that does so for an interrupt, and shows other errors as always."""
    if issubclass(kind, KeyboardInterrupt):
        end(error)
    sys.__excepthook__(kind, error, trace)
