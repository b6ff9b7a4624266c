"""Meshes of devices, and the roles of their axes."""

from typing import Any

import jax
import jax.core
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

__all__ = [
    "check_mesh",
    "check_rows",
    "params_sharding",
    "rows_sharding",
    "with_automatic_axes",
]

_DATA, _MODEL = "data", "model"
_MIN_WIDTH = 256  # number of columns from which an array is worth dividing


def check_mesh(mesh: Any) -> Mesh:
    """Return the mesh with axes that XLA partitions automatically; raise if its axes are wrong."""
    if not isinstance(mesh, Mesh):
        raise TypeError(
            '`mesh` must be a `jax.sharding.Mesh`, such as `jax.make_mesh((8,), ("data",))`; got '
            f"{mesh!r}."
        )
    if _DATA not in mesh.axis_names or set(mesh.axis_names) - {_DATA, _MODEL}:
        raise ValueError(
            f'`mesh` must have an axis "{_DATA}", over which rows are divided, and may have an '
            f'axis "{_MODEL}", over which wide arrays of parameters are; got {mesh.axis_names}.'
        )
    return _automatic(mesh)


def check_rows(name: str, num_rows: int, mesh: Mesh) -> None:
    """Raise unless the rows can be divided equally."""
    if num_rows % mesh.shape[_DATA]:
        raise ValueError(
            f'`{name}` must be a multiple of the size {mesh.shape[_DATA]} of the axis "{_DATA}" of '
            f"`mesh`; got {num_rows}."
        )


def rows_sharding(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Return a sharding: axis `axis` divided over the devices along "data"."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, _DATA))


def params_sharding(mesh: Mesh, leaf: Any) -> NamedSharding:
    """Replicate across devices, but divide the columns of wide arrays along "model", if any."""
    shape = jnp.shape(leaf)
    size = mesh.shape.get(_MODEL, 1)
    if size > 1 and shape and shape[-1] >= _MIN_WIDTH and shape[-1] % size == 0:
        return NamedSharding(mesh, PartitionSpec(*[None] * (len(shape) - 1), _MODEL))
    return NamedSharding(mesh, PartitionSpec())


def with_automatic_axes(tree: Any) -> Any:
    """Return arrays on a mesh with explicit axes as arrays on the same mesh with automatic ones.

    `jax.make_mesh` makes explicit axes by default. They require every operation to say how its
    result is divided, which loops and lookups cannot. No data move. Traced arrays stay unchanged,
    and so does everything under a mesh from `jax.set_mesh`. The first array decides for all.
    """
    if not any(map(_is_explicit, jax.tree.leaves(tree)[:1])):
        return tree

    def place(leaf):
        if not _is_explicit(leaf):
            return leaf
        sharding = NamedSharding(_automatic(leaf.sharding.mesh), leaf.sharding.spec)
        return jax.device_put(leaf, sharding)

    return jax.tree.map(place, tree)


def _is_explicit(leaf: Any) -> bool:
    return (
        isinstance(leaf, jax.Array)
        and not isinstance(leaf, jax.core.Tracer)
        and isinstance(leaf.sharding, NamedSharding)
        and AxisType.Explicit in leaf.sharding.mesh.axis_types
        and jax.sharding.get_abstract_mesh().empty
    )


def _automatic(mesh: Any) -> Mesh:
    return Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * mesh.devices.ndim)
