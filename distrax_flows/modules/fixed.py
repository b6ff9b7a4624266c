"""Fixed arrays among a flow's parameters, which optimizers must not change."""

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax

from distrax_flows._core.types import Shape

__all__ = ["get_fixed", "is_fixed"]

_PREFIX = "fixed_"


def get_fixed(name: str, shape: Shape, dtype: Any, init: Callable[..., jax.Array]) -> jax.Array:
    """Return an array that is created at initialisation and never trained.

    Haiku stores it among the parameters, as `fixed_<name>`. No gradient reaches it, and `fit` keeps
    it from the optimizer and from moving averages; weight decay would move it otherwise. A custom
    training loop must also exclude it; see `is_fixed`.
    """
    return jax.lax.stop_gradient(hk.get_parameter(_PREFIX + name, shape, dtype, init))


def is_fixed(module_name: str, name: str, value: Any = None) -> bool:
    """Return whether an entry of a flow's parameters is fixed at initialisation, not trained.

    Examples are the statistics of standardised data, and random rotations. Use it as a predicate
    for `hk.data_structures.partition`. A custom training loop needs it if its optimizer moves
    parameters that have no gradient, as weight decay does.

    Args:
        module_name: name of the module.
        name: name of the parameter.
        value: ignored.

    Example:
        >>> import distrax_flows as dxf, haiku as hk, jax
        >>> flow = dxf.transform(lambda: dxf.flows.nice(2, num_layers=1, standardize=True))
        >>> params = flow.init(jax.random.key(0), jax.random.normal(jax.random.key(1), (9, 2)))
        >>> fixed, trained = hk.data_structures.partition(is_fixed, params)
        >>> sorted(fixed["standardize"])
        ['fixed_log_deviation', 'fixed_mean']
        >>> everything = hk.data_structures.merge(fixed, trained)
    """
    del module_name, value
    return name.startswith(_PREFIX)
