"""Base class of the bijectors: floating-point events, and equality by value."""

from collections.abc import Callable
from typing import Any

import distrax
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

__all__ = ["Bijector", "Direction", "forward", "inverse"]

# Applies a bijector to an array in one of its directions, and returns the output and the log-det.
Direction = Callable[[distrax.Bijector, Any], tuple[jax.Array, jax.Array]]


class Bijector(distrax.Bijector):
    """Base class of the bijectors in this package."""

    def same_as(self, other: distrax.Bijector) -> bool:
        """Return whether `other` has the same class, equal static fields and equal arrays.

        Traced arrays have no values yet, so they are equal only to themselves.
        """
        if type(other) is not type(self):
            return False
        (ours, structure), (theirs, their_structure) = map(jax.tree.flatten, (self, other))
        return structure == their_structure and all(map(_same, ours, theirs))

    def _as_events(self, x: Any) -> jax.Array:
        """Return `x` as `_as_floats` does; for bijectors with equal event ranks in both directions.

        Raises:
            ValueError: `x` has fewer axes than an event.
        """
        self._check_forward_input_shape(x)
        return self._as_floats(x)

    def _as_floats(self, x: Any) -> jax.Array:
        """Return `x` in the dtype it is promoted to by the parameters; integers become floats."""
        x = jnp.asarray(x)
        dtypes = {leaf.dtype for leaf in jax.tree.leaves(self) if isinstance(leaf, jax.Array)}
        dtype = jnp.result_type(x, *(d for d in dtypes if jnp.issubdtype(d, jnp.floating)))
        return x.astype(dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.result_type(x, 1.0))


def forward(bijector: distrax.Bijector, x: Any) -> tuple[jax.Array, jax.Array]:
    """Apply a bijector; a `Direction`."""
    return bijector.forward_and_log_det(x)  # pyright: ignore[reportReturnType]


def inverse(bijector: distrax.Bijector, y: Any) -> tuple[jax.Array, jax.Array]:
    """Apply the inverse of a bijector; a `Direction`."""
    return bijector.inverse_and_log_det(y)  # pyright: ignore[reportReturnType]


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if isinstance(a, Tracer) or isinstance(b, Tracer):
        return False
    return jnp.result_type(a) == jnp.result_type(b) and np.array_equal(a, b)
