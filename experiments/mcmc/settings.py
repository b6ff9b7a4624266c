"""Settings of the experiment on MCMC."""

import dataclasses
from pathlib import Path

from experiments._command import quick_means
from experiments.mcmc.targets import TARGETS

METHODS = ("nuts", "neutra", "adapted")


@quick_means(
    targets=("banana",), seeds=(0,), num_chains=2, num_warmup=100, num_draws=100,
    num_reference_draws=200, num_steps=100, num_samples=64, num_rounds=1,
    num_round_draws=100, num_round_steps=20,
)  # fmt: skip
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """NUTS, in the coordinates of a target and of a flow: a table and pictures."""

    targets: tuple[str, ...] = tuple(TARGETS)  # Densities to sample.
    methods: tuple[str, ...] = METHODS  # Coordinates of NUTS: the target's, or a flow's.
    seeds: tuple[int, ...] = (0, 1, 2)  # A fit and a run for each; pictures show the first.
    num_chains: int = 8  # Chains of a run.
    num_warmup: int = 1_000  # Steps of a chain that adapt its step size and metric.
    num_draws: int = 5_000  # Samples of a chain.
    num_reference_draws: int = 20_000  # Samples of a chain of the reference.
    num_steps: int = 5_000  # Training steps of each flow.
    num_samples: int = 256  # Samples of each training step.
    learning_rate: float = 3e-3  # Of Adam at the start; it falls to zero by a cosine.
    ema_decay: float = 0.998  # Of the average of parameters that is kept.
    num_rounds: int = 2  # Fits to samples of NUTS, of the method "adapted".
    num_round_draws: int = 1_000  # Samples of each of its chains in a round.
    num_round_steps: int = 1_000  # Training steps of each of its fits.
    output: Path = Path("figures/mcmc")  # Folder to write into.
    resume: bool = False  # Keep the rows of `results.csv`, and do what is missing.
    quick: bool = False  # One target, short chains, a short fit.
