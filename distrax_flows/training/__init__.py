"""Training: objectives, optimizers and options of `distrax_flows.fit` and `fit_to_density`.

`help(distrax_flows.fit)` shows all options; `TrainingOptions` defines them.
"""

from distrax_flows.training._data import Batch
from distrax_flows.training._fab import FAB
from distrax_flows.training._run import TrainingOptions
from distrax_flows.training.divergences import Divergence, LogVariance, ReverseKL, Target
from distrax_flows.training.objectives import Loss, MaximumLikelihood, Objective
from distrax_flows.training.optimizers import cosine_adam

__all__ = [
    "FAB",
    "Batch",
    "Divergence",
    "LogVariance",
    "Loss",
    "MaximumLikelihood",
    "Objective",
    "ReverseKL",
    "Target",
    "TrainingOptions",
    "cosine_adam",
]
