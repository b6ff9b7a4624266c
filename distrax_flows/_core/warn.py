"""Warnings that point at the user's line."""

import sys
import warnings

__all__ = ["warn"]

# jaxtyping wraps the functions whose annotations it checks.
_INNER = (__name__.partition(".")[0] + ".", "jaxtyping.")


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn from the innermost line outside this package."""
    frame, level = sys._getframe(1), 2
    while frame is not None and f"{frame.f_globals.get('__name__')}.".startswith(_INNER):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
