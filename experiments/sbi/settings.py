"""Settings of the experiment on simulation-based inference."""

import dataclasses
from pathlib import Path

from experiments._command import quick_means
from experiments.sbi.tasks import TASKS


@quick_means(
    tasks=("two_moons",), num_simulations=500, num_layers=2, hidden_sizes=(16,), num_steps=200,
    eval_every=50, num_checked=50,
)  # fmt: skip
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Neural posterior estimation on the tasks of sbibm: C2ST, calibration, pictures."""

    tasks: tuple[str, ...] = tuple(TASKS)  # Tasks of the benchmark.
    wheel: Path | None = None  # The wheel of sbibm 1.1.0, for its reference posteriors.
    seeds: tuple[int, ...] = (0,)  # A fit for each; pictures show the first.
    num_simulations: int = 10_000  # Simulations of a fit, validation included.
    num_layers: int = 6  # Layers of the flow.
    hidden_sizes: tuple[int, ...] = (64, 64)  # Hidden units of each of its networks.
    num_bins: int = 8  # Bins of its splines.
    learning_rate: float = 1e-3  # Of Adam at the start; it falls to zero by a cosine.
    weight_decay: float = 0.1  # How much a step shrinks matrices, times the learning rate.
    ema_decay: float = 0.995  # Of the average of parameters that is validated and kept.
    batch_size: int = 128  # Simulations of a step.
    num_steps: int = 10_000  # Training steps of a fit, at most.
    eval_every: int = 200  # Steps between validations, on a tenth of the simulations.
    patience: int = 10  # Validations without improvement that end a fit.
    num_checked: int = 500  # New simulations for the calibration.
    output: Path = Path("figures/sbi")  # Folder to write into.
    resume: bool = False  # Keep the rows of the tables, and do what is missing.
    quick: bool = False  # One task, few simulations, a small flow.
