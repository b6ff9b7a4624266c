"""Ctrl-C in experiments: one line of output, and the usual exit code."""

import os
import signal
import sys
from types import FrameType

EXIT_CODE = 130  # 128 + SIGINT


def end_while_starting() -> None:
    """Makes Ctrl-C end the process at once, while there is nothing to keep yet.

    Imports take seconds, and an exception during them may get lost in a callback. A process that
    ignores Ctrl-C, as shells require of background processes, continues to ignore it.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end_at_once)


def raise_again() -> None:
    """Makes Ctrl-C raise `KeyboardInterrupt` again."""
    if signal.getsignal(signal.SIGINT) is _end_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def tell(interrupt: BaseException, kept: str) -> None:
    """Prints in one line what was interrupted, and what is kept."""
    told = " ".join(str(interrupt).split()) or "Interrupted."
    print(f"{told} {kept}".rstrip(), file=sys.stderr)


def _end_at_once(signum: int, frame: FrameType | None) -> None:
    os.write(2, b"Interrupted.\n")
    os._exit(EXIT_CODE)
