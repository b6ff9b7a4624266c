"""Settings of the experiment on normalisers."""

import dataclasses
from pathlib import Path

from experiments._command import quick_means
from experiments.log_z.targets import TARGETS


@quick_means(
    targets=("gaussians",), divergence="log_variance", seeds=(0,), num_steps=100, num_repeats=2,
    num_layers=2, hidden_sizes=(16,),
)  # fmt: skip
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Flows fitted to densities without samples, and the normalisers that they give."""

    targets: tuple[str, ...] = tuple(TARGETS)  # Densities to fit.
    seeds: tuple[int, ...] = (0, 1, 2)  # A fit for each; the picture shows the first.
    divergence: str | None = None  # What to minimise; if None, that of each target's recipe.
    num_steps: int | None = None  # Training steps; if None, those of the recipe.
    num_layers: int | None = None  # Layers of each flow; if None, those of the recipe.
    hidden_sizes: tuple[int, ...] | None = None  # Hidden units; if None, those of the recipe.
    num_samples: int = 256  # Samples of each step.
    num_draws: int = 2_000  # Samples of an estimate, as in FAB's tables.
    num_repeats: int = 30  # Estimates, for their mean error.
    output: Path = Path("figures/log_z")  # Folder to write into.
    resume: bool = False  # Keep the rows of `results.csv`, and do the fits that are missing.
    quick: bool = False  # One target, a small flow, few steps.
