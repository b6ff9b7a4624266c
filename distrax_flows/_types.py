"""Shapes and protocols that every level shares.

Letters used throughout the library: `D` is the event size, `P` the number of parameters of a
scalar bijector, `K` the number of bins, `H` a hidden size, `C` the context size, `N` a batch.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import distrax
import jax
from jaxtyping import Array, Float, Int

__all__ = [
    "Activation",
    "AutoregressiveConditioner",
    "BijectorFn",
    "Conditioner",
    "LinearizableConditioner",
    "Shape",
]

Shape = tuple[int, ...]

Activation = Callable[[jax.Array], jax.Array]

# From the unconstrained parameters [..., P] of scalars to the scalar bijector [...].
BijectorFn = Callable[[jax.Array], distrax.Bijector]

# From the half of an event that a coupling leaves alone to the parameters of the other half.
Conditioner = Callable[[jax.Array], jax.Array]


@runtime_checkable
class AutoregressiveConditioner(Protocol):
    """A network whose parameters for one dimension depend on the dimensions before it only.

    `order[i]` names the dimension that comes i-th. Calling the conditioner gives the parameters
    of all dimensions at once; `start` and `step` give them one dimension at a time, like the
    initial state and the step of an RNN cell, so that a sequential inverse costs about one
    evaluation of the network in total rather than one per dimension. Both must be pure: they
    run inside `jax.lax.scan`.
    """

    @property
    def order(self) -> Shape:
        """The permutation of `0..D-1` in which dimensions become known."""
        ...

    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D P"]:
        """Parameters of every dimension, each from the dimensions that come before it."""
        ...

    def start(self, batch_shape: Shape) -> tuple[Any, Float[Array, "... P"]]:
        """The carry when nothing is known yet, and the parameters of dimension `order[0]`."""
        ...

    def step(
        self, carry: Any, i: Int[Array, ""], x_i: Float[Array, "..."]
    ) -> tuple[Any, Float[Array, "... P"]]:
        """Makes `x[order[i]]` known; returns the parameters of dimension `order[i + 1]`.

        After the last dimension there is none to follow, and the parameters are arbitrary.
        """
        ...


@runtime_checkable
class LinearizableConditioner(AutoregressiveConditioner, Protocol):
    """One that knows its own derivative, so that gradients of a sequential inverse are implicit.

    It is a pytree of its parameters.
    """

    def linearize(self, x: Float[Array, "... D"]) -> Any:
        """The derivative at `x`, with `start` and `step` for changes of inputs and parameters."""
        ...
