"""Bijectors over arrays: real `distrax.Bijector`s, without Haiku."""

from distrax_flows.bijectors.affine import Additive, Affine
from distrax_flows.bijectors.autoregressive import MaskedAutoregressive
from distrax_flows.bijectors.bernstein import BernsteinPolynomial
from distrax_flows.bijectors.circular import CircularShift
from distrax_flows.bijectors.columns import Columns
from distrax_flows.bijectors.elementwise import Scale, Shift
from distrax_flows.bijectors.hierarchical import HierarchicalCoupling, coupling_tree
from distrax_flows.bijectors.linear import LULinear
from distrax_flows.bijectors.mixture_cdf import LogisticMixtureCDF
from distrax_flows.bijectors.multi_scale import MultiScale
from distrax_flows.bijectors.normalization import ActNorm, BatchNorm
from distrax_flows.bijectors.orthogonal import Householder, Orthogonal
from distrax_flows.bijectors.permutation import Permutation, Reverse
from distrax_flows.bijectors.planar import Planar
from distrax_flows.bijectors.radial import Radial
from distrax_flows.bijectors.reshape import Reshape
from distrax_flows.bijectors.rotation import Rotation
from distrax_flows.bijectors.scan_chain import ScanChain
from distrax_flows.bijectors.spline import RationalQuadraticSpline
from distrax_flows.bijectors.squeeze import Squeeze
from distrax_flows.bijectors.sum_of_squares import SumOfSquares
from distrax_flows.bijectors.support import Exp, Logit, Sinh, Softplus
from distrax_flows.bijectors.sylvester import Sylvester
from distrax_flows.bijectors.transpose import Transpose

__all__ = [
    "ActNorm",
    "Additive",
    "Affine",
    "BatchNorm",
    "BernsteinPolynomial",
    "CircularShift",
    "Columns",
    "Exp",
    "HierarchicalCoupling",
    "Householder",
    "LULinear",
    "LogisticMixtureCDF",
    "Logit",
    "MaskedAutoregressive",
    "MultiScale",
    "Orthogonal",
    "Permutation",
    "Planar",
    "Radial",
    "RationalQuadraticSpline",
    "Reshape",
    "Reverse",
    "Rotation",
    "Scale",
    "ScanChain",
    "Shift",
    "Sinh",
    "Softplus",
    "Squeeze",
    "SumOfSquares",
    "Sylvester",
    "Transpose",
    "coupling_tree",
]
