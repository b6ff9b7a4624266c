"""Sizes and training of the flows of each task."""

from typing import NamedTuple


class Recipe(NamedTuple):
    """Sizes and training of an ensemble of flows."""

    num_members: int  # flows, each fitted on its own; the estimate is their mixture
    num_layers: int  # layers of each
    hidden_sizes: tuple[int, ...]  # hidden units of each network
    num_bins: int  # bins of each spline
    learning_rate: float  # initial rate of Adam; a cosine decays it to zero
    # a step shrinks the networks' matrices by this times the learning rate
    weight_decay: float
    ema_decay: float  # of the moving average of the parameters, which is validated and kept
    batch_size: int  # simulations of a step
    num_steps: int  # maximum number of steps
    eval_every: int  # steps between validations
    patience: int  # validations without improvement that end a fit


def recipe_for(task: str, method: str) -> Recipe:
    """The recipe of a task and a method."""
    return _RECIPES.get((task, method)) or _RECIPES.get((task, "npe"), _RECIPE)


_RECIPE = Recipe(
    num_members=5,
    num_layers=4,
    hidden_sizes=(64, 64),
    num_bins=8,
    learning_rate=1e-3,
    weight_decay=3.0,
    ema_decay=0.995,
    batch_size=128,
    num_steps=5_000,
    eval_every=200,
    patience=10,
)
_RECIPES: dict[tuple[str, str], Recipe] = {}
