"""Flows in NumPyro: transforms, priors and guides.

| | |
|-|-|
| `FlowTransform` | a flow as a transform, from base to data |
| `FlowDistribution` | a flow as a distribution in a model |
| `AutoFlow` | a guide whose posterior is a flow |
"""

try:
    import numpyro as _numpyro  # noqa: F401
except ImportError as error:
    raise ImportError(
        "`distrax_flows.interfaces.numpyro` needs NumPyro: `pip install 'distrax_flows[numpyro]'`."
    ) from error

from distrax_flows.interfaces.numpyro._autoguide import AutoFlow
from distrax_flows.interfaces.numpyro._distribution import FlowDistribution
from distrax_flows.interfaces.numpyro._transform import FlowTransform

__all__ = ["AutoFlow", "FlowDistribution", "FlowTransform"]
