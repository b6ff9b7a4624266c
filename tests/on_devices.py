"""Jobs of the tests of many devices, run in separate processes: `python on_devices.py JOB ...`.

The environment variable `XLA_FLAGS` sets the number of devices.
"""

import contextlib
import re
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import distrax_flows as dxf
from distrax_flows._core.mesh import check_mesh
from distrax_flows.training._data import Batch
from distrax_flows.training._placement import placement_on
from distrax_flows.training._steps import Steps, _take
from distrax_flows.training._trainable import trained_names
from distrax_flows.training.objectives import MaximumLikelihood

SCALE = np.array([1.0, 3.0], np.float32)
X = np.random.default_rng(0).normal(size=(203, 2)).astype(np.float32) * SCALE
FLOW = dxf.transform(lambda: dxf.flows.realnvp(2, num_layers=2, hidden_sizes=(256,)))
FIT = {"num_steps": 40, "batch_size": 16, "eval_every": 10, "validation": 0.1}
FIT |= {"ema_decay": 0.9, "checkpoint_seconds": 0}
MESHES = {"data": ((8,), ("data",)), "model": ((4, 2), ("data", "model"))}


def key() -> jax.Array:
    """The only one; not a constant, as processes find each other before JAX computes."""
    return jax.random.key(0)


def log_density(x):
    return -0.5 * jnp.sum((x / SCALE) ** 2, axis=-1)


def mesh_of(name: str | None) -> jax.sharding.Mesh | None:
    return None if name is None else jax.make_mesh(*MESHES[name])


def results(mesh: jax.sharding.Mesh | None, folder: str | None = None) -> dict[str, np.ndarray]:
    """Losses, draws and parameters, by name."""
    checkpoints = {} if folder is None else {"checkpoint_dir": folder, "resume": True}
    fitted = dxf.fit(FLOW, X, mesh=mesh, key=key(), **FIT, **checkpoints)
    several = dxf.fit(FLOW, X, mesh=mesh, key=jax.random.split(key(), 2), **FIT)
    reverse = dxf.fit_to_density(
        FLOW, log_density, key=key(), num_steps=20, num_samples=64, mesh=mesh
    )
    # Of parameters that depend on nothing but the key.
    params = FLOW.init(key(), X)
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)
    draws, log_prob = FLOW.sample_and_log_prob(params, key(), (64, 3), mesh=mesh)
    if mesh is not None:
        assert draws.sharding.num_devices == mesh.size
    named = {
        "loss": fitted.history.loss,
        "grad_norm": fitted.history.grad_norm,
        "validation_loss": fitted.history.validation_loss,
        "several": several.history.loss,
        "reverse": reverse.history.loss,
        "draws": draws,
        "log_prob": log_prob,
    }
    leaves = enumerate(jax.tree.leaves(fitted.params))
    return {name: np.asarray(value) for name, value in named.items()} | {
        f"params {index}": np.asarray(leaf) for index, leaf in leaves
    }


def compare(folder: str) -> None:
    """Fits and draws on each mesh; and what of the work each device does."""
    for name in (None, "data", "model"):
        np.savez(Path(folder, f"{name}.npz"), **results(mesh_of(name)))
    mesh = mesh_of("data")
    with pytest.raises(ValueError, match="`num_samples` must be a multiple of the size 8"):
        dxf.fit_to_density(FLOW, log_density, key=key(), num_steps=1, num_samples=12, mesh=mesh)
    params = FLOW.init(key(), X)
    FLOW.sample(params, key(), (4000,), mesh=mesh)
    draw = FLOW._apply_on[check_mesh(mesh)]
    program = draw.lower(params, None, "sample", None, False, key(), (4000,)).compile().as_text()
    step = step_program(mesh)
    np.savez(
        Path(folder, "program.npz"),
        sums=len(re.findall(r" all-reduce(?:-start)?\(", step)),
        gathers="all-gather" in step,
        whole="f32[4000" in program,
        part="f32[500" in program,
    )


def step_program(mesh: jax.sharding.Mesh) -> str:
    """What a device runs to make steps."""
    placement = placement_on(mesh)
    params = FLOW.init(key(), X)
    trained = trained_names(params, None)
    objective, optimizer = MaximumLikelihood(), optax.adam(1e-3)
    steps = Steps(FLOW, objective, optimizer, None, False, placement, trained)
    state = steps.start(params, None, None, ())
    batches = placement.batches(Batch(jnp.zeros((10, 16, 2))), 1)
    return _take.lower(steps, state, batches, jax.random.split(key(), 10)).compile().as_text()


def move(folder: str) -> None:
    """Half of a fit on one layout of devices, the other half on another."""
    for first, second in ((None, "data"), ("data", "model"), ("model", None)):
        path = f"{folder}/{first}-{second}"

        def stop(step, params):
            if step == 20:
                raise KeyboardInterrupt

        options = FIT | {"key": key(), "checkpoint_dir": path, "resume": True}
        with contextlib.suppress(dxf.FitInterrupted):
            dxf.fit(FLOW, X, mesh=mesh_of(first), callback=stop, **options)
        fitted = dxf.fit(FLOW, X, mesh=mesh_of(second), **options)
        np.savez(Path(folder, f"{first}-{second}.npz"), loss=fitted.history.loss)


def take_part(folder: str, process: str, port: str, pause: str) -> None:
    """One of two processes that fit together."""
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, int(process), heartbeat_timeout_seconds=10)
    mesh = jax.make_mesh((len(jax.devices()),), ("data",))

    def callback(step, params):
        print("step", step, flush=True)
        time.sleep(float(pause))

    checkpoints = {"checkpoint_dir": f"{folder}/checkpoints", "resume": True}
    fitted = dxf.fit(FLOW, X, mesh=mesh, callback=callback, key=key(), **FIT, **checkpoints)
    draws = FLOW.sample(fitted.params, key(), (64,), mesh=mesh)
    mine = np.concatenate([np.asarray(shard.data) for shard in draws.addressable_shards])
    np.savez(Path(folder, f"{process}.npz"), loss=fitted.history.loss, draws=mine)
    print("done", flush=True)

    def lost(key):
        return jnp.full((16, 2), jnp.nan)

    try:
        dxf.fit(FLOW, lost, key=key(), num_steps=2, params=fitted.params, mesh=mesh)
    except dxf.NonFiniteError as error:
        print(str(error)[:60], flush=True)


if __name__ == "__main__":
    jobs = {"compare": compare, "move": move, "take_part": take_part}
    jobs[sys.argv[1]](*sys.argv[2:])
