"""What to compare, and where to write it."""

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
MEASURES = ("train step", "log_prob", "sample", "sample_and_log_prob")


def num_params(flow: str) -> int:
    """Parameters of one dimension in a layer of that flow: of an affine map, or of a spline."""
    return 3 * NUM_BINS + 1 if flow.startswith("nsf") else 2


@quick_means(seconds=0.0, min_rounds=3)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Times of four kinds of flow in several libraries."""

    flows: tuple[str, ...] = FLOWS
    """Flows to time."""
    libraries: tuple[str, ...] = LIBRARIES
    """Libraries to time them in; `ours` is always among them."""
    seconds: float = 10.0
    """Time to spend on the rounds of one measure of one flow."""
    min_rounds: int = 5
    """Rounds at least, however long they take."""
    max_rounds: int = 101
    """Rounds at most."""
    starts: bool = True
    """Whether to measure compilation and memory, too."""
    output: Path = Path("figures/benchmarks")
    """Folder to write into."""
    quick: bool = False
    """The smallest size, few rounds: a try-out."""


def rows(settings: Settings) -> list[tuple[str, Size]]:
    """The flows and sizes to compare; raises a ValueError for settings that name none."""
    for argument, values, choices in (
        ("flows", settings.flows, FLOWS),
        ("libraries", settings.libraries, LIBRARIES),
    ):
        if not values:
            raise ValueError(f"`{argument}` must hold at least one value; got none.")
        for value in values:
            if value not in choices:
                raise ValueError(f"`{argument}` must be one of {choices}; got {value!r}.")
    if "ours" not in settings.libraries:
        raise ValueError(
            f"`libraries` must hold 'ours', which ratios refer to; got {settings.libraries}."
        )
    if not 1 <= settings.min_rounds <= settings.max_rounds:
        raise ValueError(
            "`min_rounds` must be at least 1 and at most `max_rounds`; got "
            f"{settings.min_rounds=}, {settings.max_rounds=}."
        )
    sizes = SIZES[:1] if settings.quick else SIZES
    pairs = [(flow, size) for size in sizes for flow in settings.flows]
    if "maf" in settings.flows and not settings.quick:
        pairs.append(("maf", LARGE))
    return pairs
