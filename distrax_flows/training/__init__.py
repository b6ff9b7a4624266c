"""Fitting flows to data."""

from distrax_flows.training.fit import Fit, History, fit

__all__ = ["Fit", "History", "fit"]
