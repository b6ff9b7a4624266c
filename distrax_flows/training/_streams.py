"""Batches sampled by a function or yielded by an iterator."""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from distrax_flows._core.arrays import as_array, as_floats, check_no_mapping, float_dtype
from distrax_flows.functional._events import Events
from distrax_flows.training._batches import Batches, each_key
from distrax_flows.training._data import Batch, bounds
from distrax_flows.training._rounding import check_rounding

__all__ = ["DataFn", "function_batches", "is_stream", "iterator_batches", "stream_batches"]

# Samples a fresh batch from a key: x, (x, context) or (x, context, weights).
DataFn: TypeAlias = Callable[[jax.Array], Any]


def is_stream(data: Any) -> bool:
    """Return whether data are a function or an iterator of batches, not an array."""
    return callable(data) or isinstance(data, Iterator)


def stream_batches(data: Any, keys: jax.Array, events: Events) -> Batches:
    """Return the batches of a function or an iterator."""
    if callable(data):
        return function_batches(data, keys, events)
    return iterator_batches(data, keys, events)


def function_batches(draw: DataFn, keys: jax.Array, events: Events) -> Batches:
    """Return fresh batches from a function, each step with its own key."""
    steps = jax.eval_shape(lambda: _draw_steps(draw, keys, jnp.zeros(1, jnp.int32), events))
    shape = keys.shape

    def one_step(leaf):
        return jax.ShapeDtypeStruct(shape + leaf.shape[len(shape) + 1 :], leaf.dtype)

    spec = jax.tree.map(one_step, steps)
    _check_batch(
        jax.tree.map(lambda leaf: leaf.update(shape=leaf.shape[len(shape) :]), spec), events
    )
    return Batches(
        take=lambda start, n: _draw_steps(draw, keys, jnp.arange(start, start + n), events),
        spec=spec,
    )


# Compiled once per function, not once per fit.
@functools.partial(jax.jit, static_argnums=(0, 3))
def _draw_steps(draw: DataFn, keys: jax.Array, steps: jax.Array, events: Events) -> Batch:
    def of_key(key):
        return jax.vmap(lambda step: _as_batch(draw(jax.random.fold_in(key, step)), events))(steps)

    return each_key(of_key, keys)(keys)


def iterator_batches(iterator: Iterator[Any], keys: jax.Array, events: Events) -> Batches:
    """Return the batches that an iterator yields, in order; all keys get the same batches.

    Steps must be taken in order. Skipped steps are read and dropped, so that a new iterator
    continues where another one stopped.
    """
    first = list(itertools.islice(iterator, 1))
    for item in first:
        _check_first(item)
    # Copied, because an iterator may write its next batch into the same array.
    drawn = (
        _check_batch(jax.tree.map(np.array, _as_batch(item, events)), events)
        for item in itertools.chain(first, iterator)
    )
    ahead = list(itertools.islice(drawn, 1))
    _check_drawn(ahead, 0, 1)
    drawn = itertools.chain(ahead, drawn)
    position = 0

    # Cached, because initialisation also takes the batches of the first steps.
    @functools.lru_cache(maxsize=1)
    def take(start: int, n: int) -> Batch:
        nonlocal position
        batches = list(itertools.islice(drawn, start - position, start - position + n))
        position = start + n
        _check_drawn(batches, start, n)
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches)
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, keys.shape + leaf.shape), stacked)

    spec = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(keys.shape + leaf.shape, leaf.dtype), ahead[0]
    )
    return Batches(take, spec, repeatable=False)


def _check_drawn(batches: list[Batch], start: int, n: int) -> None:
    if len(batches) < n:
        raise ValueError(
            "`data` must yield a batch for every step; the iterator ended before step "
            f"{start + len(batches)}. Let it repeat, or lower `num_steps`."
        )
    shapes = {tuple(leaf.shape for leaf in jax.tree.leaves(batch)) for batch in batches}
    if len(shapes) > 1:
        raise ValueError(
            f"`data` must yield batches of one shape; got {sorted(shapes)} in steps {start} to "
            f"{start + n}. Drop the last batch of an epoch if it is smaller."
        )


def _as_parts(drawn: Any) -> Batch:
    """Return the parts of the result of a function or an iterator; a list of rows is `x`."""
    check_no_mapping(
        "data",
        drawn,
        "Give `x`, `(x, context)` or `(x, context, weights)`, as by "
        '`((batch["x"], batch["context"]) for batch in data)`.',
    )
    rows = isinstance(drawn, list) and drawn and np.ndim(drawn[0]) == 1
    parts = tuple(drawn) if isinstance(drawn, tuple | list) and not rows else (drawn,)
    if not 1 <= len(parts) <= 3:
        raise ValueError(
            "`data` must give `x`, `(x, context)` or `(x, context, weights)`; got a tuple of "
            f"{len(parts)}."
        )
    return Batch(*parts)


def _as_batch(drawn: Any, events: Events) -> Batch:
    """Convert the result of a function or an iterator to a batch in the dtypes of a fit."""
    parts = _as_parts(drawn)
    x = as_floats("data", parts.x, events.integers)
    rest = zip(("context", "weights"), parts[1:], strict=True)
    return Batch(
        x, *(None if part is None else as_floats(name, part, x.dtype) for name, part in rest)
    )


def _check_first(drawn: Any) -> None:
    """Raise if rounding merges values of the first batch of an iterator."""
    for name, part in zip(("data", "context"), _as_parts(drawn)[:2], strict=True):
        if part is None:
            continue
        array = as_array(name, part)
        dtype = float_dtype(name, array.dtype, integers=np.float32)
        if array.ndim and array.size:
            check_rounding(name, array, *bounds(array), dtype)


def _check_batch(batch: Batch, events: Events) -> Batch:
    """Return the result of a function or an iterator, or raise if it is not a batch."""
    x, context, weights = jax.tree.map(np.shape, batch)
    rows = x[:1]
    fits = (
        len(x) > 0
        and x[1:] == events.shape
        and (context is None or (len(context) == 2 and context[:1] == rows))
        and (weights is None or weights == rows)
    )
    if not fits:
        shapes = [shape for shape in (x, context, weights) if shape is not None]
        sizes = ", ".join(["batch_size", *map(str, events.shape)])
        raise ValueError(
            f"`data` must give a batch [{sizes}], with a context [batch_size, C] and weights "
            f"[batch_size] if it has any; got shapes {shapes}."
        )
    return batch
