"""Masked networks over arrays: autoregressive conditioners without Haiku."""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jmp
import numpy as np
from jaxtyping import Array, Float

from distrax_flows._core.numerics import align, value_and_slope
from distrax_flows._core.types import Activation, DecideFn, Shape
from distrax_flows.networks._unfold import unfold

__all__ = ["LinearizedMLP", "MaskedMLP"]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["weights", "biases"],
    meta_fields=["degrees", "order", "activation", "residual", "policy"],
)
@dataclasses.dataclass(frozen=True)
class MaskedMLP:
    """MADE over arrays: a masked perceptron, evaluated at once or dimension by dimension.

    With positions i = 0..D-1 in the input order `order`, hidden layers l = 1..L and a_l the
    activations (a_0 = x reordered):

        a_l = activation(a_{l-1} W_l + b_l)    [+ a_{l-1} if `residual` and l > 1]
        params = a_L W_{L+1} + b_{L+1}

    W_l is zero where its mask is (`networks.input_mask`, `hidden_mask`, `output_mask`).
    `distrax_flows.modules.MADE` makes the parameters; use this class directly to bring your own.
    It is a pytree whose leaves are the weights and biases.

    The units of a layer are sorted by degree, and a step computes only those whose inputs have just
    become known. So each step costs its share of the units, and all D steps together cost about one
    evaluation.

    Args:
        weights: `L + 1` arrays `[in, out]`, masked. The last is `[H, D * P]`: the parameters of one
            dimension side by side, dimensions in input order.
        biases: `L + 1` arrays `[..., out]`. Batch axes (such as a context's contribution to the
            first layer) broadcast against those of the input.
        degrees: per hidden layer, the sorted degrees of its units (`networks.hidden_degrees`).
        order: `order[i]` is the dimension at position i.
        activation: applied elementwise.
        residual: whether to add each hidden layer's input to its output; sizes must be equal.
        policy: the dtypes of products and activations, and of the returned parameters; those of
            the arrays if None.

    Reference:
        Germain et al., "MADE: Masked Autoencoder for Distribution Estimation", 2015, eqs. 12-15.
        Residual: Nash & Durkan, "Autoregressive Energy Machines", 2019, section 3.
    """

    weights: tuple[Float[Array, "... _ _"], ...]
    biases: tuple[Float[Array, "..."], ...]
    degrees: tuple[Shape, ...]
    order: Shape
    activation: Activation
    residual: bool = False
    policy: jmp.Policy | None = None

    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D P"]:
        """Return the parameters of every dimension in one pass."""
        event_size = len(self.order)
        if x.shape[-1] != event_size:
            raise ValueError(
                f"`x` must have {event_size} dimensions, the event size; got x.shape={x.shape}."
            )
        if self.policy is not None:
            network, x = self.policy.cast_to_compute((self._without_policy, x))
            return self.policy.cast_to_output(network(x))
        hidden = self._in_order(x)
        for layer in range(len(self.degrees)):
            before = hidden
            hidden = self.activation(self._affine(hidden, layer))
            if self.residual and layer > 0:
                hidden += before
        params = self._affine(hidden, -1)
        params = params.reshape((*params.shape[:-1], event_size, self._num_params))
        if self._sequential:
            return params
        return jnp.take(params, np.argsort(self.order), axis=-2)

    def _affine(self, hidden, layer):
        """Return the next layer, before its activation."""
        weight = self.weights[layer]
        parts = [
            hidden[..., :num_inputs] @ weight[:num_inputs, first:last]
            for num_inputs, first, last in self._dense_blocks[layer]
        ]
        product, bias = align(jnp.concatenate(parts, axis=-1), self.biases[layer])
        return product + bias

    def unfold(
        self, decide: DecideFn, inputs: Any, batch_shape: Shape
    ) -> tuple[Float[Array, "D ..."], Any]:
        """See `AutoregressiveConditioner`."""
        if self.policy is not None:
            network = self.policy.cast_to_compute(self._without_policy)
            return network.unfold(_casting(self.policy, decide), inputs, batch_shape)

        def activate(layer, sums, bias):
            sums = _add_rows(sums, bias)
            return sums if layer == len(self.degrees) else self.activation(sums)

        biases = [jnp.moveaxis(bias, -1, 0) for bias in self.biases]
        return self._unfold(decide, inputs, biases, activate, batch_shape)

    def linearize(self, x: Float[Array, "... D"]) -> "LinearizedMLP":
        """Return the derivative at `x`: a linear network that also unfolds.

        Args:
            x: `[..., D]`, where to take the derivative.
        """
        if self.policy is not None:
            network, x = self.policy.cast_to_compute((self._without_policy, x))
            return dataclasses.replace(network.linearize(x), policy=self.policy)
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

    def _unfold(self, decide, inputs, own, activate, batch_shape):
        sizes = {jnp.shape(array)[:1] for array in jax.tree.leaves(inputs)}
        if sizes - {(len(self.order),)}:
            raise ValueError(
                "`inputs` must hold arrays with a row for each dimension, "
                f"[{len(self.order)}, ...]; got leading axes {sorted(sizes)}."
            )
        if not self._sequential:
            inputs = jax.tree.map(lambda array: array[np.array(self.order)], inputs)
        results = unfold(
            decide,
            inputs,
            self.weights,
            own,
            activate,
            steps=(range(len(self.order)), *self.degrees, self._output_degrees),
            batch_shape=batch_shape,
            residual=self.residual,
        )
        if self._sequential:
            return results
        return jax.tree.map(lambda array: array[np.argsort(self.order)], results)

    @property
    def _without_policy(self) -> "MaskedMLP":
        return dataclasses.replace(self, policy=None)

    @functools.cached_property
    def _dense_blocks(self) -> list[tuple[tuple[int, int, int], ...]]:
        degrees = range(1, len(self.order) + 1), *self.degrees, self._output_degrees
        return list(itertools.starmap(_dense_blocks, itertools.pairwise(degrees)))

    @property
    def _output_degrees(self) -> Shape:
        return tuple(np.repeat(range(len(self.order)), self._num_params).tolist())

    @property
    def _num_params(self) -> int:
        """Parameters per dimension, P."""
        return self.weights[-1].shape[-1] // len(self.order)

    @property
    def _sequential(self) -> bool:
        return self.order == tuple(range(len(self.order)))


