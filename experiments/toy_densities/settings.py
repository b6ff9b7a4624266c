"""What to fit, how, and where to write it."""

import dataclasses
from pathlib import Path

from distrax_flows import densities
from experiments._command import quick_means
from experiments.toy_densities.recipes import RECIPES


@quick_means(
    densities=("banana", "gaussian_blobs"),
    seeds=(0,),
    num_steps=500,
    num_layers=2,
    hidden_sizes=(16, 16),
    num_draws=10_000,
    grid_size=100,
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Flows fitted to toy densities: a table, pictures, and a GIF of training."""

    flows: tuple[str, ...] = ("maf", "realnvp", "nsf_coupling")
    """Flows to fit; there are `glow` and `hint` too."""
    densities: tuple[str, ...] = (
        "banana", "gaussian_blobs", "energy1", "energy2", "energy3", "energy4",
    )  # fmt: skip
    """Densities to fit them to, of `distrax_flows.densities.names()`."""
    num_steps: int = 5_000
    """Training steps of each fit."""
    batch_size: int = 128
    """Fresh draws of each step."""
    seeds: tuple[int, ...] = (0,)
    """A fit for each; pictures show the first."""
    num_layers: int = 8
    """Layers of each flow."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Hidden units of each network."""
    num_draws: int = 100_000
    """Fresh draws that score a fit."""
    grid_size: int = 200
    """Points along each side of a picture."""
    gif_flow: str = "nsf_coupling"
    """Flow whose training is shown, if it is among the flows."""
    gif_density: str = "gaussian_blobs"
    """Density on which its training is shown, if it is among the densities."""
    output: Path = Path("figures/toy_densities")
    """Folder to write into."""
    resume: bool = False
    """Keep the rows of `results.csv` and do the fits that are missing. Otherwise it starts anew."""
    quick: bool = False
    """Small flows, few steps, one seed and the first two densities: a try-out."""


def check(settings: Settings) -> None:
    """Raises a ValueError for settings that name nothing, or nothing of the plane."""
    planar = [name for name in densities.names() if densities.get(name).event_shape == (2,)]
    for argument, values, choices in (
        ("flows", settings.flows, list(RECIPES)),
        ("gif_flow", [settings.gif_flow], list(RECIPES)),
        ("densities", settings.densities, planar),
        ("gif_density", [settings.gif_density], planar),
        ("seeds", settings.seeds, settings.seeds),
    ):
        if not values:
            raise ValueError(f"`{argument}` must hold at least one value; got none.")
        for value in values:
            if value not in choices:
                raise ValueError(f"`{argument}` must be one of {choices}; got {value!r}.")
    if settings.num_draws < 1:
        raise ValueError(f"`num_draws` must be at least 1; got {settings.num_draws}.")
