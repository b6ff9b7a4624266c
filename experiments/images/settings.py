"""Settings of the experiment with images."""

import dataclasses
from pathlib import Path

from experiments._command import check, quick_means
from experiments.images.datasets import DATASETS
from experiments.images.recipes import FLOWS, Recipe


@quick_means(
    flows=("glow_flat", "glow", "patches"),
    seeds=(0,),
    num_layers=1,
    hidden_size=8,
    num_blocks=1,
    num_steps=20,
    eval_every=10,
    num_noises=2,
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Flows of images: bits per dimension, samples, interpolations."""

    dataset: str = "digits"  # digits, mnist, fashion_mnist, cifar10 or npz.
    data_dir: Path = Path("data")  # Folder with the files of the set, or an .npz file.
    flows: tuple[str, ...] = tuple(FLOWS)  # Flows to fit.
    seeds: tuple[int, ...] = (0, 1, 2)  # A fit for each; pictures show the first.
    # Layers of each scale. This and what follows: by data set and flow if not given.
    num_layers: int | None = None
    num_scales: int | None = None  # Scales of flows of images.
    hidden_size: int | None = None  # Units, channels or features of each network.
    num_blocks: int | None = None  # Blocks of each network; 0 for the three convolutions of Glow.
    learning_rate: float | None = None  # Of Adam at the start; it falls to zero by a cosine.
    weight_decay: float | None = None  # How much a step shrinks matrices, times the learning rate.
    ema_decay: float | None = None  # Of the average of parameters that is validated and kept.
    batch_size: int | None = None  # Images of a batch.
    num_steps: int | None = None  # Training steps of a fit, at most.
    eval_every: int | None = None  # Steps between validations.
    patience: int | None = None  # Validations without improvement that end a fit.
    num_noises: int = 10  # Samples of noise that scores average.
    output: Path = Path("figures/images")  # Folder to write into.
    checkpoints: Path | None = None  # Folder for checkpoints, from which interrupted fits go on.
    resume: bool = False  # Keep the rows of `results.csv`, and do the fits that are missing.
    quick: bool = False  # Three small flows, few steps and one seed.

    def adapt(self, recipe: Recipe) -> Recipe:
        """The recipe, with its values replaced by those given here."""
        given = {name: getattr(self, name) for name in Recipe._fields}
        return recipe._replace(**{n: value for n, value in given.items() if value is not None})


def check_settings(settings: Settings) -> None:
    """Raises a ValueError for settings that are empty, too small, or name nothing that exists."""
    check(
        settings,
        choices={"flows": FLOWS, "dataset": DATASETS},
        least={"weight_decay": 0, "num_blocks": 0},
    )
