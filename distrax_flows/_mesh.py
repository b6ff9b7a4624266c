"""Meshes of devices: which of their axes stands for what."""

from typing import Any

import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

__all__ = ["check_mesh", "check_rows", "params_sharding", "rows_sharding"]

_DATA, _MODEL = "data", "model"
_MIN_WIDTH = 256  # columns of an array worth dividing


def check_mesh(mesh: Any) -> Mesh:
    """Returns the mesh with axes that XLA partitions by itself, or raises."""
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
    return Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * mesh.devices.ndim)


def check_rows(name: str, num_rows: int, mesh: Mesh) -> None:
    """Raises unless so many rows can be divided equally."""
    if num_rows % mesh.shape[_DATA]:
        raise ValueError(
            f'`{name}` must be a multiple of the size {mesh.shape[_DATA]} of the axis "{_DATA}" of '
            f"`mesh`; got {num_rows}."
        )


def rows_sharding(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Axis `axis` divided over the devices along "data"."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, _DATA))


def params_sharding(mesh: Mesh, leaf: Any) -> NamedSharding:
    """On all devices alike; but the columns of wide arrays are divided along "model", if any."""
    shape = jnp.shape(leaf)
    size = mesh.shape.get(_MODEL, 1)
    if size > 1 and shape and shape[-1] >= _MIN_WIDTH and shape[-1] % size == 0:
        return NamedSharding(mesh, PartitionSpec(*[None] * (len(shape) - 1), _MODEL))
    return NamedSharding(mesh, PartitionSpec())
