"""Evaluation of batches in bounded memory, a few rows at a time."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows._core.checks import check_positive_int
from distrax_flows._core.types import Shape

__all__ = ["Chunks", "cut"]


def cut(batch_shape: Shape, batch_size: int | None) -> "Chunks | None":
    """Cut batch axes into chunks of `batch_size` rows; None if one chunk holds them all."""
    if batch_size is None:
        return None
    batch_size = check_positive_int("batch_size", batch_size)
    return Chunks(batch_shape, batch_size) if math.prod(batch_shape) > batch_size else None


@dataclasses.dataclass(frozen=True)
class Chunks:
    """The rows of batch axes, `batch_size` at a time.

    The last chunk is padded with copies of the last row. So all chunks have the same shape, a
    function of them is compiled once, and it sees no values that it might not accept. Hashable, for
    static arguments of jit.
    """

    batch_shape: Shape
    batch_size: int

    @property
    def num_rows(self) -> int:
        """Number of rows, without copies."""
        return math.prod(self.batch_shape)

    @property
    def num_chunks(self) -> int:
        """Number of chunks."""
        return math.ceil(self.num_rows / self.batch_size)

    def split(self, array: jax.Array, event_ndims: int) -> jax.Array:
        """Split an array into chunks `[num_chunks, batch_size, *event_shape]`.

        Its batch axes, all except the last `event_ndims`, broadcast to `batch_shape`.
        """
        event_shape = array.shape[array.ndim - event_ndims :]
        rows = jnp.broadcast_to(array, self.batch_shape + event_shape)
        rows = rows.reshape(self.num_rows, *event_shape)
        surplus = self.num_chunks * self.batch_size - self.num_rows
        filled = jnp.pad(rows, ((0, surplus), *[(0, 0)] * event_ndims), mode="edge")
        return filled.reshape(self.num_chunks, self.batch_size, *event_shape)

    def join(self, chunks: jax.Array) -> jax.Array:
        """Join `[num_chunks, batch_size, ...]` to `batch_shape + ...`, without the copies."""
        rows = jax.lax.collapse(chunks, 0, 2)[: self.num_rows]
        return rows.reshape(self.batch_shape + rows.shape[1:])

    def map(
        self,
        f: Callable[[Any, jax.Array | None], Any],
        chunks: Any,
        context: Float[Array, "... C"] | None,
    ) -> Any:
        """Call `f` on one chunk after another, and join the results.

        Gradients evaluate each chunk again: they also need the memory of only one chunk.

        Args:
            f: a function of a chunk and its context, which returns arrays `[batch_size, ...]`.
            chunks: pytree of arrays; `f` gets their entries along the first axis, one by one.
            context: contexts of all rows, or None. `f` gets those of the chunk, `[batch_size, C]`;
                or `[C]`, if there is only one.

        Returns:
            The pytree that `f` returns, with arrays `batch_shape + ...`.
        """
        shared = rows = None
        if context is not None and math.prod(context.shape[:-1]) == 1:
            shared = context.reshape(context.shape[-1:])
        elif context is not None:
            rows = self.split(context, 1)

        @functools.partial(jax.checkpoint, prevent_cse=False)  # a loop's body needs no barriers
        def call(args):
            chunk, rows = args
            return f(chunk, shared if rows is None else rows)

        return jax.tree.map(self.join, jax.lax.map(call, (chunks, rows)))
