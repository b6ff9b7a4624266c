"""Random keys in any form that a user may pass."""

import numbers
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["MissingKeyError", "as_key", "as_keys", "as_optional_key"]


class MissingKeyError(ValueError):
    """A flow whose layers use random numbers was given no key."""


def as_key(key: Any) -> jax.Array:
    """Return one random key of the new kind.

    Args:
        key: an integer seed, where `0` stands for `jax.random.key(0)`, like distrax's `seed`; or a
            key of either kind, `jax.random.key(0)` or `jax.random.PRNGKey(0)`.

    Raises:
        TypeError: `key` is something else.
        ValueError: `key` holds several keys.
    """
    key = as_keys(key)
    if key.ndim:
        raise ValueError(f"`key` must be a single random key; got keys of shape {key.shape}.")
    return key


def as_optional_key(key: Any) -> jax.Array | None:
    """Return one random key of the new kind, or None for None."""
    return None if key is None else as_key(key)


def as_keys(key: Any) -> jax.Array:
    """Return random keys of the new kind, `[]` or `[E]`; an integer is a seed, as for `as_key`."""
    if isinstance(key, numbers.Integral) and not isinstance(key, bool):
        return jax.random.key(int(key))
    if isinstance(key, jax.Array) and key.dtype == jnp.uint32 and key.shape[-1:] == (2,):
        key = jax.random.wrap_key_data(key)
    if not isinstance(key, jax.Array) or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise TypeError(
            f"`key` must be a random key such as `jax.random.key(0)`, or an integer seed; got "
            f"{key!r}. Several keys are `jax.random.split(jax.random.key(0), 5)`."
        )
    if key.ndim > 1:
        raise ValueError(f"`key` must be a random key, or a row of them; got {key.shape=}.")
    return key
