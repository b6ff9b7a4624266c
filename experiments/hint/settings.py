"""Settings of the HINT experiment."""

import dataclasses
from pathlib import Path

from experiments._command import quick_means
from experiments.hint.problems import PROBLEMS


@quick_means(
    num_steps=500, num_layers=(2,), hidden_size=24, seeds=(0,), num_pairs=4_000,
    num_observations=500,
)  # fmt: skip
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """HINT and RealNVP as posteriors of two inverse problems: a table and pictures."""

    problems: tuple[str, ...] = tuple(PROBLEMS)  # Problems to solve.
    num_steps: int = 4_000  # Training steps of each fit.
    batch_size: int = 128  # Fresh pairs of unknowns and observation of each step.
    learning_rate: float = 3e-3  # Of Adam at the start; it falls to zero by a cosine.
    # Layers of the flows: each is fitted with each of these. Pictures show the last.
    num_layers: tuple[int, ...] = (2, 8)
    # Units of RealNVP's two hidden layers. HINT gets what makes as many parameters.
    hidden_size: int = 64
    seeds: tuple[int, ...] = (0, 1)  # A fit for each; pictures show the first.
    num_pairs: int = 50_000  # Fresh pairs that the divergence is measured on.
    # Observations whose posteriors are sampled, for all other errors.
    num_observations: int = 4_000
    # Samples of each of those posteriors. Ranks among 99 divide evenly into levels of 10 %.
    num_draws: int = 99
    output: Path = Path("figures/hint")  # Folder to write into.
    quick: bool = False  # Small flows, few steps and one seed.
