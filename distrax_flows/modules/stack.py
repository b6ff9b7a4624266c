"""Repetition of a learned layer, compiled once."""

from collections.abc import Callable, Mapping
from typing import Any

import distrax
import haiku as hk
import jax
from jaxtyping import Array, Float

from distrax_flows._checks import check_positive_int
from distrax_flows.bijectors.scan_chain import ScanChain, scan_layers, unstack

__all__ = ["Stack", "StatefulChain"]


class Stack(hk.Module):
    """Repeats a layer, each repetition with parameters of its own; traced and compiled once.

    A layer itself: called with an input, it returns the chain of all repetitions, so that
    `Learned(Stack(layer, 8))` is a bijector. Parameters are stacked, `[num_layers, ...]`, and so is
    Haiku state, if the layer has any.

    They are initialised in the density direction, from data to base: the last repetition sees the
    input, and each one before it sees what its successor's inverse makes of that. A layer with a
    data-dependent initialisation is thus initialised exactly, at every depth.

    Use it any number of times in a Haiku transform: all uses share the parameters that the first
    one made.

    Args:
        layer: from an input `[..., D]` to a bijector that keeps the input's shape. It draws no
            random numbers after initialisation. Whatever else the stack is called with, each
            repetition gets, too: `Stack(layer, 8)(x, given)` calls `layer(x, given)`.
        num_layers: number of repetitions.
        remat: whether gradients store the inputs of layers only (see `ScanChain`).
        unroll: whether each layer is compiled by itself (see `ScanChain`).
        name: name of the module.

    Raises:
        ValueError: `num_layers` is not a positive integer.

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
        remat: bool = False,
        unroll: bool = False,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._layer = layer
        self._num_layers = check_positive_int("num_layers", num_layers)
        self._options = {"remat": remat, "unroll": unroll}

    def __call__(self, x: Float[Array, "... D"], *given: Any) -> distrax.Bijector:
        """The chain of all repetitions; `forward` applies the first one first."""
        layer = hk.without_apply_rng(
            hk.transform_with_state(lambda method, x: getattr(self._layer(x, *given), method)(x))
        )
        params, state, update = self._variables(layer, x)
        if state:
            return StatefulChain(layer.apply, params, state, update, self._options)
        return ScanChain(lambda params: _Applied(layer.apply, params, {}), params, **self._options)

    @hk.transparent
    def _variables(self, layer: hk.TransformedWithState, x: jax.Array):
        """Stacked parameters and state, and a function that takes the new state."""
        if hk.running_init():
            prefix = f"{self.module_name}/layers/"
            params, state = (_below(prefix, of) for of in (hk.get_params(), hk.get_current_state()))
            if params or state:  # `hk.lift_with_state` would make others
                return params, state, lambda state: None

        def init(key, x):
            def init_one(x, key):
                params, state = layer.init(key, "inverse", x)
                x, _ = layer.apply(params, state, "inverse", x)
                return x, (params, state)

            keys = jax.random.split(key, self._num_layers)
            _, stacked = jax.lax.scan(init_one, x, keys, reverse=True)
            return stacked

        lifted, updater = hk.lift_with_state(init, name="layers")
        params, state = lifted(hk.next_rng_key() if hk.running_init() else None, x)
        if not state:
            updater.ignore_update()
        return params, state, updater.update


def _below(prefix: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of the modules whose names begin with a prefix, without it."""
    return {
        name.removeprefix(prefix): arrays
        for name, arrays in variables.items()
        if name.startswith(prefix)
    }


class _Applied(distrax.Bijector):
    """A transformed layer, its parameters and state bound: pure, unlike the layer."""

    def __init__(self, apply, params, state):
        super().__init__(event_ndims_in=1)
        self._apply = apply
        self._params = params
        self._state = state

    @property
    def name(self) -> str:
        return "Layer"

    def forward_and_log_det(self, x):
        return self._apply(self._params, self._state, "forward_and_log_det", x)[0]

    def inverse_and_log_det(self, y):
        return self._apply(self._params, self._state, "inverse_and_log_det", y)[0]


class StatefulChain(distrax.Bijector):
    """A `ScanChain` whose layers may change their state; lives inside the Haiku transform."""

    def __init__(self, apply, params, state, update, options):
        super().__init__(event_ndims_in=1)
        self._apply = apply
        self._layers = params, state
        self._update = update
        self._options = options

    @property
    def layers(self) -> list[distrax.Bijector]:
        """The layers, with their state as it is."""
        return [_Applied(self._apply, *layer) for layer in unstack(self._layers)]

    def forward_and_log_det(self, x):
        """Applies the layers first to last."""
        return self._scan("forward_and_log_det", x, reverse=False)

    def inverse_and_log_det(self, y):
        """Undoes the layers last to first."""
        return self._scan("inverse_and_log_det", y, reverse=True)

    def _scan(self, method, x, *, reverse):
        def apply(layer, x):
            return self._apply(*layer, method, x)

        out, state = scan_layers(apply, self._layers, x, reverse=reverse, **self._options)
        self._update(state)
        return out
