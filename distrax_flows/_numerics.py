"""Small numerical helpers shared by bijectors and families."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

__all__ = [
    "KEPT",
    "align",
    "hard_clip",
    "keep",
    "matvec",
    "replace_value",
    "safe_norm",
    "soft_clip",
    "sum_last",
    "unit_vector",
    "value_and_slope",
    "vary_like",
]


KEPT = "distrax_flows.kept"


def keep(x: jax.Array) -> jax.Array:
    """Marks a value that a gradient shall store, where it stores few: it is dear to compute."""
    return checkpoint_name(x, KEPT)


def soft_clip(x: Float[Array, "..."], bound: float) -> Float[Array, "..."]:
    """Maps the real line smoothly into `(-bound, bound)`: `bound * tanh(x / bound)`.

    The slope at 0 is 1, so small parameters pass unchanged and zero stays zero. Log-scales and
    log-slopes go through this map and never through a bare `exp`, which is what bounds the
    condition number of every layer.
    """
    return bound * jnp.tanh(x / bound)


def replace_value(x: Float[Array, "..."], value: Float[Array, "..."]) -> Float[Array, "..."]:
    """`value` to the bit, with the derivative of `x`, which is finite and differs by rounding only.

    Not by a custom derivative: a gradient of a gradient through a scan would lose it.
    """
    return jax.lax.stop_gradient(value) + (x - jax.lax.stop_gradient(x))


def hard_clip(
    x: Float[Array, "..."], low: jax.Array | float, high: jax.Array | float
) -> Float[Array, "..."]:
    """Clips what only rounding takes out of `[low, high]`; see `replace_value`."""
    return replace_value(x, jnp.clip(x, low, high))


def vary_like(tree: Any, *others: Any) -> Any:
    """Gives the arrays of a pytree the varying axes of those of others.

    Within `jax.shard_map` a type says over which axes of the mesh an array varies, and a loop's
    carry must start with the axes that it ends with: constants get them from what the loop reads.
    Elsewhere nothing happens, and no operation is added.
    """
    axes = frozenset[str]().union(*map(_varying_axes, jax.tree.leaves(others)))

    def vary(leaf):
        missing = axes - _varying_axes(leaf)
        return jax.lax.pcast(leaf, tuple(sorted(missing)), to="varying") if missing else leaf

    return jax.tree.map(vary, tree)


def _varying_axes(array: Any) -> frozenset[str]:
    kind: Any = array if isinstance(array, jax.ShapeDtypeStruct) else jax.typeof(array)
    if hasattr(kind, "vma"):  # JAX below 0.10.2
        return frozenset(getattr(kind, "vma") or ())  # noqa: B009
    return frozenset(kind.manual_axis_type.varying) if kind.manual_axis_type else frozenset()


def sum_last(log_det: jax.Array, y: jax.Array) -> jax.Array:
    """Broadcasts a per-dimension log-det to the events `y`, and sums over the last axis.

    distrax silently sums a log-det that lacks the batch shape to a scalar, so every bijector here
    returns the full batch shape, also where its Jacobian is constant.
    """
    # Summed before the batch axes: repeated numbers need no second sum.
    per_event = jnp.broadcast_to(log_det, log_det.shape[:-1] + y.shape[-1:])
    return jnp.broadcast_to(jnp.sum(per_event, axis=-1), y.shape[:-1]).astype(y.dtype)


def align(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    """Gives all arrays the same rank by new leading axes: broadcasting, made explicit."""
    ndim = max(array.ndim for array in arrays)
    return tuple(jnp.expand_dims(array, range(ndim - array.ndim)) for array in arrays)


def safe_norm(x: Float[Array, "... D"]) -> Float[Array, "..."]:
    """Euclidean norm over the last axis, whose gradient at 0 is 0 rather than NaN.

    The largest entry is divided out first: squares of entries of 1e-25 or 1e25 leave float32.
    """
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1))
    positive = largest > 0
    scale = jnp.where(positive, largest, 1)
    scaled = jnp.where(positive[..., None], x, 1) / scale[..., None]
    norm = jnp.sqrt(jnp.sum(scaled * scaled, axis=-1))
    return jnp.where(positive, scale * norm, 0)


def unit_vector(vectors: Float[Array, "... D"]) -> Float[Array, "... D"]:
    """Vectors over their norms, however large or small; those that are all but zero become zero."""
    tiny = float(jnp.finfo(vectors.dtype).tiny)
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(vectors), axis=-1, keepdims=True))
    # The gradient is of the order of 1 / largest, times the event, times its own gradient.
    kept = largest > tiny**0.5
    # Directions do not depend on this scale, so that it needs no gradient. A larger one would have
    # a reciprocal that counts as zero.
    scaled = jnp.where(kept, vectors, 0) / jnp.clip(largest, tiny**0.5, 1 / tiny)
    return scaled / jnp.where(kept, safe_norm(scaled)[..., None], 1)


def matvec(matrix: Float[Array, "... m n"], x: Float[Array, "... n"]) -> Float[Array, "... m"]:
    """`matrix @ x`; batch axes broadcast.

    In the full precision of the dtype: by default accelerators keep fewer bits of a float32 product
    (TF32 keeps ten), and a transpose would undo it to three digits only.
    """
    return jnp.einsum("...ij,...j->...i", matrix, x, precision="highest")


def value_and_slope(
    f: Callable[[jax.Array], jax.Array], x: Float[Array, "..."]
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """An elementwise function and its derivative."""
    return jax.jvp(f, (x,), (jnp.ones_like(x),))
