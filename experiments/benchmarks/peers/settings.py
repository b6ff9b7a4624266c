"""Settings of the comparison with peers."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

from experiments._command import quick_means


class Size(NamedTuple):
    """Batch B, event D, layers L, and H units in each of two hidden layers."""

    batch: int
    event: int
    layers: int
    hidden: int

    def __str__(self) -> str:
        return f"B={self.batch} D={self.event} L={self.layers} H={self.hidden}"


FLOWS = ("realnvp", "maf", "nsf_coupling", "nsf_autoregressive")
NUM_BINS = 8
SPLINE_END = 5.0  # splines live on [-5, 5]

SIZES = (Size(256, 2, 8, 64), Size(1000, 16, 8, 64), Size(1000, 64, 5, 512))
LARGE = Size(100, 784, 5, 512)  # of MAF only

LIBRARIES = ("ours", "unrolled", "bare", "flowjax", "zuko", "distrax")
MEASURES: tuple[str, ...] = ("train step", "log_prob", "sample", "sample_and_log_prob")


def num_params(flow: str) -> int:
    """Parameters of one dimension in a layer of that flow: of an affine map, or of a spline."""
    return 3 * NUM_BINS + 1 if flow.startswith("nsf") else 2


@quick_means(seconds=0.0, min_rounds=3)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Times of four kinds of flow in several libraries."""

    flows: tuple[str, ...] = FLOWS  # Flows to time.
    libraries: tuple[str, ...] = LIBRARIES  # Libraries to time them in; `ours` always is.
    seconds: float = 10.0  # Time to spend on the rounds of one measure of one flow.
    min_rounds: int = 5  # Rounds at least, however long they take.
    max_rounds: int = 101  # Rounds at most.
    starts: bool = True  # Measure compilation and memory, too.
    output: Path = Path("figures/benchmarks")  # Folder to write into.
    quick: bool = False  # The smallest size, few rounds.
