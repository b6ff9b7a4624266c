"""Ctrl-C ends an experiment with one line and the exit code that shells give it."""

import os
import signal
import sys
from types import FrameType

EXIT_CODE = 130  # 128 + SIGINT


def end_while_starting() -> None:
    """From now on Ctrl-C ends the process at once: there is nothing to keep yet.

    Imports take seconds, and an exception amidst them may get lost in a callback. A process that
    ignores Ctrl-C, as shells ask of those in the background, goes on ignoring it.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end_at_once)


def raise_again() -> None:
    """From now on Ctrl-C is a `KeyboardInterrupt` again."""
    if signal.getsignal(signal.SIGINT) is _end_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def tell(interrupt: BaseException, kept: str) -> None:
    """Says in one line what was interrupted, and what is kept."""
    told = " ".join(str(interrupt).split()) or "Interrupted."
    print(f"{told} {kept}".rstrip(), file=sys.stderr)


def _end_at_once(signum: int, frame: FrameType | None) -> None:
    os.write(2, b"Interrupted.\n")
    os._exit(EXIT_CODE)
