"""Shapes and protocols that every level shares.

Letters used throughout the library: `D` is the event size, `P` the number of parameters of a
scalar bijector, `K` the number of bins, `H` a hidden size, `C` the context size, `N` a batch.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import distrax
import jax
from jaxtyping import Array, Float

__all__ = [
    "Activation",
    "AutoregressiveConditioner",
    "BijectorFn",
    "Conditioner",
    "DecideFn",
    "LinearizableConditioner",
    "Shape",
]

Shape = tuple[int, ...]

Activation = Callable[[jax.Array], jax.Array]

# From the unconstrained parameters [..., P] of scalars to the scalar bijector [...].
BijectorFn = Callable[[jax.Array], distrax.Bijector]

# From the half of an event that a coupling leaves alone to the parameters of the other half.
Conditioner = Callable[[jax.Array], jax.Array]


# From the parameters [..., P] of a dimension, and what else belongs to it, to its value [...], and
# anything else.
DecideFn = Callable[[jax.Array, Any], tuple[jax.Array, Any]]


@runtime_checkable
class AutoregressiveConditioner(Protocol):
    """A network whose parameters for one dimension depend on the dimensions before it only.

    "Before" is meant in an order of its own choice. Calling the conditioner gives the parameters of
    all dimensions at once; `unfold` gives them one dimension at a time, so that a sequential
    inverse costs about one evaluation of the network in total rather than one per dimension.
    """

    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D P"]:
        """Parameters of every dimension, each from the dimensions that come before it."""
        ...

    def unfold(
        self, decide: DecideFn, inputs: Any, batch_shape: Shape
    ) -> tuple[Float[Array, "D ..."], Any]:
        """Decides dimension after dimension: `x_d, out_d = decide(params_d(x_<d), inputs_d)`.

        Pure: it may run inside of `jax.lax.scan`.

        Args:
            decide: from the parameters `[..., P]` of a dimension, and its row of `inputs`, to its
                value `[...]`, and any arrays else.
            inputs: pytree of arrays `[D, ...]`.
            batch_shape: shape of the values of one dimension; that of the conditioner's parameters
                broadcasts to it.

        Returns:
            The values `[D, ...]`, dimensions leading, and all else that `decide` returned, stacked
            likewise.
        """
        ...


@runtime_checkable
class LinearizableConditioner(AutoregressiveConditioner, Protocol):
    """One that knows its own derivative, so that gradients of a sequential inverse are implicit.

    It is a pytree of its parameters.
    """

    def linearize(self, x: Float[Array, "... D"]) -> Any:
        """The derivative at `x`: it can `unfold` changes of inputs, from those of parameters."""
        ...
