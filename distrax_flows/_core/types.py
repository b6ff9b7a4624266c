"""Shapes and protocols shared by every level.

Letters used throughout the library: `D` is the event size, `P` the number of parameters of a
scalar bijector, `K` the number of bins, `H` a hidden size, `C` the context size, `N` a batch.
"""

from collections.abc import Callable
from typing import Any, Literal, Protocol, runtime_checkable

import distrax
import jax
import numpy as np
from jaxtyping import Array, Float

__all__ = [
    "Activation",
    "ArrayLike",
    "AutoregressiveConditioner",
    "BijectorFn",
    "Conditioner",
    "DecideFn",
    "Fast",
    "LinearizableConditioner",
    "Shape",
]

Shape = tuple[int, ...]

# What bijectors and flows take for an array: JAX's, NumPy's, and NumPy's scalars.
ArrayLike = Array | np.ndarray | np.number | np.bool_

Activation = Callable[[jax.Array], jax.Array]

# The fast direction of a flow, `log_prob` or `sample`.
Fast = Literal["density", "sampling"]

# Maps the unconstrained parameters [..., P] of scalars to the scalar bijector [...].
BijectorFn = Callable[[jax.Array], distrax.Bijector]

# Maps the half of an event that a coupling keeps to the parameters of the other half.
Conditioner = Callable[[jax.Array], jax.Array]


# Maps the parameters [..., P] of a dimension, and other data that belong to it, to its value [...]
# and anything else.
DecideFn = Callable[[jax.Array, Any], tuple[jax.Array, Any]]


@runtime_checkable
class AutoregressiveConditioner(Protocol):
    """A network whose parameters for one dimension depend only on the dimensions before it.

    The network chooses the order. Calling the conditioner returns the parameters of all dimensions
    at once. `unfold` computes them one dimension at a time, so a sequential inverse costs about one
    evaluation of the network in total, not one per dimension.
    """

    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D P"]:
        """Return the parameters of every dimension, each from the dimensions before it.

        Args:
            x: `[..., D]`.
        """
        ...

    def unfold(
        self, decide: DecideFn, inputs: Any, batch_shape: Shape
    ) -> tuple[Float[Array, "D ..."], Any]:
        """Decide one dimension after another: `x_d, out_d = decide(params_d(x_<d), inputs_d)`.

        Pure: it may run inside of `jax.lax.scan`.

        Args:
            decide: maps the parameters `[..., P]` of a dimension, and its row of `inputs`, to its
                value `[...]`, and any other arrays.
            inputs: pytree of arrays `[D, ...]`.
            batch_shape: shape of the values of one dimension; that of the conditioner's parameters
                broadcasts to it.

        Returns:
            The values `[D, ...]`, dimensions leading, and everything else that `decide` returned,
            also stacked.
        """
        ...


@runtime_checkable
class LinearizableConditioner(AutoregressiveConditioner, Protocol):
    """A conditioner with a known derivative, for implicit gradients of a sequential inverse.

    It is a pytree of its parameters.
    """

    def linearize(self, x: Float[Array, "... D"]) -> Any:
        """Return the derivative at `x`; it unfolds changes of inputs from those of parameters."""
        ...
