"""Entry point of the command line: errors become one line and an exit code."""

import os
import platform
import sys
from collections.abc import Sequence

import jax

import distrax_flows
from distrax_flows.saving import LoadError
from distrax_flows.training.results import NonFiniteError

__all__ = ["main"]

_PROGRAM = "distrax-flows"


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        args: the arguments; those of the process if None.

    Returns:
        0 after success, 1 if data or files are wrong, and 130 after Ctrl-C. A wrong command line
        gives 2, where the parser raises `SystemExit(2)` itself.

    Example:
        >>> from distrax_flows.interfaces.command_line import main
        >>> main(["info", "no_such_model"])
        1
    """
    args = sys.argv[1:] if args is None else args
    if list(args) == ["--version"]:
        versions = f"JAX {jax.__version__}, Python {platform.python_version()}"
        print(f"{_PROGRAM} {distrax_flows.__version__} ({versions})")
        return 0
    try:
        # Imported here, so that a missing package also gives one line.
        from distrax_flows.interfaces.command_line import _commands
        from distrax_flows.interfaces.command_line._errors import UsageError
    except ImportError as error:
        return _fail(f"{error.name} is missing: pip install 'distrax_flows[cli]'.", 1)
    command = _commands.parse(_PROGRAM, args)
    try:
        command.run()
        sys.stdout.flush()
    except UsageError as error:
        return _fail(error, 2)
    except BrokenPipeError:
        # The reader, such as `head`, has quit. Python would complain when flushing stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt as interrupt:
        return _fail(str(interrupt) or "Interrupted.", 130)
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        return _fail(f"{where}{error.strerror or error}.", 1)
    except (ValueError, TypeError, ImportError, LoadError, NonFiniteError) as error:
        return _fail(error, 1)
    return 0


def _fail(message: object, code: int) -> int:
    """Print a message on stderr, and return the exit code."""
    print(f"{_PROGRAM}: {message}", file=sys.stderr)
    return code
