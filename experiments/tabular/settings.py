"""What to fit, to which data, and where to write it."""

import dataclasses
from pathlib import Path

import numpy as np

from experiments._command import quick_means
from experiments.tabular import datasets
from experiments.tabular.recipes import FLOWS, Recipe


@quick_means(seeds=(0,), num_layers=2, hidden_sizes=(16,), num_steps=200, eval_every=50)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Flows and a Gaussian on tables of numbers: test log-likelihoods and pictures."""

    datasets: tuple[str, ...] = ("breast_cancer", "wine", "digits")
    """Names of sets (also power, gas, hepmass, miniboone, bsds300), or paths of files."""
    data_dir: Path = Path("data")
    """Folder with the files of the five sets, as their authors lay them out."""
    flows: tuple[str, ...] = tuple(FLOWS)
    """Flows to fit."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """A split of the rows and a fit for each; pictures show the first."""
    num_layers: int | None = None
    """Layers of each flow. This and what follows: by data set and flow if not given."""
    hidden_sizes: tuple[int, ...] | None = None
    """Hidden units of each network."""
    num_bins: int | None = None
    """Bins of each spline."""
    learning_rate: float | None = None
    """Of Adam at the start; it falls to zero by a cosine."""
    weight_decay: float | None = None
    """By how much a step shrinks the networks' matrices, times the learning rate."""
    ema_decay: float | None = None
    """Of the moving average of the parameters, which is what is validated and kept."""
    batch_size: int | None = None
    """Rows of a batch, at most all."""
    num_steps: int | None = None
    """Training steps of a fit, at most."""
    eval_every: int | None = None
    """Steps between validations."""
    patience: int | None = None
    """A fit ends when so many validations in a row have brought no improvement."""
    output: Path = Path("figures/tabular")
    """Folder to write into."""
    checkpoints: Path | None = None
    """Folder for checkpoints of each fit, from which an interrupted one goes on."""
    resume: bool = False
    """Keep the rows of `results.csv` and do the fits that are missing. Otherwise it starts anew."""
    quick: bool = False
    """Small flows, few steps and one seed: a try-out."""

    def adapt(self, recipe: Recipe) -> Recipe:
        """The recipe, with what is given here in place of its own."""
        given = {name: getattr(self, name) for name in Recipe._fields}
        return recipe._replace(**{n: value for n, value in given.items() if value is not None})


def check(settings: Settings) -> None:
    """Raises a ValueError for settings that hold no value, are too small, or name nothing."""
    for name in ("datasets", "flows", "seeds"):
        values = getattr(settings, name)
        if not values:
            raise ValueError(f"`{name}` must hold at least one value; got none.")
        if len(set(values)) < len(values):
            raise ValueError(f"`{name}` must differ from each other; got {values}.")
    for name in settings.flows:
        if name not in FLOWS:
            raise ValueError(f"`flows` must be some of {list(FLOWS)}; got {name!r}.")
    for name in settings.datasets:
        if name not in datasets.names() and "." not in name:
            raise ValueError(
                f"`datasets` must be some of {datasets.names()}, or paths of files; got {name!r}."
            )
    files = [Path(name).name for name in settings.datasets]
    if len(set(files)) < len(files):
        raise ValueError(f"`datasets` must be files of different names; got {files}.")
    if settings.weight_decay is not None and not settings.weight_decay >= 0:
        raise ValueError(f"`weight_decay` must be at least 0; got {settings.weight_decay}.")
    for name in set(Recipe._fields) - {"weight_decay"}:
        value = getattr(settings, name)
        if value is not None and not np.all(np.asarray(value) > 0):
            raise ValueError(f"`{name}` must be positive; got {value}.")
