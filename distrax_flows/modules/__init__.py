"""Haiku modules: conditioner networks, and layers that own their parameters.

A layer is anything that, called with its input inside a Haiku transform, returns a bijector over
arrays. `Learned` makes it one itself; `Stack` repeats it.
"""

from distrax_flows.modules.learned import Layer, Learned
from distrax_flows.modules.made import MADE
from distrax_flows.modules.mlp import MLP, ResidualMLP
from distrax_flows.modules.stack import Stack
from distrax_flows.modules.standardize import Standardize

__all__ = ["MADE", "MLP", "Layer", "Learned", "ResidualMLP", "Stack", "Standardize"]
