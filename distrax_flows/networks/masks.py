"""Degrees and masks of masked autoregressive networks (NumPy, static).

Germain et al., "MADE: Masked Autoencoder for Distribution Estimation", 2015, eqs. 12-15. Position
i = 0..D-1 in the input order has degree i + 1. A hidden unit of degree m sees the inputs of degree
m or less; the output for degree d sees the hidden units of degree below d.
"""

from collections.abc import Sequence

import numpy as np

from distrax_flows._core.checks import check_positive_int, check_sizes

__all__ = ["hidden_degrees", "hidden_mask", "input_mask", "output_mask"]


def _halving_order(low: int, high: int) -> list[int]:
    """Return the integers `low..high`, each range's middle before its halves."""
    order, ranges = [], [(low, high)]
    while ranges:
        first, last = ranges.pop(0)
        if first > last:
            continue
        middle = (first + last) // 2
        order.append(middle)
        ranges += [(first, middle - 1), (middle + 1, last)]
    return order


def hidden_degrees(
    event_size: int, hidden_sizes: Sequence[int], *, context: bool = False
) -> tuple[np.ndarray, ...]:
    """Return the degrees of the units of each hidden layer, sorted within the layer.

    Every degree gets the same number of units, up to one. If a layer has fewer units than there are
    degrees, or the units don't divide evenly, repeated halving spreads the degrees served first
    over the range. The sets of degrees of any two layers are then nested, so the narrowest layer
    alone limits which dependencies the network can express: none is lost because two layers
    disagree.

    With a context, degree 0 takes part too: its units see the context and no input, and serve the
    first dimension. The same holds for `event_size == 1`, which has no other degree.

    Args:
        event_size: number of dimensions, `D >= 1`.
        hidden_sizes: units of each hidden layer.
        context: whether the network also sees a context.

    Returns:
        One sorted integer array per hidden layer, with entries in `1..D-1` (`0..D-1`).
    """
    check_positive_int("event_size", event_size)
    lowest = 0 if context or event_size == 1 else 1
    order = _halving_order(lowest, event_size - 1)
    return tuple(
        np.sort(np.resize(order, size)) for size in check_sizes("hidden_sizes", hidden_sizes)
    )


def input_mask(event_size: int, degrees: np.ndarray) -> np.ndarray:
    """Return the mask [D, H]: hidden unit h sees position i if `i + 1 <= degrees[h]`.

    Args:
        event_size: number of dimensions, D.
        degrees: `[H]`, degrees of the hidden units.
    """
    return np.arange(1, event_size + 1)[:, None] <= degrees[None, :]


def hidden_mask(degrees_in: np.ndarray, degrees_out: np.ndarray) -> np.ndarray:
    """Return the mask [H_in, H_out]: units see those of their own degree and below.

    Args:
        degrees_in: `[H_in]`, degrees of the units of one layer.
        degrees_out: `[H_out]`, those of the next.
    """
    return degrees_in[:, None] <= degrees_out[None, :]


def output_mask(degrees: np.ndarray, event_size: int) -> np.ndarray:
    """Return the mask [H, D]: the output at position i sees the hidden units of degree <= i.

    Args:
        degrees: `[H]`, degrees of the hidden units.
        event_size: number of dimensions, D.
    """
    return degrees[:, None] <= np.arange(event_size)[None, :]
