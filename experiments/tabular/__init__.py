"""Flows fitted to tables of numbers: small sets that come with scikit-learn, files of yours, and
the five sets of "Masked Autoregressive Flow for Density Estimation" beside their published figures.
"""
