"""Training: objectives, optimizers and options of `distrax_flows.fit` and `fit_to_density`.

`help(distrax_flows.fit)` shows all options; `TrainingOptions` defines them.
"""

from distrax_flows.training._data import Batch
from distrax_flows.training._run import TrainingOptions
from distrax_flows.training.objectives import (
    DensityBatch,
    Loss,
    MaximumLikelihood,
    Objective,
    ReverseKL,
)
from distrax_flows.training.optimizers import cosine_adam

__all__ = [
    "Batch",
    "DensityBatch",
    "Loss",
    "MaximumLikelihood",
    "Objective",
    "ReverseKL",
    "TrainingOptions",
    "cosine_adam",
]
