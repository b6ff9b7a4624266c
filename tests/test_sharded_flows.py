"""Every flow inside of `jax.shard_map`, and on arrays whose mesh has explicit axes.

JAX checks what varies over devices when it traces; the numbers of few flows are compared.
Devices are chosen when JAX starts, so that all of it runs in a process of its own.
"""

import os
import subprocess
import sys

import pytest

NUM_DEVICES = 4
# One for each loop there is: over layers, steps of a network, roots, steps of Sylvester.
COMPARED = ("realnvp", "nsf_autoregressive", "bernstein_coupling", "sylvester")


@pytest.mark.slow
def test_flows_on_shards_give_the_numbers_of_one_device():
    environment = os.environ | {
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} "
        f"--xla_force_host_platform_device_count={NUM_DEVICES}"
    }
    command = [sys.executable, "-W", "ignore", __file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "all equal"


def compare(name):
    """Densities and samples of a flow, on shards and on one device."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import AxisType, NamedSharding, PartitionSpec
    from test_flows import build
    from test_modules import jittered

    import distrax_flows as dxf

    everywhere, divided = PartitionSpec(), PartitionSpec("data")
    mesh = jax.make_mesh((NUM_DEVICES,), ("data",), axis_types=(AxisType.Auto,))
    flow = dxf.transform(lambda: build(name, 2, standardize=True))
    x = 3 + 2 * jax.random.normal(jax.random.key(0), (8, 2))
    params = jittered(flow.init(0, x), scale=0.1)
    keys = jax.random.split(jax.random.key(1), NUM_DEVICES)

    def on_a_shard(params, x, keys):
        return flow.log_prob(params, x), flow.sample(params, keys[0], 2)

    sharded = jax.shard_map(
        on_a_shard,
        mesh=mesh,
        in_specs=(everywhere, divided, divided),
        out_specs=(divided, divided),
    )
    explicit = jax.make_mesh((NUM_DEVICES,), ("data",))
    place = NamedSharding(explicit, everywhere)
    rows = jax.device_put(x, NamedSharding(explicit, divided))
    replicated = jax.device_put(params, place)
    if name not in COMPARED:
        jax.jit(sharded).trace(params, x, keys)
        flow.log_prob(replicated, rows)
        return
    log_prob, sample = jax.jit(sharded)(params, x, keys)
    np.testing.assert_allclose(log_prob, flow.log_prob(params, x), atol=1e-4)
    expected = jnp.concatenate([flow.sample(params, key, 2) for key in keys])
    np.testing.assert_allclose(sample, expected, atol=1e-3)
    log_prob = flow.log_prob(replicated, rows)
    np.testing.assert_allclose(log_prob, flow.log_prob(params, x), atol=1e-4)


def fit_explicit():
    """A fit of data that lie on a mesh with explicit axes is the fit of the data."""
    import jax
    import numpy as np
    from jax.sharding import NamedSharding, PartitionSpec

    import distrax_flows as dxf

    flow = dxf.transform(lambda: dxf.flows.nice(2, num_layers=1, hidden_sizes=(4,)))
    x = jax.random.normal(jax.random.key(0), (64, 2))
    mesh = jax.make_mesh((NUM_DEVICES,), ("data",))
    rows = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
    losses = [
        dxf.fit(flow, data, key=0, num_steps=5, batch_size=16).history.loss for data in (x, rows)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def sample_density():
    """Densities that sample by rejection do so on shards, too."""
    import jax
    from jax.sharding import AxisType, PartitionSpec

    import distrax_flows as dxf

    mesh = jax.make_mesh((NUM_DEVICES,), ("data",), axis_types=(AxisType.Auto,))
    rows, density = PartitionSpec("data"), dxf.densities.get("half_circle")

    def sample(keys):
        return density.sample(seed=keys[0], sample_shape=3)

    sharded = jax.shard_map(sample, mesh=mesh, in_specs=rows, out_specs=rows)
    keys = jax.random.split(jax.random.key(0), NUM_DEVICES)
    assert (jax.jit(sharded)(keys)[:3] == sample(keys)).all()


if __name__ == "__main__":
    import test_flows

    for name_ in test_flows.BUILDERS:
        compare(name_)
        print(name_, flush=True)
    fit_explicit()
    sample_density()
    print("all equal")
