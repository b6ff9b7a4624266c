"""Interleaved timing."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

__all__ = ["milliseconds"]


def milliseconds(functions: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, np.ndarray]:
    """Times functions in turn, A B A B, so that a slow spell of the machine hits all alike.

    Args:
        functions: what to time, by name; each is called once before, to compile.
        repeats: number of rounds.

    Returns:
        `[repeats]` milliseconds for each name.
    """
    for function in functions.values():
        jax.block_until_ready(function())
    times = {name: np.zeros(repeats) for name in functions}
    for round_ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function())
            times[name][round_] = 1e3 * (time.perf_counter() - start)
    return times
