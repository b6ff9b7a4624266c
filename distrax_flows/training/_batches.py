"""Batches for training steps, chunk by chunk."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from distrax_flows.training._data import Batch, Table, as_rows, dtype_of, shared_size

__all__ = [
    "Batches",
    "each_key",
    "of_fit",
    "permutation",
    "read_rows",
    "split_keys",
    "step_keys",
    "table_batches",
]


def each_key(f: Callable, keys: jax.Array) -> Callable:
    """Return `f`, mapped over all its arguments if there are several keys."""
    return jax.vmap(f) if keys.ndim else f


def split_keys(keys: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Split each key in two."""
    return each_key(lambda key: tuple(jax.random.split(key)), keys)(keys)


def of_fit(tree: Any, keys: jax.Array, fit: int = 0) -> Any:
    """Return what belongs to one fit: `tree` itself unless there are several keys."""
    return jax.tree.map(lambda leaf: leaf[fit], tree) if keys.ndim else tree


@jax.jit
def step_keys(keys: jax.Array, steps: jax.Array) -> jax.Array:
    """Return a key per step, `[*keys.shape, steps]`, independent of how steps are grouped."""
    of_steps = jax.vmap(jax.random.fold_in, (None, 0))
    return each_key(lambda key: of_steps(key, steps), keys)(keys)


class Batches(NamedTuple):
    """A stream of batches.

    Attributes:
        take: `take(start, n)` returns the batches of steps `start .. start + n - 1`; each leaf has
            shape `[*keys.shape, n, batch_size, ...]`, with the `keys` of the stream.
        spec: shapes and dtypes of the batch of one step, `[*keys.shape, batch_size, ...]`.
        name: describes the batch of a step, for error messages.
        num_rows: rows per epoch; None if every batch is new.
        repeatable: whether any steps may be taken at any time. If not, they must be taken in
            order, except the last ones taken, which may be taken again.
    """

    take: Callable[[int, int], Any]
    spec: Any
    name: Callable[[int], str] = "batch {}".format
    num_rows: int | None = None
    repeatable: bool = True

    @property
    def step_bytes(self) -> int:
        """Size in bytes of the batch of one step."""
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(self.spec))


def table_batches(
    data: Batch, keys: jax.Array, batch_size: int, subset: np.ndarray | None = None
) -> Batches:
    """Return batches of the rows of arrays, every row once per epoch, in a new order each epoch.

    Batches may straddle two epochs, so all have the same size and no row is left out. A pure
    function of the keys: any range of steps may be taken at any time. Only arrays of the size of
    batches reach compiled code, unless the table is large.

    Args:
        data: arrays; only the rows of the steps taken are read from memory maps.
        keys: a random key; or several, `[E]`, each with its own order.
        batch_size: rows per batch.
        subset: indices of the rows to use; all rows if None.
    """
    num_rows = len(data.x) if subset is None else len(subset)
    if num_rows < batch_size:
        raise ValueError(
            "`data` must have at least `batch_size` rows; got "
            f"{num_rows} rows and {batch_size=}. Lower `batch_size`."
        )

    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> np.ndarray:
        of_epoch = each_key(lambda key: jax.random.fold_in(key, epoch), keys)(keys)
        rows = permutation(of_epoch, num_rows)
        return rows if subset is None else subset[rows]

    def take(start: int, n: int) -> Batch:
        first, last = start * batch_size, (start + n) * batch_size
        epochs = range(first // num_rows, (last - 1) // num_rows + 1)
        rows = np.concatenate([order(epoch) for epoch in epochs], axis=-1)
        skip = first - epochs[0] * num_rows
        rows = rows[..., skip : skip + n * batch_size]
        rows = rows.reshape(*keys.shape, n, batch_size)
        return jax.tree.map(lambda table: jnp.asarray(read_rows(table, rows)), data)

    def name(step: int) -> str:
        epoch, row = divmod(step * batch_size, num_rows)
        return f"batch {row // batch_size} of epoch {epoch}"

    spec = jax.tree.map(
        lambda table: jax.ShapeDtypeStruct(
            (*keys.shape, batch_size, *table.shape[1:]), dtype_of(table)
        ),
        data,
    )
    return Batches(take, spec, name, num_rows)


def read_rows(table: Table, rows: np.ndarray) -> jax.Array | np.ndarray:
    """Return the rows at the given indices; a memory map is read in disk order."""
    if not isinstance(table, np.memmap):
        return table[rows]
    index, back = np.unique(rows, return_inverse=True)
    read = np.asarray(as_rows(table[index]))
    return read[back].reshape(*rows.shape, *table.shape[1:])


def permutation(keys: jax.Array, num_rows: int) -> np.ndarray:
    """Return `jax.random.permutation` of `range(num_rows)` for each key, `[*keys.shape, num_rows]`.

    It sorts random numbers. Other numbers of rows share its compiled code, as surplus entries are
    sorted to the end.
    """
    # Ties of random numbers are broken by sorting again, as often as JAX does.
    rounds = max(1, math.ceil(3 * math.log(num_rows) / math.log(2**32 - 1)))
    order = _permutation(keys, num_rows, shared_size(num_rows, 4096), rounds)
    return np.asarray(order)[..., :num_rows]


@functools.partial(jax.jit, static_argnums=(2, 3))
def _permutation(keys: jax.Array, num_rows: jax.Array | int, size: int, rounds: int) -> jax.Array:
    position = jnp.arange(size)

    def draw(key):
        order = position
        for _ in range(rounds):
            key, subkey = jax.random.split(key)
            bits = jax.random.bits(subkey, (size,))
            *_, order = jax.lax.sort((position >= num_rows, bits, order), num_keys=2)
        return order

    return each_key(draw, keys)(keys)
