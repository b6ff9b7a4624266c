"""Quality of a fitted flow; and plots of it, in `distrax_flows.diagnostics.plotting`."""

from distrax_flows.diagnostics import plotting
from distrax_flows.diagnostics._bounds import (
    BitsPerDim,
    LikelihoodBounds,
    bits_per_dim,
    likelihood_bounds,
)
from distrax_flows.diagnostics._evidence import Evidence, evidence

__all__ = [
    "BitsPerDim",
    "Evidence",
    "LikelihoodBounds",
    "bits_per_dim",
    "evidence",
    "likelihood_bounds",
    "plotting",
]
