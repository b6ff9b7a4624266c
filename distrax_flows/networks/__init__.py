"""Networks over arrays: autoregressive conditioners without Haiku."""

from distrax_flows.networks.masked_mlp import LinearizedMLP, MaskedMLP
from distrax_flows.networks.masks import hidden_degrees, hidden_mask, input_mask, output_mask
from distrax_flows.networks.transformer import AttentionBlock, Transformer

__all__ = [
    "AttentionBlock",
    "LinearizedMLP",
    "MaskedMLP",
    "Transformer",
    "hidden_degrees",
    "hidden_mask",
    "input_mask",
    "output_mask",
]
