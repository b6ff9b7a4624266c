"""MADE: masked autoregressive conditioner network."""

import itertools
from collections.abc import Sequence
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import jmp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from distrax_flows._core.checks import check_positive_int, check_sizes
from distrax_flows._core.types import Activation, DecideFn, Shape
from distrax_flows.modules.mlp import add_context, computing, he_uniform, starting_at
from distrax_flows.networks.masked_mlp import MaskedMLP
from distrax_flows.networks.masks import hidden_degrees, hidden_mask, input_mask, output_mask

__all__ = ["MADE"]


class MADE(hk.Module):
    """Masked network: the parameters of dimension d depend only on the dimensions before d.

    Owns the weights of a `MaskedMLP`; see its docstring for the formula. `network(context)` returns
    that conditioner as a pure function, with masks applied and the context bound: pass it to
    `MaskedAutoregressive`. The module itself can also be called and unfolded, but then masks its
    weights again at every call.

    Hidden layers may have any number and sizes, even smaller than `event_size`. Degrees are spread
    over the units so that every dependency the narrowest layer can carry is kept (see
    `networks.hidden_degrees`). With `event_size == 1` the parameters depend only on the context, or
    are constants. The last layer starts at zero, or at `start`.

    Args:
        event_size: number of dimensions, D.
        num_params: parameters per dimension, P.
        hidden_sizes: units of each hidden layer.
        activation: applied elementwise.
        residual: whether to add each hidden layer's input to its output; sizes must be equal.
        order: order in which dimensions depend on one another: "sequential" for 0, 1, ..., or a
            permutation of `0..D-1`. (`np.random.default_rng(seed).permutation(D)` is random.)
        context_size: size C of the context's last axis; None for a network without context.
        start: `P` numbers, the parameters of each dimension at the start of training; zeros if
            None.
        policy: dtypes, as for `MLP`.
        name: name of the module.

    Call:
        x: `[..., D]`. Returns `[..., D, P]`. With a context, use `network(context)`.

    Raises:
        ValueError: a size is not a positive integer, `hidden_sizes` is empty, or unequal with
            `residual`, `order` is not a permutation, or a context is missing, unexpected or of the
            wrong size.

    Reference:
        Germain et al., "MADE: Masked Autoencoder for Distribution Estimation", 2015.

    Example:
        >>> import haiku as hk, jax, jax.numpy as jnp
        >>> network = hk.transform(lambda x: MADE(3, num_params=2, hidden_sizes=(16, 16))(x))
        >>> params = network.init(jax.random.key(0), jnp.zeros(3))
        >>> network.apply(params, None, jnp.zeros((10, 3))).shape
        (10, 3, 2)
    """

    def __init__(
        self,
        event_size: int,
        num_params: int,
        hidden_sizes: Sequence[int],
        activation: Activation = jax.nn.relu,
        *,
        residual: bool = False,
        order: str | Sequence[int] | np.ndarray = "sequential",
        context_size: int | None = None,
        start: Sequence[float] | None = None,
        policy: jmp.Policy | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._event_size = check_positive_int("event_size", event_size)
        self._num_params = check_positive_int("num_params", num_params)
        self._hidden_sizes = check_sizes("hidden_sizes", hidden_sizes)
        self._activation = activation
        if residual and len(set(self._hidden_sizes)) > 1:
            raise ValueError(
                "`hidden_sizes` must be equal for a residual network; "
                f"got hidden_sizes={self._hidden_sizes}."
            )
        self._residual = residual
        self._order = _check_order(order, self._event_size)
        if context_size is not None:
            check_positive_int("context_size", context_size)
        self._context_size = context_size
        self._start = start
        self._policy = policy

    @property
    def order(self) -> Shape:
        """`order[i]` is the dimension that comes i-th."""
        return self._order

    def network(
        self, context: Float[Array, "... C"] | None = None, dtype: DTypeLike = jnp.float32
    ) -> MaskedMLP:
        """Return a pure conditioner with this module's parameters and the context bound.

        Call it outside of `jax.lax` loops; the result works inside them.

        Args:
            context: `[..., C]` or None.
            dtype: dtype of parameters that do not exist yet, unless a policy sets it.
        """
        size = None if context is None else context.shape[-1]
        if size != self._context_size:
            raise ValueError(
                f"`context` must have a last axis of size context_size={self._context_size}, None "
                f"meaning no context; got {'none' if context is None else context.shape}."
            )
        if self._policy is not None:
            dtype = self._policy.param_dtype
        degrees = hidden_degrees(self._event_size, self._hidden_sizes, context=context is not None)
        layer_masks = [input_mask(self._event_size, degrees[0])]
        layer_masks += [hidden_mask(a, b) for a, b in itertools.pairwise(degrees)]
        last = output_mask(degrees[-1], self._event_size)
        layer_masks.append(np.repeat(last, self._num_params, axis=1))
        weights, biases = zip(
            *(self._layer(layer, mask, dtype) for layer, mask in enumerate(layer_masks)),
            strict=True,
        )
        with computing(self._policy, hk.Linear):
            first_bias = add_context(biases[0], context)
        return MaskedMLP(
            weights=weights,
            biases=(first_bias, *biases[1:]),
            degrees=tuple(tuple(layer.tolist()) for layer in degrees),
            order=self._order,
            activation=self._activation,
            residual=self._residual,
            policy=self._policy,
        )

    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D P"]:
        """Return the parameters of every dimension in one pass."""
        return self.network(dtype=x.dtype)(x)

    def unfold(
        self, decide: DecideFn, inputs: Any, batch_shape: Shape
    ) -> tuple[Float[Array, "D ..."], Any]:
        """See `AutoregressiveConditioner`."""
        return self.network().unfold(decide, inputs, batch_shape)

    def _layer(self, layer: int, mask: np.ndarray, dtype):
        """Return the masked weights and biases of one layer, created on first use."""
        last = layer == len(self._hidden_sizes)
        fan_in = max(int(mask.sum(axis=0).max()), 1)
        w_init = jnp.zeros if last else _masked_uniform(mask)
        b_init = he_uniform(fan_in)
        if last:
            b_init = starting_at(self._start, (self._event_size, self._num_params))
        weight = hk.get_parameter(f"w_{layer}", mask.shape, dtype, init=w_init)
        bias = hk.get_parameter(f"b_{layer}", mask.shape[1:], dtype, init=b_init)
        return weight * jnp.asarray(mask, weight.dtype), bias


def _masked_uniform(mask: np.ndarray) -> hk.initializers.Initializer:
    """Return an initialiser, uniform in +-sqrt(6 / n); n counts a unit's unmasked inputs."""
    bound = np.sqrt(6 / np.maximum(mask.sum(axis=0, keepdims=True), 1))

    def init(shape, dtype):
        unit = hk.initializers.RandomUniform(-1.0, 1.0)(shape, dtype)
        return unit * jnp.asarray(bound, dtype)

    return init


def _check_order(order, event_size) -> Shape:
    if isinstance(order, str):
        if order != "sequential":
            raise ValueError(
                f'`order` must be "sequential" or a permutation of 0..D-1; got {order=}.'
            )
        return tuple(range(event_size))
    indices = np.asarray(order)
    if indices.shape != (event_size,) or set(indices.tolist()) != set(range(event_size)):
        raise ValueError(
            f'`order` must be "sequential" or a permutation of 0..{event_size - 1}; '
            f"got order={indices.tolist()}."
        )
    return tuple(indices.tolist())
