"""Flows in blackjax: independence proposals, and samplers in the coordinates of a flow.

| | |
|-|-|
| `independent_metropolis` | a kernel whose proposals are samples of a flow |
| `adapt_flow` | a flow, a step size and a mass matrix, learned while NUTS warms up |
"""

try:
    import blackjax as _blackjax  # noqa: F401
except ImportError as error:
    raise ImportError(
        "`distrax_flows.interfaces.blackjax` needs blackjax: "
        "`pip install 'distrax_flows[blackjax]'`."
    ) from error

from distrax_flows.interfaces.blackjax._adaptation import Adapted, adapt_flow
from distrax_flows.interfaces.blackjax._metropolis import independent_metropolis

__all__ = ["Adapted", "adapt_flow", "independent_metropolis"]
