"""Parameter table of a flow."""

import math
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from distrax_flows.functional.flow import Flow, Params, StatefulFlow
from distrax_flows.modules import is_fixed

__all__ = ["summary"]


def summary(flow: Flow | StatefulFlow, params: Params) -> str:
    """Return a table of modules with the shapes and sizes of their parameters.

    Layers that compile as one have their parameters stacked along a first axis. Parameters that are
    fixed at initialisation are counted separately (see `modules.is_fixed`).

    Args:
        flow: the flow.
        params: its parameters, or the pair of parameters and state of `StatefulFlow.evaluation`.

    Example:
        >>> import distrax_flows as dxf, jax
        >>> flow = dxf.transform(
        ...     lambda: dxf.flows.realnvp(2, num_layers=4, hidden_sizes=(8,), standardize=True))
        >>> x = jax.random.normal(jax.random.key(0), (100, 2))
        >>> print(dxf.diagnostics.summary(flow, flow.init(1, x)))
        events of shape (2,), 136 trained and 4 fixed parameters
        module                      parameters                                 count
        stack/layers/mlp/linear_0   b [4, 8], w [4, 1, 8]                         64
        stack/layers/mlp/linear_out b [4, 2], w [4, 8, 2]                         72
        standardize                 fixed_log_deviation [2], fixed_mean [2]        4
    """
    params, state = params if isinstance(params, tuple) else (params, {})
    fixed, trained = hk.data_structures.partition(is_fixed, params)
    head = (
        f"events of shape {flow.event_shape}, {_size(trained):,} trained and {_size(fixed):,} "
        "fixed parameters"
    )
    if state:
        head += f", {_size(state):,} of state"
    rows = [("module", "parameters", "count")]
    for module, entries in [*params.items(), *state.items()]:
        shapes = (f"{name} {list(jnp.shape(value))}" for name, value in sorted(entries.items()))
        rows.append((module, ", ".join(shapes), f"{_size(entries):,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [f"{m:{widths[0]}} {p:{widths[1]}} {c:>{widths[2] + 1}}" for m, p, c in rows]
    return "\n".join([head, *lines])


def _size(tree: Any) -> int:
    return sum(math.prod(jnp.shape(leaf)) for leaf in jax.tree.leaves(tree))
