"""Haiku modules: conditioner networks, layers that own their parameters, and Bayesian layers.

A layer is anything that returns a bijector over arrays when called with its input inside a Haiku
transform. `Learned` turns a layer into a bijector; `Stack` repeats it.

A Bayesian layer is a layer of a network with random weights, `y, kl = layer(x)`.
"""

from distrax_flows.modules.bayesian import (
    DeterministicConv2D,
    DeterministicLinear,
    MeanFieldConv2D,
    MeanFieldLinear,
    sample_predictions,
)
from distrax_flows.modules.conv import ConvNet, GatedConvNet
from distrax_flows.modules.fixed import is_fixed
from distrax_flows.modules.given_first import GivenFirst
from distrax_flows.modules.learned import Layer, Learned, compose
from distrax_flows.modules.linear import (
    HouseholderLayer,
    LULinearLayer,
    OrthogonalLayer,
    ScaleLayer,
)
from distrax_flows.modules.made import MADE
from distrax_flows.modules.mlp import MLP, ResidualMLP
from distrax_flows.modules.multiplicative import MNFConv2D, MNFLinear
from distrax_flows.modules.normalization import (
    ActNormLayer,
    BatchNormLayer,
    RobustStandardize,
    Standardize,
)
from distrax_flows.modules.planar import PlanarLayer, RadialLayer, SylvesterLayer
from distrax_flows.modules.stack import Stack
from distrax_flows.modules.stochastic import Dequantize, LatentVariable
from distrax_flows.modules.transformer import CausalTransformer

__all__ = [
    "MADE",
    "MLP",
    "ActNormLayer",
    "BatchNormLayer",
    "CausalTransformer",
    "ConvNet",
    "Dequantize",
    "DeterministicConv2D",
    "DeterministicLinear",
    "GatedConvNet",
    "GivenFirst",
    "HouseholderLayer",
    "LULinearLayer",
    "LatentVariable",
    "Layer",
    "Learned",
    "MNFConv2D",
    "MNFLinear",
    "MeanFieldConv2D",
    "MeanFieldLinear",
    "OrthogonalLayer",
    "PlanarLayer",
    "RadialLayer",
    "ResidualMLP",
    "RobustStandardize",
    "ScaleLayer",
    "Stack",
    "Standardize",
    "SylvesterLayer",
    "compose",
    "is_fixed",
    "sample_predictions",
]
