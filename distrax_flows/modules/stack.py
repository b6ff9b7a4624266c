"""Repetition of a learned layer, compiled once."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows._core.checks import check_non_negative_int, check_positive_int
from distrax_flows.bijectors._base import Direction, forward, inverse
from distrax_flows.bijectors.scan_chain import ScanChain, scan_layers, unstack
from distrax_flows.modules.learned import Learned

__all__ = ["Stack", "StatefulChain"]


class Stack(hk.Module):
    """Repetitions of a layer, each with its own parameters, traced and compiled once.

    A stack is a layer itself: called with an input, it returns the chain of all repetitions, so
    `Learned(Stack(layer, 8))` is a bijector. Parameters are stacked, `[num_layers, ...]`. So is
    Haiku state, if the layer has any.

    Layers are initialised in the density direction, from data to base. The last repetition sees the
    input; each earlier one sees the output of its successor's inverse. So data-dependent
    initialisation is exact at every depth.

    Use it any number of times in a Haiku transform: all uses share the parameters created by the
    first. A layer may use random keys from `hk.next_rng_key`; each repetition gets its own key.

    Args:
        layer: maps an input to a bijector that keeps the input's shape. Each repetition also gets
            any other arguments of the stack: `Stack(layer, 8)(x, given)` calls `layer(x, given)`.
        num_layers: number of repetitions.
        event_ndims: number of axes of an event, as for `Learned`.
        remat: whether gradients store only the inputs of layers (see `ScanChain`).
        unroll: whether each layer is compiled separately (see `ScanChain`).
        name: name of the module.

    Raises:
        ValueError: `num_layers` is not a positive integer, or `event_ndims` is not a non-negative
            integer.

    Example:
        >>> import haiku as hk, jax, jax.numpy as jnp
        >>> from distrax_flows.bijectors import Shift
        >>> from distrax_flows.modules import Learned
        >>> def layer(x):
        ...     return Shift(hk.get_parameter("shift", x.shape[-1:], init=jnp.ones))
        >>> forward = hk.transform(lambda x: Learned(Stack(layer, 8)).forward(x))
        >>> params = forward.init(jax.random.key(0), jnp.zeros(2))
        >>> print(forward.apply(params, None, jnp.zeros(2)))
        [8. 8.]
    """

    def __init__(
        self,
        layer: Callable[..., distrax.Bijector],
        num_layers: int,
        *,
        event_ndims: int = 1,
        remat: bool = False,
        unroll: bool = False,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._layer = layer
        self._num_layers = check_positive_int("num_layers", num_layers)
        self._event_ndims = check_non_negative_int("event_ndims", event_ndims)
        self._options = {"remat": remat, "unroll": unroll}

    def __call__(self, x: Float[Array, "..."], *given: Any) -> distrax.Bijector:
        """Return the chain of all repetitions; `forward` applies the first one first."""

        def call(direction, x):
            return direction(Learned(lambda x: self._layer(x, *given), self._event_ndims), x)

        params, state, update = self._variables(call, x)
        key = hk.maybe_next_rng_key()
        keys = None if key is None else jax.random.split(key, self._num_layers)
        apply = hk.transform_with_state(call).apply
        apply = functools.partial(_Applied, apply, self._event_ndims)
        layers = _Layers(jnp.arange(self._num_layers), params, state, keys)
        if state:
            return StatefulChain(apply, layers, update, self._options)
        return ScanChain(apply, layers, **self._options)

    @hk.transparent
    def _variables(self, call: Callable, x: jax.Array):
        """Return stacked parameters and state, and a function that stores new state."""
        if hk.running_init():
            prefix = f"{self.module_name}/layers/"
            params, state = (_below(prefix, of) for of in (hk.get_params(), hk.get_current_state()))
            if params or state:  # `hk.lift_with_state` would create them again
                return params, state, lambda state: None

        def init(key, x):
            def init_one(x, key):
                outputs = []  # Haiku's `init` returns variables only
                layer = hk.transform_with_state(lambda x: outputs.append(call(inverse, x)))
                variables = layer.init(key, x)
                ((x, _),) = outputs
                return x, variables

            keys = jax.random.split(key, self._num_layers)
            _, stacked = jax.lax.scan(init_one, x, keys, reverse=True)
            return stacked

        lifted, updater = hk.lift_with_state(init, name="layers")
        params, state = lifted(hk.next_rng_key() if hk.running_init() else None, x)
        if not state:
            updater.ignore_update()
        return params, state, updater.update


def _below(prefix: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables of modules whose names begin with `prefix`, which is removed."""
    return {
        name.removeprefix(prefix): arrays
        for name, arrays in variables.items()
        if name.startswith(prefix)
    }


class _Layers(NamedTuple):
    """The data of all repetitions, stacked, or of one of them."""

    index: jax.Array  # gives the scan a length even without parameters
    params: hk.Params
    state: hk.State
    keys: jax.Array | None


class _Applied(distrax.Bijector):
    """A transformed layer with parameters, state and key bound; unlike the layer, it is pure."""

    def __init__(self, apply: Callable, event_ndims: int, layer: _Layers):
        super().__init__(event_ndims_in=event_ndims)
        self._apply = apply
        self._layer = layer

    @property
    def name(self) -> str:
        return "Layer"

    def forward_and_log_det(self, x: Any):
        return self.call(forward, x)[0]

    def inverse_and_log_det(self, y: Any):
        return self.call(inverse, y)[0]

    def call(
        self, direction: Direction, x: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], hk.State]:
        """Apply the layer in a direction; return output and log-det, and the new state."""
        _, params, state, key = self._layer
        return self._apply(params, state, key, direction, x)


class StatefulChain(distrax.Bijector):
    """A `ScanChain` whose layers may change their state; exists only inside the Haiku transform."""

    def __init__(self, apply, layers, update, options):
        super().__init__(event_ndims_in=apply(layers).event_ndims_in)
        self._apply = apply
        self._layers = layers
        self._update = update
        self._options = options

    @property
    def layers(self) -> list[distrax.Bijector]:
        """The layers, in their current state."""
        return [self._apply(layer) for layer in unstack(self._layers)]

    def forward_and_log_det(self, x):
        """Apply the layers first to last."""
        return self._scan(forward, x, reverse=False)

    def inverse_and_log_det(self, y):
        """Undo the layers last to first."""
        return self._scan(inverse, y, reverse=True)

    def _scan(self, direction: Direction, x: Any, *, reverse: bool):
        def apply(layer, x):
            return self._apply(layer).call(direction, x)

        out, state = scan_layers(apply, self._layers, x, reverse=reverse, **self._options)
        self._update(state)
        return out
