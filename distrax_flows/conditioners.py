"""Masked networks over arrays: autoregressive conditioners with no Haiku in sight."""

import dataclasses
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from distrax_flows._numerics import align, value_and_slope
from distrax_flows._types import Activation, Shape

__all__ = ["LinearizedMLP", "MaskedMLP"]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["weights", "biases"],
    meta_fields=["degrees", "order", "activation", "residual"],
)
@dataclasses.dataclass(frozen=True)
class MaskedMLP:
    """MADE over arrays: a masked multilayer perceptron that evaluates at once or step by step.

    With positions i = 0..D-1 in the input order `order`, hidden layers l = 1..L and a_l the
    activations (a_0 = x reordered):

        a_l = activation(a_{l-1} W_l + b_l)    [+ a_{l-1}, where `residual` and l > 1]
        params = a_L W_{L+1} + b_{L+1}

    where W_l is zero wherever the masks of `distrax_flows.masks` are. `distrax_flows.modules.MADE`
    makes the parameters; use this class directly to bring your own. It is a pytree whose leaves
    are the weights and biases.

    A step costs what its share of the units costs: the units of a layer are sorted by degree, and
    a step computes only those whose inputs have just become known. All D steps together cost about
    one evaluation.

    Args:
        weights: `L + 1` arrays `[in, out]`, masked; the last is `[H, D * P]`, the parameters of one
            dimension side by side, dimensions in input order.
        biases: `L + 1` arrays `[..., out]`. Batch axes (a context's contribution to the first
            layer, say) broadcast against those of the input.
        degrees: per hidden layer, the sorted degrees of its units (`masks.hidden_degrees`).
        order: `order[i]` is the dimension at position i.
        activation: applied elementwise.
        residual: adds each hidden layer's input to its output; hidden sizes must be equal.

    Reference:
        Germain et al., "MADE: Masked Autoencoder for Distribution Estimation", 2015, eqs. 12-15.
        Residual: Nash & Durkan, "Autoregressive Energy Machines", 2019, section 3.
    """

    weights: tuple[Float[Array, "in out"], ...]
    biases: tuple[Float[Array, "... out"], ...]
    degrees: tuple[Shape, ...]
    order: Shape
    activation: Activation
    residual: bool = False

    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D P"]:
        """Parameters of every dimension in one pass."""
        event_size = len(self.order)
        if x.shape[-1] != event_size:
            raise ValueError(
                f"`x` must have {event_size} dimensions, the event size; got x.shape={x.shape}."
            )
        hidden = self._in_order(x)
        for layer in range(len(self.degrees)):
            before = hidden
            hidden = self.activation(self._affine(hidden, layer))
            if self.residual and layer > 0:
                hidden += before
        params = self._affine(hidden, -1)
        params = params.reshape((*params.shape[:-1], event_size, -1))
        if self._sequential:
            return params
        return jnp.take(params, np.argsort(self.order), axis=-2)

    def _affine(self, hidden, layer):
        """The next layer, before its activation."""
        weight, plan = self.weights[layer], self._plans[layer]
        parts = [
            hidden[..., :num_inputs] @ weight[:num_inputs, first:last]
            for num_inputs, first, last in plan.dense_blocks
        ]
        product, bias = align(jnp.concatenate(parts, axis=-1), self.biases[layer])
        return product + bias

    def start(self, batch_shape: Shape) -> tuple[Any, Float[Array, "... P"]]:
        """See `AutoregressiveConditioner`. The carry holds the inputs, activations and sums.

        Features lead and the batch trails in the carry, so that a step's slices are contiguous.
        """
        batch_shape = jnp.broadcast_shapes(batch_shape, *(b.shape[:-1] for b in self.biases))
        return self._start(batch_shape, self._units)

    def step(
        self, carry: Any, i: Int[Array, ""], x_i: Float[Array, "..."]
    ) -> tuple[Any, Float[Array, "... P"]]:
        """See `AutoregressiveConditioner`."""
        return self._step(carry, i, x_i, self._units)

    def linearize(self, x: Float[Array, "... D"]) -> "LinearizedMLP":
        """The derivative at `x`: a linear network that starts and steps likewise."""
        hidden, slopes = self._in_order(x), []
        for layer in range(len(self.degrees)):
            before = hidden
            hidden, slope = value_and_slope(self.activation, self._affine(hidden, layer))
            slopes.append(jnp.moveaxis(slope, -1, 0))
            if self.residual and layer > 0:
                hidden += before
        return LinearizedMLP(self, tuple(slopes))

    def _in_order(self, x):
        return x if self._sequential else jnp.take(x, np.array(self.order), axis=-1)

    def _units(self, layer, start, sums):
        """Units of a layer from the index `start` on, from what their inputs sum up to."""
        bias = _rows(jnp.moveaxis(self.biases[layer], -1, 0), start, sums.shape[0])
        sums = _add_rows(sums, bias)
        return self.activation(sums) if layer < len(self.degrees) else sums

    def _start(self, batch_shape, units):
        def zeros(size):
            return jnp.zeros((size, *batch_shape), self.weights[0].dtype)

        activations = tuple(zeros(weight.shape[0]) for weight in self.weights)
        sums = tuple(zeros(plan.sum_width) for plan in self._plans)
        return self._reveal((activations, sums), jnp.int32(0), units)

    def _step(self, carry, i, x_i, units):
        (inputs, *hidden), sums = carry
        inputs = jax.lax.dynamic_update_slice_in_dim(inputs, x_i[None], i, axis=0)
        return self._reveal(((inputs, *hidden), sums), i + 1, units)

    def _reveal(self, carry, degree, units):
        """Computes the units of a degree, whose inputs are all known, and that position's output.

        Each layer's new units lie in a slice as wide as its most frequent degree. Units of higher
        degree in that slice are wrong for now; masked weights keep them from all that is right,
        and they are computed again once their turn comes. Units of lower degree in it, as there
        may be at the end of a layer, come out as they were.
        """
        (inputs, *hidden), sums = carry
        activations, new_sums = [inputs], []
        for layer, plan in enumerate(self._plans):
            start = plan.start(degree)
            new, layer_sums = plan.new_sums(
                activations[-1], sums[layer], self.weights[layer], degree
            )
            new_sums.append(layer_sums)
            new = units(layer, start, new)
            if layer < len(hidden):
                if self.residual and layer > 0:
                    new += _rows(activations[-1], start, plan.width)
                new = jax.lax.dynamic_update_slice_in_dim(hidden[layer], new, start, axis=0)
            activations.append(new)
        *activations, params = activations
        return (tuple(activations), tuple(new_sums)), jnp.moveaxis(params, 0, -1)

    @functools.cached_property
    def _plans(self) -> tuple["_StepPlan", ...]:
        event_size = len(self.order)
        degrees = [np.arange(1, event_size + 1), *map(np.array, self.degrees)]
        num_params = self.weights[-1].shape[-1] // event_size
        degrees.append(np.repeat(np.arange(event_size), num_params))
        return tuple(
            _StepPlan(inputs, outputs, event_size)
            for inputs, outputs in itertools.pairwise(degrees)
        )

    @property
    def _sequential(self) -> bool:
        return self.order == tuple(range(len(self.order)))


