"""What to fit, how, and where to write it."""

import dataclasses
from pathlib import Path

from experiments._command import quick_means
from experiments.hint.problems import PROBLEMS


@quick_means(
    num_steps=500,
    num_layers=(2,),
    hidden_size=24,
    seeds=(0,),
    num_pairs=4_000,
    num_observations=500,
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """HINT and RealNVP as posteriors of two inverse problems: a table and pictures."""

    problems: tuple[str, ...] = tuple(PROBLEMS)
    """Problems to solve."""
    num_steps: int = 4_000
    """Training steps of each fit."""
    batch_size: int = 128
    """Fresh pairs of unknowns and observation of each step."""
    learning_rate: float = 3e-3
    """Of Adam at the start; it falls to zero by a cosine."""
    num_layers: tuple[int, ...] = (2, 8)
    """Layers of the flows: each is fitted with each of these. Pictures show the last."""
    hidden_size: int = 64
    """Units of RealNVP's two hidden layers. HINT gets what makes as many parameters."""
    seeds: tuple[int, ...] = (0, 1)
    """A fit for each; pictures show the first."""
    num_pairs: int = 50_000
    """Fresh pairs that the divergence is measured on."""
    num_observations: int = 4_000
    """Observations whose posteriors are drawn from, for all other errors."""
    num_draws: int = 99
    """Draws of each of those posteriors. Ranks among 99 divide evenly into levels of 10 %."""
    output: Path = Path("figures/hint")
    """Folder to write into."""
    quick: bool = False
    """Small flows, few steps and one seed: a try-out."""


def check(settings: Settings) -> None:
    """Raises a ValueError for settings that are too small, hold no value, or name no problem."""
    for name, least in (
        ("num_steps", 1),
        ("batch_size", 1),
        ("hidden_size", 1),
        ("num_pairs", 2),
        ("num_observations", 1),
        ("num_draws", 4),
    ):
        if (count := getattr(settings, name)) < least:
            raise ValueError(f"`{name}` must be at least {least}; got {count}.")
    if not settings.learning_rate > 0:
        raise ValueError(f"`learning_rate` must be positive; got {settings.learning_rate}.")
    for name in ("problems", "num_layers", "seeds"):
        if not getattr(settings, name):
            raise ValueError(f"`{name}` must hold at least one value; got none.")
    for name in settings.problems:
        if name not in PROBLEMS:
            raise ValueError(f"`problems` must be some of {list(PROBLEMS)}; got {name!r}.")
    if min(settings.num_layers) < 1:
        raise ValueError(f"`num_layers` must be at least 1; got {settings.num_layers}.")
