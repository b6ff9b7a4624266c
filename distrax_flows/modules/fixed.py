"""Numbers that a flow keeps beside its parameters: no optimizer may move them."""

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax

from distrax_flows._types import Shape

__all__ = ["get_fixed", "is_fixed"]

_PREFIX = "fixed_"


def get_fixed(name: str, shape: Shape, dtype: Any, init: Callable[..., jax.Array]) -> jax.Array:
    """Return an array that is made at initialisation and never trained.

    Haiku stores it among the parameters, as `fixed_<name>`. No gradient reaches it, and `fit` hands
    it neither to the optimizer nor to a moving average: weight decay would move it otherwise. A
    training loop of your own takes it out likewise, see `is_fixed`.
    """
    return jax.lax.stop_gradient(hk.get_parameter(_PREFIX + name, shape, dtype, init))


def is_fixed(module_name: str, name: str, value: Any = None) -> bool:
    """Whether an entry of a flow's parameters is fixed at initialisation, rather than trained.

    Statistics of standardised data and random rotations are. A predicate for
    `hk.data_structures.partition`, which a training loop of one's own needs wherever an optimizer
    moves parameters that have no gradient, as one with weight decay does.

    Args:
        module_name: name of the module.
        name: name of the parameter.
        value: not looked at.

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
