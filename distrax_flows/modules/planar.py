"""Planar, radial and Sylvester layers: free parameters, optionally shifted by a context network."""

import math
from collections.abc import Mapping, Sequence

import haiku as hk
import jax
import jax.numpy as jnp
import jmp
import numpy as np
from jaxtyping import Array, Float

from distrax_flows._core.checks import check_float_array, check_positive_int, check_sizes
from distrax_flows._core.numerics import align
from distrax_flows._core.types import Activation, ArrayLike, Shape
from distrax_flows.bijectors.planar import Planar
from distrax_flows.bijectors.radial import Radial
from distrax_flows.bijectors.sylvester import Sylvester
from distrax_flows.modules.learned import Layer
from distrax_flows.modules.mlp import MLP

__all__ = ["PlanarLayer", "RadialLayer", "SylvesterLayer"]


class PlanarLayer(hk.Module):
    """Learned `Planar`. It starts at the identity, u = 0, with w and b normal so that u can learn.

    With a context, an `MLP` of it is added to w, u and b: an amortised flow. Its last layer starts
    at zero.

    Args:
        unit: h of the bijector, with slopes in [0, 1]; see `Planar`.
        context: `[..., C]` or None.
        hidden_sizes: units of each hidden layer of the context network.
        activation: activation of that network.
        policy: dtypes of that network, as for `MLP`.
        name: name of the module.

    Call:
        x: `[..., D]`. Returns a `Planar`.

    Raises:
        TypeError: `context` is not a floating array.
        ValueError: `hidden_sizes` is empty or not all positive integers.

    Reference:
        Rezende & Mohamed, "Variational Inference with Normalizing Flows", 2015, section 4.

    Example:
        >>> import haiku as hk, jax, jax.numpy as jnp
        >>> from distrax_flows.modules import Learned, Stack
        >>> forward = hk.transform(lambda x: Learned(Stack(PlanarLayer(), 8)).forward(x))
        >>> params = forward.init(jax.random.key(0), jnp.zeros(2))
        >>> print(forward.apply(params, None, jnp.array([1.0, 2.0])))
        [1. 2.]
    """

    def __init__(
        self,
        unit: Activation = jnp.tanh,
        *,
        context: Float[ArrayLike, "... C"] | None = None,
        hidden_sizes: Sequence[int] = (64, 64),
        activation: Activation = jax.nn.relu,
        policy: jmp.Policy | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._unit = unit
        self._parameters = _Parameters(context, hidden_sizes, activation, policy)

    def __call__(self, x: Float[Array, "... D"]) -> Planar:
        """Return the bijector with this layer's parameters."""
        size = x.shape[-1]
        # With w of length one, w.x varies by about one standard deviation of x.
        inits = {"w": _normal((size,), size**-0.5), "u": _zeros((size,)), "b": _normal(())}
        return Planar(**self._parameters(x, inits), unit=self._unit)


class RadialLayer(hk.Module):
    """Learned `Radial`. It starts at the identity, raw_beta = 0, with a standard normal centre.

    With a context, an `MLP` of it is added to the parameters: an amortised flow. Its last layer
    starts at zero.

    Args:
        context: `[..., C]` or None.
        hidden_sizes: units of each hidden layer of the context network.
        activation: activation of that network.
        policy: dtypes of that network, as for `MLP`.
        name: name of the module.

    Call:
        x: `[..., D]`. Returns a `Radial`.

    Raises:
        TypeError: `context` is not a floating array.
        ValueError: `hidden_sizes` is empty or not all positive integers.

    Reference:
        Rezende & Mohamed, "Variational Inference with Normalizing Flows", 2015, section 4.

    Example:
        >>> import haiku as hk, jax, jax.numpy as jnp
        >>> from distrax_flows.modules import Learned, Stack
        >>> forward = hk.transform(lambda x: Learned(Stack(RadialLayer(), 8)).forward(x))
        >>> params = forward.init(jax.random.key(0), jnp.zeros(2))
        >>> print(forward.apply(params, None, jnp.array([1.0, 2.0])))
        [1. 2.]
    """

    def __init__(
        self,
        *,
        context: Float[ArrayLike, "... C"] | None = None,
        hidden_sizes: Sequence[int] = (64, 64),
        activation: Activation = jax.nn.relu,
        policy: jmp.Policy | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._parameters = _Parameters(context, hidden_sizes, activation, policy)

    def __call__(self, x: Float[Array, "... D"]) -> Radial:
        """Return the bijector with this layer's parameters."""
        inits = {
            "center": _normal(x.shape[-1:]),
            "raw_alpha": _zeros(()),
            "raw_beta": _zeros(()),
        }
        return Radial(**self._parameters(x, inits))


class SylvesterLayer(hk.Module):
    """Learned `Sylvester`. It starts at the identity, R1 = 0; R2 and b are normal, so R1 can learn.

    With a context, an `MLP` of it is added to R1, R2 and b: an amortised flow. Its last layer
    starts at zero. `orthogonal` supplies the orthogonal map.

    Args:
        num_units: M, at most the event's size.
        orthogonal: a layer that returns the orthogonal map, such as `HouseholderLayer(M)`; None for
            the identity.
        unit: h of the bijector, with slopes in [0, 1]; see `Planar`.
        context: `[..., C]` or None.
        hidden_sizes: units of each hidden layer of the context network.
        activation: activation of that network.
        policy: dtypes of that network, as for `MLP`.
        name: name of the module.

    Call:
        x: `[..., D]`. Returns a `Sylvester`.

    Raises:
        TypeError: `context` is not a floating array.
        ValueError: `num_units` is not a positive integer, or `hidden_sizes` is empty or not all
            positive integers.

    Reference:
        van den Berg et al., "Sylvester Normalizing Flows for Variational Inference", 2018,
        sections 3 and 4.

    Example:
        >>> import haiku as hk, jax, jax.numpy as jnp
        >>> from distrax_flows.modules import HouseholderLayer, Learned, Stack
        >>> def flow(x):
        ...     return Learned(Stack(SylvesterLayer(2, HouseholderLayer(2)), 8)).forward(x)
        >>> forward = hk.transform(flow)
        >>> params = forward.init(jax.random.key(0), jnp.zeros(3))
        >>> forward.apply(params, None, jnp.zeros((10, 3))).shape
        (10, 3)
    """

    def __init__(
        self,
        num_units: int,
        orthogonal: Layer | None = None,
        unit: Activation = jnp.tanh,
        *,
        context: Float[ArrayLike, "... C"] | None = None,
        hidden_sizes: Sequence[int] = (64, 64),
        activation: Activation = jax.nn.relu,
        policy: jmp.Policy | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._num_units = check_positive_int("num_units", num_units)
        self._orthogonal = orthogonal
        self._unit = unit
        self._parameters = _Parameters(context, hidden_sizes, activation, policy)

    def __call__(self, x: Float[Array, "... D"]) -> Sylvester:
        """Return the bijector with this layer's parameters."""
        size = self._num_units
        num_entries = size * (size + 1) // 2
        inits = {
            "r1": _zeros((num_entries,)),
            "r2": _normal((num_entries,), size**-0.5),
            "b": _normal((size,)),
        }
        params = self._parameters(x, inits)
        # The position of each entry in the upper triangle; below it, any index will do.
        places = np.zeros((size, size), np.int32)
        places[np.triu_indices(size)] = np.arange(num_entries)
        r1, r2 = (jnp.take(params[name], places, axis=-1) for name in ("r1", "r2"))
        orthogonal = None if self._orthogonal is None else self._orthogonal(x)
        return Sylvester(r1, r2, params["b"], orthogonal, self._unit)


class _Parameters:
    """Free parameters, plus the output of a context network if there is a context."""

    def __init__(self, context, hidden_sizes, activation, policy):
        self._context = None
        if context is not None:
            self._context = check_float_array("context", context, min_ndim=1)
        self._hidden_sizes = check_sizes("hidden_sizes", hidden_sizes)
        self._activation = activation
        self._policy = policy

    def __call__(
        self, x: jax.Array, inits: Mapping[str, tuple[Shape, hk.initializers.Initializer]]
    ) -> dict[str, jax.Array]:
        """Return parameters by name, with the shapes given after the batch axes of the context."""
        params = {
            name: hk.get_parameter(name, shape, x.dtype, init)
            for name, (shape, init) in inits.items()
        }
        if self._context is None:
            return params
        sizes = [math.prod(shape) for shape, _ in inits.values()]
        shape = (sum(sizes),)
        network = MLP(shape, self._hidden_sizes, self._activation, policy=self._policy)
        moves = jnp.split(network(self._context), np.cumsum(sizes)[:-1], axis=-1)
        moved = {}
        for (name, param), move in zip(params.items(), moves, strict=True):
            param, move = align(param, move.reshape(move.shape[:-1] + param.shape))
            moved[name] = param + move
        return moved


def _zeros(shape: Shape):
    return shape, jnp.zeros


def _normal(shape: Shape, deviation: float = 1.0):
    return shape, hk.initializers.RandomNormal(deviation)
