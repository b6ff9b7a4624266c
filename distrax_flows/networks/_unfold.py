"""Evaluation of a masked network one dimension at a time, at about the cost of one evaluation."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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
    weights: Sequence[Float[Array, "_ _"]],
    own: Sequence[Float[Array, "_ ..."] | None],
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
        residual: whether to add each hidden layer's input to its output.

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
        slices = [_Slice(starts[n], layer.block_width) for n, layer in enumerate(units)]
        layers = [
            _block_layer(
                weight,
                own[n],
                below=slices[n],
                above=slices[n + 1],
                earlier=(known[n], counts[n]) if len(grid) > 1 else None,
            )
            for n, weight in enumerate(weights)
        ]

        def run_step(local, step):
            offsets, inputs = step
            local = list(local)
            for n in range(num_hidden):
                at = _Slice(offsets[n + 1], units[n + 1].width)
                new = activate(n, *layers[n].new_units(local[n], at))
                if residual and n > 0:
                    new += at.rows(local[n])
                local[n + 1] = _write(local[n + 1], new, at.start)
            at = _Slice(offsets[-1], units[-1].width)
            params = activate(num_hidden, *layers[-1].new_units(local[-1], at))
            x, out = decide(jnp.moveaxis(params, 0, -1), inputs)
            local[0] = _write(local[0], x[None], offsets[0])
            return tuple(local), (x, out)

        local = tuple(at.rows(array) for at, array in zip(slices, known, strict=False))
        local, results = jax.lax.scan(run_step, local, (offsets, inputs))
        return tuple(map(_write, known, local, starts)), results

    def blocks(array):
        return array[grid.reshape(-1)].reshape(grid.shape + array.shape[1:])

    nothing = [jnp.zeros((weight.shape[0], *batch_shape), weight.dtype) for weight in weights]
    nothing = tuple(vary_like(nothing, inputs, weights, own))
    starts, counts, offsets = (
        np.stack(of_layers, axis=-1).astype(np.int32)
        for of_layers in (
            [layer.starts for layer in units],
            [layer.counts for layer in units],
            [layer.offsets for layer in units],
        )
    )
    inputs = jax.tree.map(blocks, inputs)
    _, results = jax.lax.scan(run_block, nothing, (starts, counts, offsets, inputs))
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


class _Slice(NamedTuple):
    """Consecutive units of a layer."""

    start: jax.Array
    width: int

    def rows(self, array: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice_in_dim(array, *self, axis=0)

    def columns(self, array: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice_in_dim(array, *self, axis=1)


class _BlockLayer(NamedTuple):
    """A layer cut down to its new units of a block, and their inputs of the same block.

    Attributes:
        weight: `[in, out]`.
        from_earlier: what the new units get from units of earlier blocks, `[out, ...]`; None in the
            only block.
        own: values that belong to the new units, or None.
    """

    weight: jax.Array
    from_earlier: jax.Array | None
    own: jax.Array | None

    def new_units(self, inputs: jax.Array, at: _Slice) -> tuple[jax.Array, jax.Array | None]:
        """Return the input sums of the new units of a step, and their rows of `own`."""
        sums = _product(at.columns(self.weight), inputs)
        if self.from_earlier is not None:
            sums += at.rows(self.from_earlier)
        return sums, None if self.own is None else at.rows(self.own)


def _block_layer(
    weight: jax.Array,
    own: jax.Array | None,
    *,
    below: _Slice,
    above: _Slice,
    earlier: tuple[jax.Array, jax.Array] | None,
) -> _BlockLayer:
    """Cut a layer down to a block: from the units of `below` to those of `above`.

    `earlier` holds all units of the layer below, and the number of those from earlier blocks.
    """
    columns, from_earlier = above.columns(weight), None
    if earlier is not None:
        known, count = earlier
        is_earlier = jnp.arange(len(columns))[:, None] < count
        from_earlier = _product(jnp.where(is_earlier, columns, 0), known)
        columns = jnp.where(is_earlier, 0, columns)
    return _BlockLayer(below.rows(columns), from_earlier, None if own is None else above.rows(own))


def _write(array: jax.Array, rows: jax.Array, start: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(array, rows.astype(array.dtype), start, axis=0)


def _product(columns: jax.Array, inputs: jax.Array) -> jax.Array:
    """Multiply [in, out] and [in, ...] to [out, ...]."""
    return jnp.tensordot(columns, inputs, axes=(0, 0))
