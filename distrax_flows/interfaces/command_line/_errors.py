"""Errors of the command line."""

__all__ = ["UsageError"]


class UsageError(Exception):
    """An argument of the command line is wrong, whatever the data."""
