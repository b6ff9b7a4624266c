"""Timing in rounds."""

import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np

K = TypeVar("K", bound=Hashable)

_LOOK = 5e-3  # seconds between checks for idle threads
_LONGEST_WAIT = 1.0


def milliseconds(functions: Mapping[K, Callable[[], Any]], repeats: int) -> dict[K, np.ndarray]:
    """Times functions in rounds, so that a slow spell of the machine hits all equally.

    Each round has its own order, the same in every run. A timed call follows an untimed one of the
    same function, once the threads of what ran before are idle: those of PyTorch look for more work
    for 10 ms, and occupy the cores meanwhile.

    Args:
        functions: functions to time, by name; each is called once first, to compile.
        repeats: number of rounds.

    Returns:
        `[repeats]` milliseconds for each name.
    """
    for function in functions.values():
        jax.block_until_ready(function())
    orders, names = np.random.default_rng(0), list(functions)
    times = {name: np.zeros(repeats) for name in names}
    for round_ in range(repeats):
        for place in orders.permutation(len(names)):
            name, function = names[place], functions[names[place]]
            _let_threads_rest()
            jax.block_until_ready(function())
            start = time.perf_counter()
            jax.block_until_ready(function())
            times[name][round_] = 1e3 * (time.perf_counter() - start)
    return times


def _let_threads_rest() -> None:
    """Sleeps until the process uses almost no processor time."""
    end = time.perf_counter() + _LONGEST_WAIT
    busy = True
    while busy and time.perf_counter() < end:
        before = time.process_time()
        time.sleep(_LOOK)
        busy = time.process_time() - before > _LOOK / 10
