"""Settings of the Bernstein experiment."""

import dataclasses
from pathlib import Path

from experiments._command import quick_means


@quick_means(
    degrees=(4, 8), degree=8, regression_degree=8, hidden_sizes=(16,), num_steps=500,
    regression_steps=500, num_draws=10_000,
)  # fmt: skip
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Bernstein-polynomial flows on the line, per column, and as a regression."""

    degrees: tuple[int, ...] = (4, 8, 16, 32)  # Degrees of the fits on the line.
    degree: int = 16  # Degree of the stages and of the columns.
    regression_degree: int = 32  # Degree of the regression.
    hidden_sizes: tuple[int, ...] = (64, 64)  # Hidden units of the networks of the regressions.
    num_steps: int = 20_000  # Training steps of each fit without networks.
    regression_steps: int = 5_000  # Training steps of each regression.
    batch_size: int = 256  # Fresh samples of each step.
    # Held-out samples that score the regressions, and that the histograms show.
    num_draws: int = 100_000
    seed: int = 0  # Of parameters, batches and samples.
    output: Path = Path("figures/bernstein")  # Folder to write into.
    quick: bool = False  # Two degrees, small networks and few steps.
