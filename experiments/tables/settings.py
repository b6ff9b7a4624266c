"""Settings of the experiment with tables."""

import dataclasses
from pathlib import Path

from experiments._command import check, quick_means
from experiments.tables.datasets import DATASETS


@quick_means(datasets=("iris",), seeds=(0,), num_steps=20, num_members=1)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """`fit_table` against kernel density estimates and mixtures of Gaussians."""

    datasets: tuple[str, ...] = tuple(DATASETS)  # Tables to fit.
    seeds: tuple[int, ...] = (0, 1, 2)  # A split of the rows and a fit for each.
    # Changes of the recipe that `fit_table` chooses; none if not given.
    num_steps: int | None = None
    num_members: int | None = None
    output: Path = Path("figures/tables")  # Folder to write into.
    resume: bool = False  # Keep the rows of `results.csv`, and do the fits that are missing.
    quick: bool = False  # One table, one member and few steps.


def check_settings(settings: Settings) -> None:
    """Raises a ValueError for settings that are empty, too small, or name nothing that exists."""
    check(settings, choices={"datasets": DATASETS})
