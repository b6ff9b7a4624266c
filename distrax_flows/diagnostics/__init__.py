"""Diagnostics of a fitted flow; plots are in `distrax_flows.diagnostics.plotting`.

- Is it the distribution of the data, or the posterior? `calibration`, `c2st`, `kl_divergence`.
- Do its samples make good importance weights? `evidence`, `pareto_smooth`.
- Is it computed accurately, and does it reach all of the data? `audit`.
- What is it made of? `summary`, and `Flow.trace`.
- Likelihoods of integers and of latent-variable models: `bits_per_dim`, `likelihood_bounds`.
"""

from distrax_flows._core.monte_carlo import Estimate
from distrax_flows.diagnostics import plotting
from distrax_flows.diagnostics._audit import Audit, audit
from distrax_flows.diagnostics._bounds import (
    BitsPerDim,
    LikelihoodBounds,
    bits_per_dim,
    likelihood_bounds,
)
from distrax_flows.diagnostics._calibration import Calibration, calibration, rank_among
from distrax_flows.diagnostics._divergence import kl_divergence
from distrax_flows.diagnostics._evidence import Evidence, evidence
from distrax_flows.diagnostics._psis import PSIS, pareto_smooth
from distrax_flows.diagnostics._summary import summary
from distrax_flows.diagnostics._two_sample import TwoSampleTest, c2st

__all__ = [
    "PSIS",
    "Audit",
    "BitsPerDim",
    "Calibration",
    "Estimate",
    "Evidence",
    "LikelihoodBounds",
    "TwoSampleTest",
    "audit",
    "bits_per_dim",
    "c2st",
    "calibration",
    "evidence",
    "kl_divergence",
    "likelihood_bounds",
    "pareto_smooth",
    "plotting",
    "rank_among",
    "summary",
]
