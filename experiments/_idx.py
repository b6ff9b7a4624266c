"""Files of MNIST and of sets in its format."""

import gzip
from pathlib import Path

import numpy as np

_WHERE = (
    "Debian's package `dataset-fashion-mnist` puts those of Fashion-MNIST into "
    "/usr/share/datasets/fashion-mnist; they are also at "
    "https://github.com/zalandoresearch/fashion-mnist."
)


def read_idx(folder: Path, name: str) -> np.ndarray:
    """The array of bytes in an idx file, `name-ubyte` or `name-ubyte.gz`.

    The format: two zero bytes, 8 for unsigned bytes, the number of axes, their sizes as big-endian
    32-bit integers, and the values.

    Raises:
        ValueError: the file is missing, or is no idx file of bytes.
    """
    plain, packed = folder / f"{name}-ubyte", folder / f"{name}-ubyte.gz"
    if plain.is_file():
        content = plain.read_bytes()
    elif packed.is_file():
        content = gzip.decompress(packed.read_bytes())
    else:
        raise ValueError(
            f"`data_dir` must hold {plain.name} or {packed.name}; got data_dir={str(folder)!r}, "
            f"which does not. {_WHERE}"
        )
    num_axes = content[3] if content[:3] == b"\0\0\x08" else 0
    start = 4 + 4 * num_axes
    shape = tuple(np.frombuffer(content[4:start], ">u4").tolist())
    if not num_axes or len(content) != start + np.prod(shape):
        raise ValueError(f"{plain.name} in {folder} must be an idx file of bytes. {_WHERE}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
