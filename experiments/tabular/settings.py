"""Settings of the tabular experiment."""

import dataclasses
from pathlib import Path

from experiments._command import check, quick_means
from experiments.tabular import datasets
from experiments.tabular.recipes import FLOWS, Recipe


@quick_means(seeds=(0,), num_layers=2, hidden_sizes=(16,), num_steps=200, eval_every=50)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Flows and a Gaussian on tables of numbers: test log-likelihoods and pictures."""

    # Names of sets (also power, gas, hepmass, miniboone, bsds300), or paths of files.
    datasets: tuple[str, ...] = ("breast_cancer", "wine", "digits")
    data_dir: Path = Path("data")  # Folder with the files of the five sets, as authors have them.
    flows: tuple[str, ...] = tuple(FLOWS)  # Flows to fit.
    seeds: tuple[int, ...] = (0, 1, 2)  # A split and a fit for each; pictures show the first.
    # Layers of each flow. This and what follows: by data set and flow if not given.
    num_layers: int | None = None
    hidden_sizes: tuple[int, ...] | None = None  # Hidden units of each network.
    num_bins: int | None = None  # Bins of each spline.
    learning_rate: float | None = None  # Of Adam at the start; it falls to zero by a cosine.
    weight_decay: float | None = None  # How much a step shrinks matrices, times the learning rate.
    ema_decay: float | None = None  # Of the average of parameters that is validated and kept.
    batch_size: int | None = None  # Rows of a batch, at most all.
    num_steps: int | None = None  # Training steps of a fit, at most.
    eval_every: int | None = None  # Steps between validations.
    patience: int | None = None  # Validations without improvement that end a fit.
    output: Path = Path("figures/tabular")  # Folder to write into.
    checkpoints: Path | None = None  # Folder for checkpoints, from which interrupted fits go on.
    resume: bool = False  # Keep the rows of `results.csv`, and do the fits that are missing.
    quick: bool = False  # Small flows, few steps and one seed.

    def adapt(self, recipe: Recipe) -> Recipe:
        """The recipe, with its values replaced by those given here."""
        given = {name: getattr(self, name) for name in Recipe._fields}
        return recipe._replace(**{n: value for n, value in given.items() if value is not None})


def check_settings(settings: Settings) -> None:
    """Raises a ValueError for settings that are empty, too small, or name nothing that exists."""
    check(settings, choices={"flows": FLOWS}, least={"weight_decay": 0})
    for name in settings.datasets:
        if name not in datasets.names() and "." not in name:
            raise ValueError(
                f"`datasets` must be some of {datasets.names()}, or paths of files; got {name!r}."
            )
    files = [Path(name).name for name in settings.datasets]
    if len(set(files)) < len(files):
        raise ValueError(f"`datasets` must be files of different names; got {files}.")
