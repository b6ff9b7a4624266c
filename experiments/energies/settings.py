"""What to fit, how, and where to write it."""

import dataclasses
from pathlib import Path

from experiments._command import quick_means
from experiments.energies.recipes import RECIPES
from experiments.energies.targets import TARGETS


@quick_means(
    densities=tuple(TARGETS)[:2],
    seeds=(0,),
    num_steps=1_000,
    num_layers=2,
    hidden_sizes=(16, 16),
    num_draws=10_000,
    grid_size=100,
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Flows fitted to Rezende & Mohamed's potentials by reverse KL: a table and a picture."""

    flows: tuple[str, ...] = tuple(RECIPES)
    """Flows to fit."""
    densities: tuple[str, ...] = tuple(TARGETS)
    """Potentials to fit them to."""
    num_steps: int = 4_000
    """Training steps of each fit; four times as many for planar and radial flows."""
    num_samples: int = 256
    """Draws of each step."""
    annealing: float = 0.5
    """Share of the steps in which the inverse temperature rises from 0.01 to 1; 0 for none."""
    path_gradient: bool = True
    """Whether gradients follow the path of the draws only."""
    seeds: tuple[int, ...] = (0,)
    """A fit for each; the picture shows the first."""
    num_layers: int = 8
    """Layers of each flow; four times as many of planar and radial flows."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Hidden units of each network."""
    spline_reach: float = 10.0
    """Splines cover [-reach, reach], and are lines beyond. A bounded z1 needs more than 5."""
    num_draws: int = 100_000
    """Fresh draws that score a fit: of the flow, and of the density."""
    grid_size: int = 150
    """Points along each side of a panel."""
    output: Path = Path("figures/energies")
    """Folder to write into."""
    resume: bool = False
    """Keep the rows of `results.csv` and do the fits that are missing. Otherwise it starts anew."""
    quick: bool = False
    """Small flows, few steps, one seed and the first two potentials: a try-out."""


def check(settings: Settings) -> None:
    """Raises a ValueError for settings that name nothing or are out of range."""
    for argument, values, choices in (
        ("flows", settings.flows, list(RECIPES)),
        ("densities", settings.densities, list(TARGETS)),
        ("seeds", settings.seeds, settings.seeds),
    ):
        if not values:
            raise ValueError(f"`{argument}` must hold at least one value; got none.")
        for value in values:
            if value not in choices:
                raise ValueError(f"`{argument}` must be one of {choices}; got {value!r}.")
    for name, least in (("num_steps", 1), ("num_samples", 1), ("num_draws", 2), ("grid_size", 1)):
        if (count := getattr(settings, name)) < least:
            raise ValueError(f"`{name}` must be at least {least}; got {count}.")
    if not 0 <= settings.annealing <= 1:
        raise ValueError(f"`annealing` must be between 0 and 1; got {settings.annealing}.")
    if not settings.spline_reach > 0:
        raise ValueError(f"`spline_reach` must be positive; got {settings.spline_reach}.")
