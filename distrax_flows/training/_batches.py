"""Streams of batches: the batches of any range of steps, as a pure function of a key."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from distrax_flows._checks import check_float_array

__all__ = ["Batches", "DataFn", "array_batches", "function_batches"]

# (x,) or (x, context)
Batch: TypeAlias = tuple[jax.Array, ...]

# Draws a fresh batch, x or (x, context), from a key.
DataFn: TypeAlias = Callable[[jax.Array], Any]


class Batches(NamedTuple):
    """A stream of batches.

    Attributes:
        take: `take(start, n)`, the batches of steps `start .. start + n - 1`; each leaf has shape
            `[n, batch_size, ...]`.
        step_bytes: memory of the batch of one step.
    """

    take: Callable[[int, int], Batch]
    step_bytes: int


def array_batches(
    data: jax.Array, context: jax.Array | None, key: jax.Array, batch_size: int
) -> Batches:
    """Batches of the rows of an array, every row once per epoch, in an order drawn per epoch.

    Batches may straddle two epochs, so that all have the same size and no row is left out.
    """
    x = check_float_array("data", data)
    if x.ndim != 2:
        raise ValueError(
            f"`data` must have shape [N, D], a row per example; got data.shape={x.shape}."
        )
    num_rows = x.shape[0]
    if num_rows < batch_size:
        raise ValueError(
            "`data` must have at least `batch_size` rows; got "
            f"{num_rows} rows and {batch_size=}. Lower `batch_size`."
        )
    arrays = {"data": x}
    if context is not None:
        arrays["context"] = check_float_array("context", context)
        if context.ndim != 2 or context.shape[0] != num_rows:
            raise ValueError(
                f"`context` must have shape [N, C] with N = {num_rows}, the rows of `data`; got "
                f"context.shape={context.shape}."
            )
    for name, array in arrays.items():
        bad = np.flatnonzero(~np.isfinite(np.asarray(array)).all(axis=-1))
        if bad.size:
            raise ValueError(
                f"`{name}` must be finite; {bad.size} of {num_rows} rows are not, the first being "
                f"row {bad[0]}: {np.asarray(array[bad[0]])}. Remove or impute them."
            )

    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> jax.Array:
        return jax.random.permutation(jax.random.fold_in(key, epoch), num_rows)

    def take(start: int, n: int) -> Batch:
        first, last = start * batch_size, (start + n) * batch_size
        epochs = range(first // num_rows, (last - 1) // num_rows + 1)
        rows = jnp.concatenate([order(epoch) for epoch in epochs])
        skip = first - epochs[0] * num_rows
        rows = rows[skip : skip + n * batch_size].reshape(n, batch_size)
        return tuple(array[rows] for array in arrays.values())

    return Batches(take, batch_size * sum(array[0].nbytes for array in arrays.values()))


def function_batches(draw: DataFn, key: jax.Array) -> Batches:
    """Batches that a function draws afresh, each step from a key of its own."""
    spec = jax.eval_shape(lambda: _draw_steps(draw, key, jnp.zeros(1, jnp.int32)))
    if len(spec) > 2 or any(leaf.ndim != 3 for leaf in spec):
        raise ValueError(
            "`data` must return a batch [batch_size, D], or a pair of it and a context "
            f"[batch_size, C]; got shapes {[leaf.shape[1:] for leaf in spec]}."
        )
    return Batches(
        take=lambda start, n: _draw_steps(draw, key, jnp.arange(start, start + n)),
        step_bytes=sum(leaf.size * leaf.dtype.itemsize for leaf in spec),
    )


# Compiled once per function, not once per fit.
@functools.partial(jax.jit, static_argnums=0)
def _draw_steps(draw: DataFn, key: jax.Array, steps: jax.Array) -> Batch:
    drawn = jax.vmap(lambda step: draw(jax.random.fold_in(key, step)))(steps)
    return drawn if isinstance(drawn, tuple) else (drawn,)
