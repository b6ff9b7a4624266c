"""Files that are complete or not there."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["open_aside"]


@contextlib.contextmanager
def open_aside(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open a file beside `path` for writing, which takes its place once it is complete.

    After an error, or a crash, an earlier file of that name is still there.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
