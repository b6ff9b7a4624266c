"""What to fit, how, and where to write it."""

import dataclasses
from pathlib import Path

from distrax_flows import densities
from experiments._command import quick_means
from experiments.nice_realnvp.models import BASES, MODELS


@quick_means(
    densities=("circles", "moons"),
    bases=tuple(BASES)[:1],
    num_steps=750,
    num_layers=6,
    hidden_sizes=(16, 16),
    num_draws=10_000,
    num_known=10,
    num_completions=20,
    grid_size=60,
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """NICE and RealNVP on densities of the plane: fits, warped grids and completed points."""

    densities: tuple[str, ...] = ("circles", "moons", "2spirals")
    """Densities to fit, of `distrax_flows.densities.names()`."""
    models: tuple[str, ...] = tuple(MODELS)
    """Models to fit to them."""
    bases: tuple[str, ...] = tuple(BASES)
    """Bases of each model."""
    split_density: str = "moons"
    """Density whose draws, two in a vector, show what the split is worth."""
    num_steps: int = 5_000
    """Training steps of each fit."""
    batch_size: int = 256
    """Fresh draws of each step."""
    learning_rate: float = 2e-3
    """Of the first step; it falls to zero by a cosine."""
    num_layers: int = 12
    """Coupling layers of each flow."""
    hidden_sizes: tuple[int, ...] = (32, 32)
    """Hidden units of each network."""
    num_draws: int = 100_000
    """Fresh draws that score a fit."""
    num_known: int = 50
    """Values of the known coordinate, in inpainting."""
    num_completions: int = 40
    """Points to complete for each of them."""
    num_ascent_steps: int = 500
    """Steps of the ascent that completes them."""
    grid_size: int = 200
    """Points along each side of a picture."""
    seed: int = 0
    """Of parameters, batches and noise."""
    output: Path = Path("figures/nice_realnvp")
    """Folder to write into."""
    quick: bool = False
    """Small flows, few steps, one base and two densities: a try-out."""


def check(settings: Settings) -> None:
    """Raises a ValueError for settings that name nothing, or nothing of the plane."""
    planar = [name for name in densities.names() if densities.get(name).event_shape == (2,)]
    for argument, values, choices in (
        ("densities", settings.densities, planar),
        ("models", settings.models, list(MODELS)),
        ("bases", settings.bases, list(BASES)),
        ("split_density", [settings.split_density], planar),
    ):
        if not values:
            raise ValueError(f"`{argument}` must hold at least one value; got none.")
        for value in values:
            if value not in choices:
                raise ValueError(f"`{argument}` must be one of {choices}; got {value!r}.")
    for argument in ("num_steps", "num_draws", "num_known", "num_completions", "num_ascent_steps"):
        if (count := getattr(settings, argument)) < 1:
            raise ValueError(f"`{argument}` must be at least 1; got {count}.")
