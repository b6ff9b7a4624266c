"""Normalizing flows for distrax and Haiku.

Drop bijectors over arrays into distrax code:

    distrax.Chain([distrax_flows.Rotation(angle), distrax_flows.Scale(log_scale)])

or build whole flows that own their parameters:

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
    densities,
    diagnostics,
    families,
    flows,
    modules,
    networks,
    supports,
    tables,
    testing,
    training,
)
from distrax_flows._core.annealing import Annealing
from distrax_flows._core.types import AutoregressiveConditioner
from distrax_flows.bijectors import (
    ActNorm,
    Additive,
    Affine,
    BatchNorm,
    BernsteinPolynomial,
    CircularShift,
    Columns,
    Exp,
    HierarchicalCoupling,
    Householder,
    LogisticMixtureCDF,
    Logit,
    LULinear,
    MaskedAutoregressive,
    MultiScale,
    Orthogonal,
    Permutation,
    Planar,
    Radial,
    RationalQuadraticSpline,
    Reshape,
    Reverse,
    Rotation,
    Scale,
    ScanChain,
    Shift,
    Sinh,
    Softplus,
    Squeeze,
    SumOfSquares,
    Sylvester,
    Transpose,
    coupling_tree,
)
from distrax_flows.exporting import export
from distrax_flows.functional._pull_back import pull_back
from distrax_flows.functional._trace import LayerTrace
from distrax_flows.functional._transform import transform, transform_with_state
from distrax_flows.functional.distribution import FlowDistribution
from distrax_flows.functional.flow import Flow, StatefulFlow
from distrax_flows.saving import Loaded, LoadError, load, save
from distrax_flows.tables._density import TableDensity
from distrax_flows.tables._fit import fit_table
from distrax_flows.training._checkpoints import CheckpointError
from distrax_flows.training._fit import fit
from distrax_flows.training._fit_to_density import fit_to_density
from distrax_flows.training.results import Fit, FitInterrupted, History, NonFiniteError

__version__ = "0.1.0"

__all__ = [
    "ActNorm",
    "Additive",
    "Affine",
    "Annealing",
    "AutoregressiveConditioner",
    "BatchNorm",
    "BernsteinPolynomial",
    "CheckpointError",
    "CircularShift",
    "Columns",
    "Exp",
    "Fit",
    "FitInterrupted",
    "Flow",
    "FlowDistribution",
    "HierarchicalCoupling",
    "History",
    "Householder",
    "LULinear",
    "LayerTrace",
    "LoadError",
    "Loaded",
    "LogisticMixtureCDF",
    "Logit",
    "MaskedAutoregressive",
    "MultiScale",
    "NonFiniteError",
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
    "StatefulFlow",
    "SumOfSquares",
    "Sylvester",
    "TableDensity",
    "Transpose",
    "bases",
    "coupling_tree",
    "densities",
    "diagnostics",
    "export",
    "families",
    "fit",
    "fit_table",
    "fit_to_density",
    "flows",
    "load",
    "modules",
    "networks",
    "pull_back",
    "save",
    "supports",
    "tables",
    "testing",
    "training",
    "transform",
    "transform_with_state",
]