@dataclasses.dataclass(frozen=True)
class LinearizedMLP:
    """The derivative of a `MaskedMLP` at a point, evaluated step by step.

    Args:
        network: the network.
        slopes: per hidden layer, the slopes of the activations, `[H, ...]`.
    """

    network: MaskedMLP
    slopes: tuple[Float[Array, "H ..."], ...]

    def start(self, batch_shape: Shape) -> tuple[Any, Float[Array, "... P"]]:
        """See `AutoregressiveConditioner`; for changes of the inputs and of the parameters."""
        return self.network._start(batch_shape, self._units)

    def step(
        self, carry: Any, i: Int[Array, ""], x_i: Float[Array, "..."]
    ) -> tuple[Any, Float[Array, "... P"]]:
        """See `AutoregressiveConditioner`; for changes of the inputs and of the parameters."""
        return self.network._step(carry, i, x_i, self._units)

    def _units(self, layer, start, sums):
        if layer == len(self.slopes):
            return sums
        return _rows(self.slopes[layer], start, sums.shape[0]) * sums


class _StepPlan:
    """Where, in one layer, the units of each degree lie, and how a step computes them.

    A step could multiply all of the layer's inputs by the few columns of the new units, but such
    thin products run at the speed of memory. In wide layers degrees are therefore taken in blocks:
    at the first degree of a block one large product sums what all units of the block get from
    inputs of earlier blocks, and a step then adds only what they get from inputs of this block.
    """

    def __init__(self, degrees_in: np.ndarray, degrees_out: np.ndarray, event_size: int):
        wide = len(degrees_in) >= _WIDE and event_size > 2 * _BLOCK
        self._block = _BLOCK if wide else event_size + 1
        blocks = np.arange(0, event_size + 1, self._block)
        self.width = int(np.bincount(degrees_out).max())
        self._starts = np.searchsorted(degrees_out, np.arange(event_size + 1))
        self._starts = np.minimum(self._starts, len(degrees_out) - self.width)

        def ranges(degrees, extra):
            starts = np.searchsorted(degrees, blocks)
            width = np.diff(starts, append=len(degrees)).max() + extra
            width = int(min(width, len(degrees)))
            return starts, np.minimum(starts, len(degrees) - width), width

        self._first_inputs, self._input_starts, self._input_width = ranges(degrees_in, 0)
        _, self._sum_starts, self.sum_width = ranges(degrees_out, self.width)
        if not wide:
            self.sum_width = 0
        self.dense_blocks = _dense_blocks(degrees_in, degrees_out)

    def start(self, degree: Int[Array, ""]) -> Int[Array, ""]:
        """Index of the first unit of the slice that a step computes."""
        return jnp.asarray(self._starts, jnp.int32)[degree]

    def new_sums(self, inputs, sums, weight, degree):
        """Sums over inputs for the slice that starts at `start(degree)`, and the block's sums."""
        weight, start = weight.T, self.start(degree)
        rows = _rows(weight, start, self.width)
        if not self.sum_width:
            return _product(rows, inputs), sums
        first_input, input_start, sum_start = (
            jnp.asarray(table, jnp.int32)[degree // self._block]
            for table in (self._first_inputs, self._input_starts, self._sum_starts)
        )

        def sums_of_block():
            earlier = jnp.arange(weight.shape[1])[None] < first_input
            rows = _rows(weight, sum_start, self.sum_width)
            return _product(jnp.where(earlier, rows, 0), inputs)

        sums = jax.lax.cond(degree % self._block == 0, sums_of_block, lambda: sums)
        # Near the end the slice of inputs begins before the block: those are in `sums` already.
        this_block = (input_start + jnp.arange(self._input_width))[None] >= first_input
        rows = jax.lax.dynamic_slice_in_dim(rows, input_start, self._input_width, axis=1)
        inputs = _rows(inputs, input_start, self._input_width)
        new = _product(jnp.where(this_block, rows, 0), inputs)
        return new + _rows(sums, start - sum_start, self.width), sums


def _dense_blocks(
    degrees_in: np.ndarray, degrees_out: np.ndarray
) -> tuple[tuple[int, int, int], ...]:
    """Blocks of the units of a wide layer, each with the number of inputs that any of it sees.

    Half of a mask is zero. Units are sorted by degree, so that the lower half of them sees about
    the lower half of the inputs: two products leave out a quarter, and more would not be faster.
    """
    num_inputs, num_units = len(degrees_in), len(degrees_out)
    if num_inputs * num_units < _LARGE:
        return ((num_inputs, 0, num_units),)
    middle = num_units // 2
    seen = int(np.searchsorted(degrees_in, degrees_out[middle - 1], side="right"))
    return (seen, 0, middle), (num_inputs, middle, num_units)


_LARGE = 2**17  # weights from which two products are faster than one
_BLOCK = 8  # degrees
_WIDE = 256  # inputs from which blocks pay


def _rows(array: jax.Array, start: jax.Array, width: int) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(array, start, width, axis=0)


def _product(rows: jax.Array, inputs: jax.Array) -> jax.Array:
    return jnp.tensordot(rows, inputs, axes=1)


def _add_rows(x: jax.Array, bias: jax.Array) -> jax.Array:
    """[n, ..., *batch] + [n, *batch]: the axes that the bias lacks follow its first."""
    return x + jnp.expand_dims(bias, range(1, 1 + x.ndim - bias.ndim))
