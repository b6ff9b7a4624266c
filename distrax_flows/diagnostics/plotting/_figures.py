"""Figures and image files."""

import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLORS", "figure_image", "panels", "save_gif", "save_png"]

# Colours of lines and fills, in this order; distinguishable in greyscale and to the colour-blind.
COLORS = ("#5e3c99", "#e66101", "#1b9e77", "#b2abd2", "#fdb863")

_PNG_COLORS = 256
_GIF_COLORS = 128


def panels(
    num_rows: int, num_columns: int, size: float = 2.2, dpi: int = 110
) -> "tuple[Figure, np.ndarray]":
    """Return a figure of square panels.

    Args:
        num_rows: rows of panels.
        num_columns: columns of panels.
        size: side of a panel, in inches.
        dpi: dots per inch.

    Returns:
        The figure, which needs no window system or closing and is shown by notebooks; and its axes,
        `[num_rows, num_columns]`.

    Raises:
        ImportError: matplotlib is missing.

    Example:
        >>> figure, axes = panels(2, 3)
        >>> axes.shape
        (2, 3)
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("Plots need matplotlib: `pip install 'distrax_flows[plots]'`.") from None
    figure = Figure(figsize=(size * num_columns, size * num_rows), dpi=dpi, layout="constrained")
    # Notebooks show figures made by pyplot; this one provides its own picture instead.
    vars(figure)["_repr_png_"] = functools.partial(_png, figure)
    return figure, figure.subplots(num_rows, num_columns, squeeze=False)


def _png(figure: "Figure") -> bytes:
    with io.BytesIO() as buffer:
        figure.savefig(buffer, format="png")
        return buffer.getvalue()


def figure_image(figure: "Figure") -> UInt8[np.ndarray, "H W 3"]:
    """Render a figure.

    Args:
        figure: from `panels`.

    Returns:
        `[H, W, 3]`, red, green and blue.

    Example:
        >>> figure, axes = panels(1, 2, size=2.0, dpi=100)
        >>> figure_image(figure).shape
        (200, 400, 3)
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save_png(path: str | Path, figure: "Figure") -> None:
    """Save a figure as a PNG of 256 colours, about a third of the size of one with all colours.

    Args:
        path: file to write.
        figure: from `panels`.
    """
    from PIL import Image

    # No dithering: a colormap has few colours, and dithering noise does not compress.
    image = Image.fromarray(figure_image(figure))
    image.quantize(_PNG_COLORS, dither=Image.Dither.NONE).save(path, format="PNG", optimize=True)


def save_gif(
    path: str | Path,
    images: Sequence[UInt8[np.ndarray, "H W 3"]],
    *,
    frame_seconds: float = 0.12,
    last_seconds: float = 2.0,
) -> None:
    """Save images as a GIF that repeats forever.

    Args:
        path: file to write.
        images: each `[H, W, 3]`, all of one size, as from `figure_image`.
        frame_seconds: duration of each image.
        last_seconds: duration of the last one.

    Raises:
        ValueError: there is no image.
    """
    from PIL import Image

    if len(images) == 0:
        raise ValueError("`images` must hold at least one image; got none.")
    # One palette for all images, so that static parts do not flicker.
    palette = Image.fromarray(np.concatenate([images[0], images[-1]])).quantize(_GIF_COLORS)
    no_dither = Image.Dither.NONE
    frames = [
        Image.fromarray(image).quantize(palette=palette, dither=no_dither) for image in images
    ]
    milliseconds = [round(1000 * frame_seconds)] * (len(frames) - 1) + [round(1000 * last_seconds)]
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=milliseconds, loop=0, optimize=True
    )
