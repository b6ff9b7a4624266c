"""Sizes and training of the flows of each task."""

from typing import NamedTuple


class Recipe(NamedTuple):
    """Sizes and training of an ensemble of flows."""

    num_members: int  # flows, each fitted on its own; the estimate is their mixture
    num_layers: int  # layers of each
    hidden_sizes: tuple[int, ...]  # hidden units of each network
    activation: str  # of these networks, a function of `jax.nn`
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
    recipe = _RECIPES[task]
    # Each step of the chains would cost as much more as there are members.
    return recipe._replace(num_members=1) if method == "nle" else recipe


_SHARP = Recipe(
    num_members=5,
    num_layers=6,
    hidden_sizes=(64, 64),
    activation="silu",  # smooth, as the dependence of posteriors on data is
    num_bins=8,
    learning_rate=5e-3,
    weight_decay=0.1,
    ema_decay=0.995,
    batch_size=128,
    num_steps=6_000,
    eval_every=200,
    patience=10,
)
# Near Gaussian: small networks generalise best.
_SMOOTH = _SHARP._replace(
    num_layers=2, hidden_sizes=(64,), num_bins=4, learning_rate=3e-3, weight_decay=1.0,
    num_steps=3_000,
)  # fmt: skip

# Chosen by the log-likelihood of new simulations, never by reference posteriors.
_RECIPES = {
    "two_moons": _SHARP,
    "slcp": _SHARP._replace(num_layers=5, learning_rate=1e-2, weight_decay=1.0),
    "gaussian_mixture": _SHARP._replace(learning_rate=1e-2),
    "gaussian_linear": _SMOOTH._replace(num_layers=1, weight_decay=3.0),
    "sir": _SHARP._replace(num_layers=4, weight_decay=0.3),
    "bernoulli_glm": _SMOOTH,
}
