"""Compile time of a flow, and peak memory of a call.

Run in a separate process for each library and flow: `python -m ...starts LIBRARY FLOW B D L H`
prints a JSON object, `{measure: {"compile_s": ..., "memory_mb": ...}}`.
"""

import ctypes
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import jax

from experiments.benchmarks.peers.contestants import Call, make
from experiments.benchmarks.peers.settings import Size

_STATUS = Path("/proc/self/status")

# The two measures whose starts differ most.
MEASURED = ("train step", "sample")


def measure_starts(library: str, flow: str, size: Size) -> dict[str, dict[str, float]]:
    """Runs this module in a new process, and returns its measurements."""
    command = [sys.executable, "-m", __name__, library, flow, *map(str, size)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"`{' '.join(command)}` failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def measure_start(call: Call) -> dict[str, float]:
    """Extra seconds of the first call over the second, and peak megabytes of a later one."""
    first, second = _seconds(call), _seconds(call)
    start = {"compile_s": first - second}
    if _STATUS.exists():  # Linux
        # Returns what the compiler has freed to the system; otherwise a call would reuse it.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
        before = _kilobytes("VmRSS")
        _seconds(call)
        start["memory_mb"] = (_kilobytes("VmHWM") - before) / 1024
    return start


def _seconds(call: Call) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def _kilobytes(field: str) -> int:
    return int(re.search(rf"{field}:\s+(\d+)", _STATUS.read_text())[1])  # pyright: ignore


if __name__ == "__main__":
    _, library_, flow_, *sizes = sys.argv
    contestant = make(library_, flow_, Size(*map(int, sizes)))
    assert contestant is not None
    print(json.dumps({name: measure_start(contestant.calls[name]) for name in MEASURED}))
