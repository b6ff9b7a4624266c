"""Densities known up to their normaliser."""

from collections.abc import Callable
from typing import TypeAlias

import jax

from distrax_flows._core.types import ArrayLike
from distrax_flows.functional.flow import Flow, Params

__all__ = ["LogDensityFn", "check_log_density"]

# Maps events [..., *event_shape], and the context if any, to log-densities [...], up to a constant.
LogDensityFn: TypeAlias = Callable[..., jax.Array]


def check_log_density(
    log_density: LogDensityFn, flow: Flow, params: Params, context: ArrayLike | None
) -> None:
    """Raise unless `log_density` returns a number for each event.

    Raises:
        TypeError: it is not a function.
        ValueError: it returns the wrong shape.
    """
    if not callable(log_density):
        raise TypeError(
            "`log_density` must be a function, such as the `log_prob` of a distribution; got "
            f"{log_density!r}."
        )
    args = () if context is None else (context,)
    x = jax.eval_shape(lambda: flow.sample(params, jax.random.key(0), (3,), context))
    batch_shape = x.shape[: x.ndim - len(flow.event_shape)]
    shape = jax.eval_shape(log_density, x, *args).shape
    if shape != batch_shape:
        raise ValueError(
            f"`log_density` must give a number for each point: of points {x.shape}, it must give "
            f"the shape {batch_shape}; got {shape}."
        )
