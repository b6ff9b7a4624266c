"""Bijectors over arrays: real `distrax.Bijector`s, with no Haiku in sight."""

from distrax_flows.bijectors.autoregressive import MaskedAutoregressive
from distrax_flows.bijectors.elementwise import Scale, Shift
from distrax_flows.bijectors.permutation import Permutation, Reverse
from distrax_flows.bijectors.rotation import Rotation
from distrax_flows.bijectors.scan_chain import ScanChain
from distrax_flows.bijectors.spline import RationalQuadraticSpline

__all__ = [
    "MaskedAutoregressive",
    "Permutation",
    "RationalQuadraticSpline",
    "Reverse",
    "Rotation",
    "Scale",
    "ScanChain",
    "Shift",
]
