"""Placement of the arrays of a fit on devices."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding

from distrax_flows._core.mesh import check_mesh, check_rows, params_sharding, rows_sharding
from distrax_flows.training._data import Batch

__all__ = ["Placement", "here", "placement_on"]


@dataclasses.dataclass(frozen=True)
class Placement:
    """Placement on the devices of a mesh; without one, JAX's default.

    Rows of data are divided over the devices. Parameters are replicated across devices, or also
    divided if they are wide and the mesh has an axis "model"; XLA sums the gradients. With several
    processes, each one holds the same rows, and keeps those of its devices.

    Attributes:
        mesh: as `check_mesh` returns it; or None.
    """

    mesh: Mesh | None

    def batches(self, batches: Any, axis: int) -> Any:
        """Divide batches along `axis`, the axis of rows; replicate everything else."""
        if self.mesh is None:
            return batches
        mesh = self.mesh

        def place(node):
            if not isinstance(node, Batch):
                return _put(node, params_sharding(mesh, ()))
            rows = node.x.shape[axis]
            check_rows("batch_size", rows, mesh)
            return jax.tree.map(lambda leaf: _put(leaf, rows_sharding(mesh, axis)), node)

        return jax.tree.map(place, batches, is_leaf=lambda node: isinstance(node, Batch))

    def data(self, data: Batch) -> Batch:
        """Divide a whole data set, padded with rows of weight zero if necessary."""
        if self.mesh is None:
            return data
        num_rows = len(data.x)
        surplus = -num_rows % rows_sharding(self.mesh).num_devices
        weights = jnp.ones(num_rows) if data.weights is None else data.weights
        weights = jnp.pad(weights * ((num_rows + surplus) / num_rows), (0, surplus))

        def fill(table):
            return jnp.pad(table, ((0, surplus), *[(0, 0)] * (table.ndim - 1)), mode="edge")

        x, context = jax.tree.map(fill, (data.x, data.context))
        return self.batches(Batch(x, context, weights), 0)

    def state(self, tree: Any) -> Any:
        """Place parameters, and arrays of their shapes."""
        mesh = self.mesh
        if mesh is None:
            return tree
        return jax.tree.map(lambda leaf: _put(leaf, params_sharding(mesh, leaf)), tree)

    def keep_state(self, tree: Any) -> Any:
        """Constrain `tree`, inside jit, to the placement of `state`."""
        mesh = self.mesh
        if mesh is None:
            return tree
        shardings = jax.tree.map(lambda leaf: params_sharding(mesh, leaf), tree)
        return jax.lax.with_sharding_constraint(tree, shardings)

    def divide(self, rows: jax.Array) -> jax.Array:
        """Divide rows along their first axis, inside jit."""
        if self.mesh is None:
            return rows
        return jax.lax.with_sharding_constraint(rows, rows_sharding(self.mesh))


def here(tree: Any) -> Any:
    """Return arrays unchanged; gather those that are divided over several processes."""
    if jax.process_count() == 1:
        return tree
    return jax.tree.map(lambda leaf: multihost_utils.process_allgather(leaf, tiled=True), tree)


def placement_on(mesh: Any) -> Placement:
    """Return the placement on a user's mesh, which may be None.

    Raises:
        TypeError: it is not a mesh.
        ValueError: it has other axes than "data" and "model".
    """
    return Placement(None if mesh is None else check_mesh(mesh))


def _put(leaf: jax.Array, sharding: NamedSharding) -> jax.Array:
    """Put an array that every process holds onto the devices of all processes."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _put(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    if sharding.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return leaf  # it is there already
    whole = np.asarray(leaf)
    return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])
