"""Validation data, given or held out."""

import numbers
from typing import Any

import jax
import numpy as np

from distrax_flows.functional._events import Events
from distrax_flows.training._batches import permutation, read_rows
from distrax_flows.training._data import Batch, as_parts, as_rows, check_data, scale_weights

__all__ = ["divide", "held_out_data"]


def held_out_data(validation: Any, events: Events) -> Batch | None:
    """Return the validation data that a user gave, checked.

    Raises:
        ValueError: it is a fraction, or has rows of another shape.
    """
    if validation is None:
        return None
    if isinstance(validation, numbers.Real):
        raise ValueError(
            "`validation` must be data where `data` is a function or an iterator; got the fraction "
            f"{validation}."
        )
    data = check_data(*as_parts("validation", validation), events)
    data = scale_weights(data, "in `validation`")
    return jax.tree.map(as_rows, data)


def divide(
    data: Batch, validation: Any, keys: jax.Array, events: Events
) -> tuple[Batch, np.ndarray | None, Batch | None]:
    """Return the data, indices of the rows to train on (all if None), and the validation data."""
    if not isinstance(validation, numbers.Real):
        return scale_weights(data, "in `data`"), None, held_out_data(validation, events)
    fraction = float(validation)
    if not 0 < fraction < 1:
        raise ValueError(
            f"`validation` must be data, or a fraction between 0 and 1; got {fraction}."
        )
    # The same rows for all fits of an ensemble, so their losses are comparable.
    key = jax.random.fold_in(keys.reshape(-1)[0], 2)
    rows = permutation(key, len(data.x))
    size = max(1, round(fraction * len(rows)))
    held_out, rows = rows[:size], rows[size:]
    validation_data = scale_weights(data, "in the rows held out for `validation`", held_out)
    validation_data = jax.tree.map(lambda table: read_rows(table, held_out), validation_data)
    return scale_weights(data, "in the rows left to train on", rows), rows, validation_data
