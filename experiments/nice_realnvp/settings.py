"""Settings of the NICE and RealNVP experiment."""

import dataclasses
from pathlib import Path

from experiments._command import quick_means
from experiments.nice_realnvp.models import BASES, LABELS


@quick_means(
    densities=("circles", "moons"), bases=tuple(BASES)[:1], num_steps=750, num_layers=6,
    hidden_sizes=(16, 16), num_draws=10_000, num_known=10, num_completions=20, grid_size=60,
)  # fmt: skip
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """NICE and RealNVP on densities of the plane: fits, warped grids and completed points."""

    # Densities to fit, of `distrax_flows.densities.names()`.
    densities: tuple[str, ...] = ("circles", "moons", "2spirals")
    models: tuple[str, ...] = tuple(LABELS)  # Models to fit to them.
    bases: tuple[str, ...] = tuple(BASES)  # Bases of each model.
    # Density of which two samples in one vector show what the split is worth.
    split_density: str = "moons"
    num_steps: int = 5_000  # Training steps of each fit.
    batch_size: int = 256  # Fresh samples of each step.
    learning_rate: float = 2e-3  # Of the first step; it falls to zero by a cosine.
    num_layers: int = 12  # Coupling layers of each flow.
    hidden_sizes: tuple[int, ...] = (32, 32)  # Hidden units of each network.
    num_draws: int = 100_000  # Fresh samples that score a fit.
    num_known: int = 50  # Values of the known coordinate, in inpainting.
    num_completions: int = 40  # Points to complete for each of them.
    num_ascent_steps: int = 500  # Steps of the ascent that completes them.
    grid_size: int = 200  # Points along each side of a picture.
    seed: int = 0  # Of parameters, batches and noise.
    output: Path = Path("figures/nice_realnvp")  # Folder to write into.
    quick: bool = False  # Small flows, few steps, one base and two densities.
