"""Check that data lie in the support of a flow."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from distrax_flows.functional.flow import Flow, Params
from distrax_flows.training._data import Batch, blocks, fill, shared_size

__all__ = ["check_support"]

_ROWS = 2**13  # rows evaluated together, at most
_MIN_ROWS = 2**11


def check_support(flow: Flow, params: Params, data: Batch, key: jax.Array) -> None:
    """Raise if rows have a density of zero before training, which no training could change."""
    log_prob = np.concatenate(
        [
            _log_prob(flow, params, rows, key)
            for rows in zip(
                blocks(data.x),
                itertools.repeat(None) if data.context is None else blocks(data.context),
                strict=False,
            )
        ]
    )
    bad = np.flatnonzero(~np.isfinite(log_prob))
    if bad.size:
        raise ValueError(
            f"`data` must lie in the support of the flow; {bad.size} of {len(log_prob)} rows have "
            f"no finite log-density before training, the first being row {bad[0]}, "
            f"{np.asarray(data.x[bad[0]])}, with {log_prob[bad[0]]}. Choose another support or "
            "base, or scale the data."
        )


def _log_prob(
    flow: Flow, params: Params, rows: tuple[np.ndarray, np.ndarray | None], key: jax.Array
) -> np.ndarray:
    num_rows = len(rows[0])
    size = shared_size(num_rows, _MIN_ROWS)
    x, context = jax.tree.map(lambda table: jnp.asarray(fill(table, size)), rows)
    return np.asarray(flow.log_prob(params, x, context, key=key, batch_size=_ROWS))[:num_rows]
