"""Every kind of bijector inside `jax.shard_map`, in a process with eight devices."""

import sys

import cases
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

ONE, EACH = PartitionSpec(), PartitionSpec("data")


def try_directions(case: cases.Case, mesh: jax.sharding.Mesh, *, run: bool) -> None:
    """Values and gradients of both directions, with shared parameters and with each device's own.

    All are traced, which is where JAX checks what varies; few are compiled and compared.
    """
    numbers = np.random.default_rng(0).uniform(-1.0, 1.0, size=(8, *case.event_shape))
    x, raw = jnp.asarray(case.place(numbers), jnp.float32), case.raw()
    own = jnp.stack([raw] * 8)
    image = jax.eval_shape(case.build(raw).forward, x)
    for direction in ("forward", "inverse"):
        x = x if direction == "forward" else x.reshape(image.shape)

        def total(raw, x, direction=direction):
            y, log_det = getattr(case.build(raw), f"{direction}_and_log_det")(x)
            return jnp.sum(y) + jnp.sum(log_det), (y, log_det)

        gradients = jax.grad(total, (0, 1), has_aux=True)

        def total_of_shards(raw, x, total=total):
            def summed(raw, x):
                return jax.lax.psum(total(raw, x)[0], "data")

            return jax.shard_map(summed, mesh=mesh, in_specs=(ONE, EACH), out_specs=ONE)(raw, x)

        def of_own(own, x, gradients=gradients):
            return jax.tree.map(lambda leaf: leaf[None], gradients(own[0], x))

        inside = jax.shard_map(
            gradients, mesh=mesh, in_specs=(ONE, EACH), out_specs=((ONE, EACH), (EACH, EACH))
        )
        outside = jax.grad(total_of_shards, (0, 1))
        varying = jax.shard_map(of_own, mesh=mesh, in_specs=(EACH, ONE), out_specs=EACH)
        for function, params in ((inside, raw), (outside, raw), (varying, own)):
            jax.eval_shape(function, params, x)
        if run:
            expected = jax.jit(gradients)(raw, x)
            np_close(jax.jit(inside)(raw, x), expected)
            np_close(jax.jit(outside)(raw, x), expected[0])


def np_close(got: object, expected: object) -> None:
    """Compares pytrees to rounding: sums over devices have another order."""
    for a, b in zip(*map(jax.tree.leaves, (got, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


if __name__ == "__main__":
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    compared = sys.argv[1:]
    for case in cases.CASES:
        if case.name in cases.VARIANTS.difference(compared):
            continue
        try:
            try_directions(case, mesh, run=case.name in compared)
        except Exception as error:
            error.add_note(f"Raised by the row {case}.")
            raise
