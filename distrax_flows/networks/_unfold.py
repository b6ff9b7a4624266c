"""Evaluation of a masked network one dimension at a time, at about the cost of one evaluation."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from distrax_flows._core.numerics import vary_like
from distrax_flows._core.types import DecideFn, Shape

__all__ = ["unfold"]

_BLOCK = 8  # steps
_WIDE = 256  # number of a layer's inputs from which blocks are faster


def unfold(
    decide: DecideFn,
    inputs: Any,
    weights: Sequence[Float[Array, "in out"]],
    own: Sequence[Float[Array, "out ..."] | None],
    activate: Callable[[int, jax.Array, jax.Array | None], jax.Array],
    *,
    steps: Sequence[Sequence[int]],
    batch_shape: Shape,
    residual: bool = False,
) -> tuple[Float[Array, "D ..."], Any]:
    """Decide one position after another: `x_i, out_i = decide(params_i, inputs_i)`, i = 0..D-1.

    The units of a layer are sorted by the step at which all their inputs are known. A step computes
    only its own units, so D steps together take the arithmetic of one evaluation. A step could
    multiply all inputs of a layer by the few columns of its new units, but such thin products are
    bound by memory speed. Wide networks therefore take steps in blocks. At the start of a block,
    one large product sums what its units get from earlier blocks; a step adds only what they get
    from units of the same block. The inner loop carries only these few units, because XLA may copy
    a loop's state at every step.

    Args:
        decide: maps parameters `[..., P]` and a row of `inputs` to the value `[...]` of a position,
            and anything else.
        inputs: pytree of arrays `[D, ...]`. Under `jax.shard_map` they must vary over every axis
            over which anything that `decide` closes over varies.
        weights: `L + 1` masked arrays.
        own: per layer, values that belong to its units, such as biases, or None.
        activate: maps a layer's index, the input sums of its new units, `[n, ...]`, and their rows
            of `own` to the units.
        steps: for the inputs, each hidden layer and the outputs: the step of each unit, sorted.
        batch_shape: shape of a position's value.
        residual: adds each hidden layer's input to its output.

    Returns:
        The values `[D, ...]`, and everything else that `decide` returned, also stacked.
    """
    event_size, num_hidden = len(steps[0]), len(weights) - 1
    wide = event_size > 2 * _BLOCK and max(weight.shape[0] for weight in weights) >= _WIDE
    block_size = _BLOCK if wide else event_size
    # The last step is repeated to fill its block; computing it twice gives the same result.
    grid = np.arange(event_size + -event_size % block_size).clip(max=event_size - 1)
    grid = grid.reshape(-1, block_size)
    units = [_Units(layer, grid) for layer in steps]

    def run_block(known, block):
        starts, counts, offsets, inputs = block

        def part(array, n):
            """Return the rows of the block's units, of the inputs (n = 0) or of layer n."""
            return _rows(array, starts[n], units[n].block_width)

        columns = [
            _columns(weight, starts[n + 1], units[n + 1].block_width)
            for n, weight in enumerate(weights)
        ]
        sums = None
        if len(grid) > 1:
            earlier = [jnp.arange(len(c))[:, None] < counts[n] for n, c in enumerate(columns)]
            from_earlier = [jnp.where(*args, 0) for args in zip(earlier, columns, strict=True)]
            sums = list(map(_product, from_earlier, known))
            columns = [jnp.where(e, 0, c) for e, c in zip(earlier, columns, strict=True)]
        columns = [part(array, n) for n, array in enumerate(columns)]
        brought = [None if array is None else part(array, n + 1) for n, array in enumerate(own)]

        def new_units(n, inputs, offset):
            """Return the units that layer n computes in this step."""
            width = units[n + 1].width
            new = _product(_columns(columns[n], offset, width), inputs)
            if sums is not None:
                new += _rows(sums[n], offset, width)
            rows = brought[n]
            new = activate(n, new, None if rows is None else _rows(rows, offset, width))
            return new + _rows(inputs, offset, width) if residual and 0 < n < num_hidden else new

        def run_step(local, step):
            offsets, inputs = step
            local = list(local)
            for n in range(num_hidden):
                new = new_units(n, local[n], offsets[n + 1])
                local[n + 1] = _write(local[n + 1], new, offsets[n + 1])
            params = new_units(num_hidden, local[-1], offsets[-1])
            x, out = decide(jnp.moveaxis(params, 0, -1), inputs)
            local[0] = _write(local[0], x[None], offsets[0])
            return tuple(local), (x, out)

        local = tuple(part(array, n) for n, array in enumerate(known))
        local, results = jax.lax.scan(run_step, local, (offsets, inputs))
        return tuple(map(_write, known, local, starts)), results

    def blocks(array):
        return array[grid.reshape(-1)].reshape(grid.shape + array.shape[1:])

    nothing = [jnp.zeros((weight.shape[0], *batch_shape), weight.dtype) for weight in weights]
    nothing = tuple(vary_like(nothing, inputs, weights, own))
    tables = (
        np.stack([getattr(layer, name) for layer in units], axis=-1).astype(np.int32)
        for name in ("starts", "counts", "offsets")
    )
    inputs = jax.tree.map(blocks, inputs)
    _, results = jax.lax.scan(run_block, nothing, (*tables, inputs))
    return jax.tree.map(lambda array: jax.lax.collapse(array, 0, 2)[:event_size], results)


class _Units:
    """Positions of a layer's units, as slices of one width for all steps, and one for all blocks.

    The slice of a step is as wide as that of the step with most units. Units of later steps in it
    are wrong for now; masked weights keep them from everything that is right, and their own step
    computes them again. Units of earlier steps in it, which occur at the end of a layer, keep their
    values.

    Attributes:
        width: width of a step's slice.
        block_width: width of a block's slice.
        starts: per block, the start of its slice.
        counts: per block, the number of units of earlier blocks.
        offsets: per block and step, the start of the step's slice within the block's.
    """

    def __init__(self, steps: Sequence[int], grid: np.ndarray):
        self.width = int(np.bincount(steps).max())
        firsts = np.searchsorted(steps, grid)
        self.counts = firsts[:, 0]
        firsts = np.minimum(firsts, len(steps) - self.width)
        self.block_width = int((firsts[:, -1] - firsts[:, 0]).max()) + self.width
        self.starts = np.minimum(firsts[:, 0], len(steps) - self.block_width)
        self.offsets = firsts - self.starts[:, None]


def _rows(array: jax.Array, start: jax.Array, width: int) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(array, start, width, axis=0)


def _columns(array: jax.Array, start: jax.Array, width: int) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(array, start, width, axis=1)


def _write(array: jax.Array, rows: jax.Array, start: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(array, rows.astype(array.dtype), start, axis=0)


def _product(columns: jax.Array, inputs: jax.Array) -> jax.Array:
    """Multiply [in, out] and [in, ...] to [out, ...]."""
    return jnp.tensordot(columns, inputs, axes=(0, 0))
