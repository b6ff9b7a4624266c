"""Pictures of handwritten digits."""

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes


def draw_digits(
    ax: Axes, images: Float[np.ndarray, "R C 8 8"], title: str, low: float, high: float
) -> None:
    """Draws R rows of C images; brightness is from `low`, black, to `high`, white."""
    rows, columns = images.shape[:2]
    frame = ((0, 0), (0, 0), (0, 1), (0, 1))
    framed = np.pad(images, frame, constant_values=(low + high) / 2)
    mosaic = framed.transpose(0, 2, 1, 3).reshape(9 * rows, 9 * columns)
    ax.imshow(mosaic, cmap="gray", vmin=low, vmax=high)
    ax.set_axis_off()
    ax.set_title(title, fontsize=8)
