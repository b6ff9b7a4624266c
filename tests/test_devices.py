"""Eight devices and two processes: the same results as one device."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import on_devices
import pytest

import distrax_flows as dxf

pytest.importorskip("orbax.checkpoint")

SCRIPT = Path(__file__).parent / "on_devices.py"


def start(job: str, num_devices: int, *arguments: object) -> subprocess.Popen:
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={num_devices}"
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), job, *map(str, arguments)],
        env=os.environ | {"XLA_FLAGS": flags},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    return output


def load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as arrays:
        return dict(arrays)


def assert_close(actual, expected, name: str) -> None:
    """The same to rounding: sums over devices have another order."""
    np.testing.assert_allclose(actual, expected, rtol=2e-4, atol=2e-5, err_msg=name)


def loss_on_one_device() -> np.ndarray:
    key = on_devices.key()
    return dxf.fit(on_devices.FLOW, on_devices.X, key=key, **on_devices.FIT).history.loss


@pytest.mark.slow
def test_eight_devices_do_what_one_does(tmp_path):
    finish(start("compare", 8, tmp_path))
    one = load(tmp_path / "None.npz")
    assert_close(one["loss"], loss_on_one_device(), "loss")
    for mesh in ("data", "model"):
        eight = load(tmp_path / f"{mesh}.npz")
        assert one.keys() == eight.keys()
        for name in one:
            assert_close(eight[name], one[name], f"{mesh}: {name}")
    # Draws are made where they lie: no device holds all of them.
    program = load(tmp_path / "program.npz")
    assert program["part"]
    assert not program["whole"]
    # A step adds up the gradients of a layer, in a loop over layers, and the loss; no more.
    assert program["sums"] == 2
    assert not program["gathers"]


@pytest.mark.slow
def test_checkpoints_move_between_layouts(tmp_path):
    finish(start("move", 8, tmp_path))
    expected = loss_on_one_device()
    for name in ("None-data", "data-model", "model-None"):
        assert_close(load(tmp_path / f"{name}.npz")["loss"], expected, name)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_two(folder: Path, pause: float) -> list[subprocess.Popen]:
    port = free_port()
    return [start("take_part", 2, folder, index, port, pause) for index in range(2)]


@pytest.mark.slow
def test_two_processes_one_killed_and_both_resumed(tmp_path):
    first, second = start_two(tmp_path, pause=0.5)
    line = ""
    while line != "step 20\n":
        line = second.stdout.readline()
        assert line, second.stderr.read()[-3000:]
    second.kill()
    _, errors = first.communicate(timeout=60)  # an error within a minute
    assert first.returncode not in (0, None)
    assert "another task died" in errors or "Error" in errors
    second.communicate()
    steps = [int(path.name) for path in (tmp_path / "checkpoints").glob("*") if path.name.isdigit()]
    assert 10 in steps

    outputs = [finish(process) for process in start_two(tmp_path, pause=0.0)]
    expected = loss_on_one_device()
    for index, output in enumerate(outputs):
        steps = re.findall(r"^step (\d+)$", output, re.MULTILINE)
        assert steps[0] in ("10", "20")
        assert steps[-1] == "40"
        assert "The loss is nan and its gradient has norm nan at step 0" in output
        assert_close(load(tmp_path / f"{index}.npz")["loss"], expected, f"process {index}")
    draws = np.concatenate([load(tmp_path / f"{index}.npz")["draws"] for index in range(2)])
    assert draws.shape == (64, 2)
    assert len(np.unique(draws[:, 0])) == 64


@pytest.mark.usefixtures("wrong_types")
@pytest.mark.parametrize(
    ("mesh", "error", "message"),
    [
        (8, TypeError, "`mesh` must be a `jax.sharding.Mesh`"),
        (("batch",), ValueError, '`mesh` must have an axis "data"'),
        (("data", "pipe"), ValueError, '`mesh` must have an axis "data"'),
    ],
)
def test_meshes_that_are_refused(mesh, error, message):
    flow = dxf.transform(lambda: dxf.flows.nice(2, num_layers=1, hidden_sizes=(4,)))
    x = np.random.default_rng(0).normal(size=(16, 2)).astype(np.float32)
    params = flow.init(jax.random.key(0), x)
    if isinstance(mesh, tuple):
        mesh = jax.make_mesh((1,) * len(mesh), mesh)
    with pytest.raises(error, match=message):
        dxf.fit(flow, x, key=jax.random.key(0), num_steps=1, batch_size=8, mesh=mesh)
    with pytest.raises(error, match=message):
        flow.sample(params, jax.random.key(0), (8,), mesh=mesh)


def test_draws_on_a_mesh_need_an_axis_to_divide():
    flow = dxf.transform(lambda: dxf.flows.nice(2, num_layers=1, hidden_sizes=(4,)))
    params = flow.init(jax.random.key(0), np.zeros((1, 2), np.float32))
    mesh = jax.make_mesh((1,), ("data",))
    with pytest.raises(ValueError, match=r"divides the first axis of `sample_shape`.*got .*=\(\)"):
        flow.sample(params, jax.random.key(0), (), mesh=mesh)
    with pytest.raises(ValueError, match="does not go together with a batch size"):
        flow.sample(params, jax.random.key(0), (8,), mesh=mesh, batch_size=4)
