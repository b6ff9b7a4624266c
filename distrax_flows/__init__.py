"""Normalizing flows for distrax and Haiku.

Two ways in. Bijectors over arrays, to drop into distrax code:

    distrax.Chain([distrax_flows.Rotation(angle), distrax_flows.Scale(log_scale)])

and whole flows that own their parameters:

    flow = distrax_flows.transform(lambda: distrax_flows.flows.maf(event_size=2))
"""

try:
    import distrax as _distrax  # noqa: F401
except (ImportError, AttributeError) as error:
    raise ImportError(
        "`import distrax` failed. If the stable wheel `tensorflow-probability` is installed, it "
        "has overwritten files of `tfp-nightly`, which distrax needs. The cure: "
        "`pip uninstall -y tensorflow-probability tfp-nightly && pip install tfp-nightly`. "
        f"The error was: {type(error).__name__}: {error}"
    ) from error

from distrax_flows import (
    bases,
    bijectors,
    conditioners,
    densities,
    families,
    flows,
    masks,
    modules,
    supports,
    testing,
    training,
)
from distrax_flows._types import AutoregressiveConditioner
from distrax_flows.bijectors import (
    ActNorm,
    BatchNorm,
    BernsteinPolynomial,
    CircularShift,
    Columns,
    HierarchicalCoupling,
    Householder,
    LogisticMixtureCDF,
    Logit,
    LULinear,
    MaskedAutoregressive,
    Orthogonal,
    Permutation,
    Planar,
    Radial,
    RationalQuadraticSpline,
    Reverse,
    Rotation,
    Scale,
    ScanChain,
    Shift,
    Softplus,
    SumOfSquares,
    Sylvester,
)
from distrax_flows.distribution import FlowDistribution
from distrax_flows.flow import Flow, StatefulFlow
from distrax_flows.saving import LoadError, load, save
from distrax_flows.training import (
    CheckpointError,
    Evidence,
    Fit,
    FitInterrupted,
    History,
    NonFiniteError,
    evidence,
    fit,
    fit_to_density,
)
from distrax_flows.transform import transform, transform_with_state

__version__ = "0.1.0"

__all__ = [
    "ActNorm",
    "AutoregressiveConditioner",
    "BatchNorm",
    "BernsteinPolynomial",
    "CheckpointError",
    "CircularShift",
    "Columns",
    "Evidence",
    "Fit",
    "FitInterrupted",
    "Flow",
    "FlowDistribution",
    "HierarchicalCoupling",
    "History",
    "Householder",
    "LULinear",
    "LoadError",
    "LogisticMixtureCDF",
    "Logit",
    "MaskedAutoregressive",
    "NonFiniteError",
    "Orthogonal",
    "Permutation",
    "Planar",
    "Radial",
    "RationalQuadraticSpline",
    "Reverse",
    "Rotation",
    "Scale",
    "ScanChain",
    "Shift",
    "Softplus",
    "StatefulFlow",
    "SumOfSquares",
    "Sylvester",
    "bases",
    "bijectors",
    "conditioners",
    "densities",
    "evidence",
    "families",
    "fit",
    "fit_to_density",
    "flows",
    "load",
    "masks",
    "modules",
    "save",
    "supports",
    "testing",
    "training",
    "transform",
    "transform_with_state",
]
