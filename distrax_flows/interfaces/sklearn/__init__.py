"""Flows as estimators of scikit-learn.

| | |
|-|-|
| `FlowDensity` | a density p(x), as `KernelDensity` and `GaussianMixture` are |
| `FlowRegressor` | a conditional density p(y|x): means, quantiles, samples and log-densities |
"""

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        "`distrax_flows.interfaces.sklearn` needs scikit-learn: "
        "`pip install 'distrax_flows[sklearn]'`."
    ) from error

from distrax_flows.interfaces.sklearn._density import FlowDensity
from distrax_flows.interfaces.sklearn._regressor import FlowRegressor

__all__ = ["FlowDensity", "FlowRegressor"]
