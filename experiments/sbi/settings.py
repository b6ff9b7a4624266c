"""Settings of the experiment on simulation-based inference."""

import dataclasses
from pathlib import Path
from typing import Literal

from experiments._command import quick_means
from experiments.sbi.recipes import Recipe, recipe_for
from experiments.sbi.references import NUM_OBSERVATIONS
from experiments.sbi.tasks import TASKS


@quick_means(
    tasks=("two_moons",), num_simulations=500, num_members=2, num_layers=2, hidden_sizes=(16,),
    num_steps=200, eval_every=50, num_checked=50, num_rounds=2, num_chains=100, num_warmup=50,
)  # fmt: skip
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Neural inference on the tasks of sbibm: C2ST, calibration, pictures."""

    tasks: tuple[str, ...] = tuple(TASKS)  # Tasks of the benchmark.
    methods: tuple[str, ...] = ("npe",)  # Of npe, nle and tsnpe.
    wheel: Path | None = None  # The wheel of sbibm 1.1.0, for its reference posteriors.
    observations: tuple[int, ...] = tuple(range(1, 1 + NUM_OBSERVATIONS))  # Those to score.
    seeds: tuple[int, ...] = (0,)  # A fit for each; pictures show the first.
    num_simulations: int = 10_000  # Simulations of a fit, validation and all rounds included.
    # Flows of an ensemble, fitted at once. This and what follows: by task if not given.
    num_members: int | None = None
    num_layers: int | None = None  # Layers of each flow.
    hidden_sizes: tuple[int, ...] | None = None  # Hidden units of each of its networks.
    activation: Literal["relu", "silu", "tanh"] | None = None  # Of these networks.
    num_bins: int | None = None  # Bins of its splines.
    learning_rate: float | None = None  # Of Adam at the start; it falls to zero by a cosine.
    weight_decay: float | None = None  # How much a step shrinks matrices, times the learning rate.
    ema_decay: float | None = None  # Of the average of parameters that is validated and kept.
    batch_size: int | None = None  # Simulations of a step.
    num_steps: int | None = None  # Training steps of a fit, at most.
    eval_every: int | None = None  # Steps between validations, on a tenth of the simulations.
    patience: int | None = None  # Validations without improvement that end a fit.
    num_rounds: int = 4  # Rounds of tsnpe.
    truncation: float = 1e-4  # Share of the posterior that a round of tsnpe cuts off.
    num_chains: int = 1_000  # Chains of nle.
    num_warmup: int = 300  # Steps that adapt their step size and metric.
    num_burn_in: int = 20  # Steps of each chain that are dropped.
    num_checked: int = 500  # New simulations for the calibration of npe.
    output: Path = Path("figures/sbi")  # Folder to write into.
    resume: bool = False  # Keep the rows of the tables, and do what is missing.
    quick: bool = False  # One task, few simulations, small flows.

    def recipe_for(self, task: str, method: str) -> Recipe:
        """The recipe of a task and a method, with its values replaced by those given here."""
        given = {name: getattr(self, name) for name in Recipe._fields}
        recipe = recipe_for(task, method)
        return recipe._replace(**{n: value for n, value in given.items() if value is not None})
