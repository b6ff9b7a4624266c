"""Small numerical helpers shared by bijectors and families."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["align", "soft_clip", "sum_last"]


def soft_clip(x: Float[Array, "..."], bound: float) -> Float[Array, "..."]:
    """Maps the real line smoothly into `(-bound, bound)`: `bound * tanh(x / bound)`.

    The slope at 0 is 1, so small parameters pass unchanged and zero stays zero. Log-scales and
    log-slopes go through this map and never through a bare `exp`, which is what bounds the
    condition number of every layer.
    """
    return bound * jnp.tanh(x / bound)


def sum_last(log_det: jax.Array, batch_shape: tuple[int, ...]) -> jax.Array:
    """Broadcasts a per-dimension log-det to `batch_shape + (D,)` and sums over `D`.

    distrax sums a log-det that lacks the batch shape to a scalar without a word, so that every
    bijector here returns the full batch shape, also where its Jacobian is constant.
    """
    return jnp.broadcast_to(jnp.sum(log_det, axis=-1), batch_shape)


def align(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    """Gives all arrays the same rank by new leading axes: broadcasting, made explicit."""
    ndim = max(array.ndim for array in arrays)
    return tuple(jnp.expand_dims(array, range(ndim - array.ndim)) for array in arrays)
