"""What to fit, how, and where to write it."""

import dataclasses
from pathlib import Path

from distrax_flows import densities
from experiments._command import quick_means
from experiments.flow_zoo.zoo import ZOO


@quick_means(
    num_steps=500, num_layers=2, hidden_sizes=(16, 16), num_draws=10_000, grid_size=100, repeats=3
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Every flow of the library on two densities, at one budget: a table and a sheet of each."""

    flows: tuple[str, ...] = tuple(ZOO)
    """Flows to fit."""
    densities: tuple[str, ...] = ("moons", "gaussian_blobs")
    """Densities to fit them to, of `distrax_flows.densities.names()`."""
    num_steps: int = 5_000
    """Training steps of each fit."""
    batch_size: int = 128
    """Fresh draws of each step."""
    seed: int = 0
    """Of the fits and of the draws that score them."""
    num_layers: int = 8
    """Layers of each flow; planar, radial and Sylvester layers are thin, and four times as many."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Hidden units of each network."""
    num_draws: int = 100_000
    """Fresh draws that score a fit."""
    grid_size: int = 150
    """Points along each side of a panel."""
    repeats: int = 7
    """Timed calls of `log_prob` and of `sample`, each of 10,000 rows, of each fit."""
    output: Path = Path("figures/flow_zoo")
    """Folder to write into."""
    resume: bool = False
    """Keep the fits of `results.csv`, do those that are missing, and time all."""
    quick: bool = False
    """Small flows and few steps: a try-out."""


def check(settings: Settings) -> None:
    """Raises a ValueError for settings that name nothing, or nothing of the plane."""
    planar = [name for name in densities.names() if densities.get(name).event_shape == (2,)]
    for argument, values, choices in (
        ("flows", settings.flows, list(ZOO)),
        ("densities", settings.densities, planar),
    ):
        if not values:
            raise ValueError(f"`{argument}` must hold at least one value; got none.")
        for value in values:
            if value not in choices:
                raise ValueError(f"`{argument}` must be one of {choices}; got {value!r}.")
    for name in ("num_draws", "grid_size", "repeats"):
        if (count := getattr(settings, name)) < 1:
            raise ValueError(f"`{name}` must be at least 1; got {count}.")
