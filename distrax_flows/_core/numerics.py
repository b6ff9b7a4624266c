"""Small numerical helpers shared by bijectors and families."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from distrax_flows._core.types import ArrayLike

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
    """Mark a value as expensive to compute, so gradients that store few values store it."""
    return checkpoint_name(x, KEPT)


def soft_clip(x: Float[Array, "..."], bound: float) -> Float[Array, "..."]:
    """Map the real line smoothly into `(-bound, bound)`: `bound * tanh(x / bound)`.

    The slope at 0 is 1, so small parameters stay nearly unchanged and zero stays zero. Log-scales
    and log-slopes pass through this map and never through a bare `exp`, which bounds the condition
    number of every layer.
    """
    return bound * jnp.tanh(x / bound)


def replace_value(x: Float[Array, "..."], value: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return exactly `value`, with the derivative of `x`; `x` is finite and near `value`.

    The two differ by rounding only.

    This is not a custom derivative, because a gradient of a gradient through a scan drops those.
    """
    return jax.lax.stop_gradient(value) + (x - jax.lax.stop_gradient(x))


def hard_clip(
    x: Float[Array, "..."], low: jax.Array | float, high: jax.Array | float
) -> Float[Array, "..."]:
    """Clip values that leave `[low, high]` only by rounding; see `replace_value`."""
    return replace_value(x, jnp.clip(x, low, high))


def vary_like(tree: Any, *others: Any) -> Any:
    """Give the arrays of a pytree the varying axes of others.

    Within `jax.shard_map`, types say over which mesh axes an array varies. The carry of a loop must
    start with the axes it ends with, so constants get the axes of what the loop reads. Elsewhere
    this adds no operation.
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
    """Broadcast a per-dimension log-det to the events `y`, and sum over the last axis.

    distrax silently sums a log-det without the batch shape to a scalar. So every bijector here
    returns the full batch shape, even if its Jacobian is constant.
    """
    # Sum before broadcasting over batch axes: repeated values need only one sum.
    per_event = jnp.broadcast_to(log_det, log_det.shape[:-1] + y.shape[-1:])
    return jnp.broadcast_to(jnp.sum(per_event, axis=-1), y.shape[:-1]).astype(y.dtype)


def align(*arrays: ArrayLike) -> tuple[jax.Array, ...]:
    """Give all arrays the same rank by new leading axes, for explicit broadcasting."""
    ndim = max(array.ndim for array in arrays)
    return tuple(jnp.expand_dims(array, range(ndim - array.ndim)) for array in arrays)


def safe_norm(x: Float[Array, "... D"]) -> Float[Array, "..."]:
    """Return the Euclidean norm over the last axis; its gradient at 0 is 0, not NaN.

    Entries are first divided by the largest, as squares of 1e-25 or 1e25 leave float32's range.
    """
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1))
    positive = largest > 0
    scale = jnp.where(positive, largest, 1)
    scaled = jnp.where(positive[..., None], x, 1) / scale[..., None]
    norm = jnp.sqrt(jnp.sum(scaled * scaled, axis=-1))
    return jnp.where(positive, scale * norm, 0)


def unit_vector(vectors: Float[Array, "... D"]) -> Float[Array, "... D"]:
    """Return vectors over their norms, of any size; vectors close to zero become zero."""
    tiny = float(jnp.finfo(vectors.dtype).tiny)
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(vectors), axis=-1, keepdims=True))
    # The gradient is of the order of 1 / largest, times the event, times its own gradient.
    kept = largest > tiny**0.5
    # Directions do not depend on this scale, so it needs no gradient. The reciprocal of a larger
    # scale would count as zero.
    scaled = jnp.where(kept, vectors, 0) / jnp.clip(largest, tiny**0.5, 1 / tiny)
    return scaled / jnp.where(kept, safe_norm(scaled)[..., None], 1)


def matvec(matrix: Float[Array, "... m n"], x: Float[Array, "... n"]) -> Float[Array, "... m"]:
    """Return `matrix @ x`; batch axes broadcast.

    Computed in the full precision of the dtype. By default, accelerators keep fewer bits of a
    float32 product (TF32 keeps ten), and a transpose would undo it to only three digits.
    """
    return jnp.einsum("...ij,...j->...i", matrix, x, precision="highest")


def value_and_slope(
    f: Callable[[jax.Array], jax.Array], x: Float[Array, "..."]
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Return an elementwise function and its derivative."""
    return jax.jvp(f, (x,), (jnp.ones_like(x),))
