"""Streams of batches, chunk by chunk."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from distrax_flows._arrays import as_floats
from distrax_flows.training._data import Batch, Table

__all__ = [
    "Batches",
    "each_key",
    "read_rows",
    "split_keys",
    "table_batches",
]


def each_key(f: Callable, keys: jax.Array) -> Callable:
    """`f`, mapped over all its arguments if there are several keys."""
    return jax.vmap(f) if keys.ndim else f


def split_keys(keys: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Two keys from each."""
    return each_key(lambda key: tuple(jax.random.split(key)), keys)(keys)


class Batches(NamedTuple):
    """A stream of batches.

    Attributes:
        take: `take(start, n)`, the batches of steps `start .. start + n - 1`; each leaf has shape
            `[*keys.shape, n, batch_size, ...]`, `keys` being those that the stream was made with.
        step_bytes: memory of the batch of one step.
        name: which batch that of a step is, in words.
        num_rows: rows of an epoch; None if there are always new ones.
        repeatable: whether any steps may be taken at any time; if not, in order, but for those
            taken last, which may be taken again.
    """

    take: Callable[[int, int], Any]
    step_bytes: int
    name: Callable[[int], str] = "batch {}".format
    num_rows: int | None = None
    repeatable: bool = True


def table_batches(
    data: Batch, keys: jax.Array, batch_size: int, subset: jax.Array | None = None
) -> Batches:
    """Batches of the rows of arrays, every row once per epoch, in an order drawn per epoch.

    Batches may straddle two epochs, so that all have the same size and no row is left out. A pure
    function of the keys: any range of steps may be taken at any time.

    Args:
        data: arrays; of memory maps, only the rows of the steps taken are read.
        keys: a random key, or several, `[E]`: then each has an order of its own.
        batch_size: rows of a batch.
        subset: indices of the rows to use; all of them if None.
    """
    num_rows = len(data.x) if subset is None else len(subset)
    if num_rows < batch_size:
        raise ValueError(
            "`data` must have at least `batch_size` rows; got "
            f"{num_rows} rows and {batch_size=}. Lower `batch_size`."
        )

    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> jax.Array:
        rows = _order(keys, epoch, num_rows)
        return rows if subset is None else subset[rows]

    def take(start: int, n: int) -> Batch:
        first, last = start * batch_size, (start + n) * batch_size
        epochs = range(first // num_rows, (last - 1) // num_rows + 1)
        rows = jnp.concatenate([order(epoch) for epoch in epochs], axis=-1)
        skip = first - epochs[0] * num_rows
        rows = rows[..., skip : skip + n * batch_size]
        rows = rows.reshape(*keys.shape, n, batch_size)
        return jax.tree.map(lambda table: read_rows(table, rows), data)

    def name(step: int) -> str:
        epoch, row = divmod(step * batch_size, num_rows)
        return f"batch {row // batch_size} of epoch {epoch}"

    row_bytes = sum(table[:1].nbytes for table in jax.tree.leaves(data))
    return Batches(take, batch_size * row_bytes * keys.size, name, num_rows)


def read_rows(table: Table, rows: jax.Array) -> jax.Array:
    """The rows of those indices; of a memory map, in the order in which they lie on disk."""
    if not isinstance(table, np.memmap):
        return table[rows]
    index, back = np.unique(np.asarray(rows), return_inverse=True)
    read = np.asarray(as_floats("data", table[index]))
    return jnp.asarray(read[back].reshape(*rows.shape, *table.shape[1:]))


@functools.partial(jax.jit, static_argnames="num_rows")
def _order(keys: jax.Array, epoch: int, num_rows: int) -> jax.Array:
    def draw(key):
        return jax.random.permutation(jax.random.fold_in(key, epoch), num_rows)

    return each_key(draw, keys)(keys)