@dataclasses.dataclass(frozen=True)
class LinearizedMLP:
    """Derivative of a `MaskedMLP` at a point, dimension by dimension.

    Args:
        network: the network.
        slopes: per hidden layer, the slopes of the activations, `[H, ...]`.
        policy: the dtype of the returned changes of parameters, if it differs.
    """

    network: MaskedMLP
    slopes: tuple[Float[Array, "_ ..."], ...]
    policy: jmp.Policy | None = None

    def unfold(
        self, decide: DecideFn, inputs: Any, batch_shape: Shape
    ) -> tuple[Float[Array, "D ..."], Any]:
        """See `AutoregressiveConditioner`; for changes of the inputs and of the parameters."""

        def activate(layer, sums, slopes):
            return sums if layer == len(self.slopes) else slopes * sums

        if self.policy is not None:
            decide = _casting(self.policy, decide)
        return self.network._unfold(decide, inputs, (*self.slopes, None), activate, batch_shape)


def _casting(policy: jmp.Policy, decide: DecideFn) -> DecideFn:
    return lambda params, inputs: decide(policy.cast_to_output(params), inputs)


def _dense_blocks(
    degrees_in: Sequence[int], degrees_out: Sequence[int]
) -> tuple[tuple[int, int, int], ...]:
    """Return blocks of a wide layer's units, each with the number of inputs that any of them sees.

    Half of a mask is zero. Units are sorted by degree, so their lower half sees about the lower
    half of the inputs. Two products leave out a quarter of the work; more would not be faster.
    """
    num_inputs, num_units = len(degrees_in), len(degrees_out)
    if num_inputs * num_units < _LARGE:
        return ((num_inputs, 0, num_units),)
    middle = num_units // 2
    seen = int(np.searchsorted(degrees_in, degrees_out[middle - 1], side="right"))
    return (seen, 0, middle), (num_inputs, middle, num_units)


_LARGE = 2**17  # number of weights from which two products are faster than one


def _add_rows(x: jax.Array, bias: jax.Array) -> jax.Array:
    """Add [n, ..., *batch] and [n, *batch]: the bias's missing axes follow its first."""
    return x + jnp.expand_dims(bias, range(1, 1 + x.ndim - bias.ndim))
