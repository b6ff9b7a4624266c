"""Settings of the experiment on energies."""

import dataclasses
from pathlib import Path

from experiments._command import quick_means
from experiments.energies.recipes import RECIPES
from experiments.energies.targets import TARGETS


@quick_means(
    densities=tuple(TARGETS)[:2], seeds=(0,), num_steps=1_000, num_layers=2, hidden_sizes=(16, 16),
    num_draws=10_000, grid_size=100,
)  # fmt: skip
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Flows fitted to Rezende & Mohamed's potentials by reverse KL: a table and a picture."""

    flows: tuple[str, ...] = tuple(RECIPES)  # Flows to fit.
    densities: tuple[str, ...] = tuple(TARGETS)  # Potentials to fit them to.
    num_steps: int = 4_000  # Training steps of each fit; four times as many for thin layers.
    num_samples: int = 256  # Samples of each step.
    # Share of the steps in which the inverse temperature rises from 0.01 to 1; 0 for none.
    annealing: float = 0.5
    path_gradient: bool = True  # Let gradients follow the path of the samples only.
    seeds: tuple[int, ...] = (0,)  # A fit for each; the picture shows the first.
    num_layers: int = 8  # Layers of each flow; four times as many of planar and radial flows.
    hidden_sizes: tuple[int, ...] = (64, 64)  # Hidden units of each network.
    # Splines cover [-reach, reach]; an affine map after each, seen from the base, goes beyond.
    spline_reach: float = 5.0
    num_draws: int = 100_000  # Fresh samples that score a fit: of the flow, and of the density.
    grid_size: int = 150  # Points along each side of a panel.
    output: Path = Path("figures/energies")  # Folder to write into.
    resume: bool = False  # Keep the rows of `results.csv`, and do the fits that are missing.
    quick: bool = False  # Small flows, few steps, one seed and the first two potentials.
