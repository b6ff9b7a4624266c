"""Settings of the experiment on Bayesian networks."""

import dataclasses
from pathlib import Path

from experiments._command import quick_means
from experiments.mnf.networks import NETWORKS


@quick_means(
    seeds=(0,), regression_steps=300, regression_units=8, num_chains=2, num_warmup=20, num_draws=20,
    num_steps=60, channels=(4, 4), hidden_size=8, num_members=2, num_samples=4, num_patches=50,
)  # fmt: skip
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Multiplicative normalizing flows against other Bayesian networks: tables and pictures."""

    parts: tuple[str, ...] = ("regression", "classifier")  # Parts to run.
    networks: tuple[str, ...] = NETWORKS  # Networks to train, in each part that has them.
    seeds: tuple[int, ...] = (0, 1)  # A fit for each; the regression's picture shows the first.
    regression_steps: int = 20_000  # Training steps of the regression, each on all rows.
    regression_units: int = 50  # Hidden units of the regression.
    num_chains: int = 4  # Chains of NUTS.
    num_warmup: int = 1_000  # Steps of each chain that adapt it.
    num_draws: int = 1_000  # Samples of each chain.
    dataset: str = "digits"  # Images to classify: digits or fashion_mnist.
    data_dir: Path = Path("/usr/share/datasets/fashion-mnist")  # Folder of the files of the latter.
    num_steps: int = 1_500  # Training steps of the classifier.
    batch_size: int = 128  # Images of each of them.
    channels: tuple[int, int] = (16, 32)  # Filters of its two convolutions.
    hidden_size: int = 64  # Units of its hidden layer.
    learning_rate: float = 3e-3  # Of Adam at the start; it falls to zero by a cosine.
    # Standard deviation of the prior of all weights. Mean-field and MNF layers of the classifier
    # learn theirs, and start with this.
    prior_scale: float = 1.0
    dropout_rate: float = 0.2  # Share of the units that dropout removes.
    num_members: int = 5  # Networks of an ensemble.
    num_samples: int = 30  # Samples of random weights that a prediction averages.
    num_patches: int = 300  # Patches of photographs, which are no digits.
    output: Path = Path("figures/mnf")  # Folder to write into.
    resume: bool = False  # Keep the rows of the tables, and do the fits that are missing.
    quick: bool = False  # Small networks, few steps and one seed.
