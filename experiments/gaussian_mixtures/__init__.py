"""Mixtures of Gaussians, on the line and in the plane, fitted by flows to a standard normal.

    python -m experiments.gaussian_mixtures
    python -m experiments.gaussian_mixtures --flow planar maf --actnorm --lu
    python -m experiments.gaussian_mixtures --quick --output /tmp/gaussian_mixtures

The mixtures are distrax distributions, each fit sees fresh samples, and scores are on samples that
no fit has seen. The entropy of a mixture p has no closed form: it is the mean of -log p on those
samples, and the divergence KL(p || q) of a flow q the mean of log p - log q.

A flow carries the data to a standard normal. `<dimension>d-<flow>.png` shows where it carries them,
between the data and samples of the flow. What is there is as far from the normal as the data are
from the flow: the two divergences are the same, as a bijector changes neither. `results.csv` has a
row per fit.
"""
