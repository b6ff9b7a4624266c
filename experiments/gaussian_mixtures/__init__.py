"""Flows fitted to mixtures of Gaussians on the line and in the plane.

    python -m experiments.gaussian_mixtures
    python -m experiments.gaussian_mixtures --flow planar maf --actnorm --lu
    python -m experiments.gaussian_mixtures --quick --output /tmp/gaussian_mixtures

The mixtures are distrax distributions, each fit sees fresh samples, and scores are on samples that
no fit has seen. The entropy of a mixture p has no closed form: it is the mean of -log p on those
samples, and the divergence KL(p || q) of a flow q is the mean of log p - log q.

A flow maps the data to a standard normal. `<dimension>d-<flow>.png` shows the mapped data, between
the data and samples of the flow. Their divergence from the normal equals that of the data from the
flow, because a bijector preserves divergences. `results.csv` has a row per fit.
"""
