"""Many rows, a few at a time: functions of batches in bounded memory."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows._checks import check_positive_int
from distrax_flows._types import Shape

__all__ = ["Chunks", "cut"]


def cut(batch_shape: Shape, batch_size: int | None) -> "Chunks | None":
    """Cuts batch axes into chunks of `batch_size` rows; None if one chunk holds them all."""
    if batch_size is None:
        return None
    batch_size = check_positive_int("batch_size", batch_size)
    return Chunks(batch_shape, batch_size) if math.prod(batch_shape) > batch_size else None


@dataclasses.dataclass(frozen=True)
class Chunks:
    """The rows of batch axes, `batch_size` at a time.

    The last chunk is filled up with copies of the last row: all have one shape, so that a function
    of them is compiled once, and none holds values that the function might not take. Hashable, for
    static arguments of jit.
    """

    batch_shape: Shape
    batch_size: int

    @property
    def num_rows(self) -> int:
        """The number of rows, without copies."""
        return math.prod(self.batch_shape)

    @property
    def num_chunks(self) -> int:
        """The number of chunks."""
        return math.ceil(self.num_rows / self.batch_size)

    def split(self, array: Float[Array, "... D"]) -> Float[Array, "num_chunks batch_size D"]:
        """The chunks of an array whose batch axes broadcast to `batch_shape`."""
        size = array.shape[-1]
        rows = jnp.broadcast_to(array, (*self.batch_shape, size)).reshape(self.num_rows, size)
        surplus = self.num_chunks * self.batch_size - self.num_rows
        filled = jnp.pad(rows, ((0, surplus), (0, 0)), mode="edge")
        return filled.reshape(self.num_chunks, self.batch_size, size)

    def join(self, chunks: jax.Array) -> jax.Array:
        """From `[num_chunks, batch_size, ...]` to `batch_shape + ...`, without the copies."""
        rows = jax.lax.collapse(chunks, 0, 2)[: self.num_rows]
        return rows.reshape(self.batch_shape + rows.shape[1:])

    def map(
        self,
        f: Callable[[jax.Array, jax.Array | None], Any],
        chunks: jax.Array,
        context: Float[Array, "... C"] | None,
    ) -> Any:
        """Calls `f` on one chunk after another, and joins the results.

        Gradients evaluate each chunk anew: they too need the memory of one chunk.

        Args:
            f: a function of a chunk and its context, that returns arrays `[batch_size, ...]`.
            chunks: what `f` gets one by one, along the first axis.
            context: `f` gets those of the chunk, `[batch_size, C]`; or `[C]`, where one is all
                there is; or None.

        Returns:
            What `f` returns, with arrays `batch_shape + ...`.
        """
        shared = rows = None
        if context is not None and math.prod(context.shape[:-1]) == 1:
            shared = context.reshape(context.shape[-1:])
        elif context is not None:
            rows = self.split(context)

        @functools.partial(jax.checkpoint, prevent_cse=False)  # a loop's body needs no barriers
        def call(args):
            chunk, rows = args
            return f(chunk, shared if rows is None else rows)

        return jax.tree.map(self.join, jax.lax.map(call, (chunks, rows)))
