"""Checkpoints: interrupted fits continue, to the bit; errors name bad ones and the previous one."""

import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

import distrax_flows as dxf
from distrax_flows.training._checkpoints import Checkpoints

pytest.importorskip("orbax.checkpoint")

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32) * [1.0, 3.0]
X = X.astype(np.float32)
FLOW = dxf.transform(lambda: dxf.flows.nice(2, num_layers=2, hidden_sizes=(8,)))
SCHEDULE = optax.adam(optax.cosine_decay_schedule(1e-2, 40))
OPTIONS = {
    "key": KEY,
    "num_steps": 40,
    "batch_size": 16,
    "eval_every": 5,
    "optimizer": SCHEDULE,
    "checkpoint_seconds": 0,
}


def assert_same(actual: dxf.Fit, expected: dxf.Fit) -> None:
    """The same bits, but for times."""
    jax.tree.map(np.testing.assert_array_equal, actual.params, expected.params)
    for name in ("loss", "grad_norm", "evaluated_steps", "validation_loss", "stopped_early"):
        np.testing.assert_array_equal(
            getattr(actual.history, name), getattr(expected.history, name), name
        )
    assert actual.history.seconds.shape == expected.history.seconds.shape
    assert np.isfinite(actual.history.seconds).all()


def stop_after(steps):
    def callback(step, params):
        if step == steps:
            raise KeyboardInterrupt

    return callback


def stateful():
    def make(is_training):
        batch_norm = dxf.modules.BatchNormLayer(is_training)
        between = dxf.modules.compose(batch_norm, lambda x: dxf.Reverse())
        return dxf.flows.nice(2, num_layers=2, hidden_sizes=(8,), between=between)

    return dxf.transform_with_state(make)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flow", "options"),
    [
        (FLOW, {}),
        (FLOW, {"ema_decay": 0.9, "validation": 0.25, "patience": 2}),
        (FLOW, {"key": jax.random.split(KEY, 2), "validation": X[:20], "weights": abs(X[:, 0])}),
        (stateful(), {"validation": 0.25}),
    ],
    ids=["plain", "average-and-validation", "ensemble", "stateful"],
)
def test_a_resumed_fit_is_the_undisturbed_one(tmp_path, flow, options):
    options = OPTIONS | options
    undisturbed = dxf.fit(flow, X, **options)
    for steps in (5, 20):
        with pytest.raises(dxf.FitInterrupted):
            dxf.fit(
                flow, X, checkpoint_dir=tmp_path, resume=True, callback=stop_after(steps), **options
            )
    resumed = dxf.fit(flow, X, checkpoint_dir=tmp_path, resume=True, **options)
    assert_same(resumed, undisturbed)
    # A fit that is over has its end as a checkpoint.
    assert_same(dxf.fit(flow, X, checkpoint_dir=tmp_path, resume=True, **options), undisturbed)
    assert len(list(tmp_path.glob("[0-9]*"))) == 3  # max_to_keep
    settings = next(tmp_path.glob("40/settings/*")).read_text()
    assert "dxf.flows.nice(2, num_layers=2" in settings
    assert jax.__version__ in settings


@pytest.mark.slow
def test_fresh_draws_and_iterators_resume(tmp_path):
    def draw(key):
        return jax.random.normal(key, (8, 2))

    stream = jax.vmap(draw)(jax.random.split(KEY, 40))
    for name, make in (("function", lambda: draw), ("iterator", lambda: iter(stream))):
        options = OPTIONS | {"checkpoint_dir": tmp_path / name, "resume": True}
        undisturbed = dxf.fit(FLOW, make(), **OPTIONS)
        with pytest.raises(dxf.FitInterrupted):
            dxf.fit(FLOW, make(), callback=stop_after(15), **options)
        assert_same(dxf.fit(FLOW, make(), **options), undisturbed)


def test_more_steps_may_be_asked_for(tmp_path):
    constant = {"optimizer": optax.sgd(0.05), "checkpoint_dir": tmp_path, "resume": True}
    dxf.fit(FLOW, X, **OPTIONS | constant | {"num_steps": 20})
    longer = dxf.fit(FLOW, X, **OPTIONS | constant)
    undisturbed = dxf.fit(FLOW, X, **OPTIONS | {"optimizer": constant["optimizer"]})
    assert_same(longer, undisturbed)


def test_an_error_keeps_what_was_reached(tmp_path):
    def fail(step, params):
        if step == 15:
            raise RuntimeError("of the caller's")

    options = OPTIONS | {"checkpoint_dir": tmp_path, "checkpoint_seconds": 1e6}
    with pytest.raises(RuntimeError, match="of the caller's"):
        dxf.fit(FLOW, X, callback=fail, **options)
    assert [path.name for path in tmp_path.glob("[0-9]*")] == ["15"]
    assert_same(dxf.fit(FLOW, X, resume=True, **options), dxf.fit(FLOW, X, **OPTIONS))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Checkpoints of steps 30, 35 and 40."""
    folder = tmp_path_factory.mktemp("finished")
    dxf.fit(FLOW, X, checkpoint_dir=folder, **OPTIONS)
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def data_file(folder: Path) -> Path:
    """The largest file: the arrays."""
    return max((path for path in folder.rglob("*") if path.is_file()), key=os.path.getsize)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "removed", "settings"])
def test_a_damaged_checkpoint_is_refused_and_the_one_before_offered(copy, damage):
    file = data_file(copy / "40" / ("settings" if damage == "settings" else "content"))
    content = bytearray(file.read_bytes())
    if damage == "removed":
        file.unlink()
    elif damage == "flipped":
        content[len(content) // 2] ^= 0x10
        file.write_bytes(content)
    else:
        file.write_bytes(content[: len(content) // 2])
    options = OPTIONS | {"checkpoint_dir": copy}
    with pytest.raises(dxf.CheckpointError) as caught:
        dxf.fit(FLOW, X, resume=True, **options)
    message = str(caught.value)
    assert message.startswith(f"The checkpoint of step 40 in {copy} cannot be read: ")
    assert "`resume=35` continues from the previous one." in message
    assert_same(dxf.fit(FLOW, X, resume=35, **options), dxf.fit(FLOW, X, **OPTIONS))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 8}, "`batch_size` is 16 there and 8 here. Give the arguments of the first"),
        ({"key": jax.random.key(1)}, r"`key` is \[0, 0\] there and \[0, 1\] here"),
        (
            {"ema_decay": 0.5},
            "`ema_decay` is None there and 0.5 here. Give the arguments of the first",
        ),
        ({"optimizer": optax.sgd(0.1)}, r"is float32\[2, 8\] there and missing here; .*Build the"),
        ({"num_steps": 41, "eval_every": 41}, "`chunk` is 5 there and 41 here"),
        ({"resume": 7}, r"`resume` must be True or one of the steps \[30, 35, 40\]"),
        ({"resume": False}, "`checkpoint_dir` must hold no checkpoints; got one with steps"),
    ],
)
def test_a_checkpoint_of_another_fit_is_refused(copy, change, message):
    with pytest.raises((dxf.CheckpointError, ValueError), match=message):
        dxf.fit(FLOW, X, **OPTIONS | {"checkpoint_dir": copy, "resume": True} | change)
    assert len(list(copy.glob("[0-9]*"))) == 3


def test_a_checkpoint_of_another_flow_is_refused(copy):
    other = dxf.transform(lambda: dxf.flows.nice(2, num_layers=3, hidden_sizes=(8,)))
    with pytest.raises(
        dxf.CheckpointError, match=r"of another fit: `state.+` is float32\[2, .*there.*\[3, .*here"
    ):
        dxf.fit(other, X, **OPTIONS | {"checkpoint_dir": copy, "resume": True})


def test_other_versions_give_a_warning(copy, monkeypatch):
    from distrax_flows._core import versions

    monkeypatch.setattr(versions, "_PACKAGES", ("jax",))
    with pytest.warns(RuntimeWarning, match="was written by other versions.*`numpy` is"):
        dxf.fit(FLOW, X, **OPTIONS | {"checkpoint_dir": copy, "resume": True})


def test_a_folder_without_checkpoints_is_a_start(tmp_path):
    (tmp_path / "5.orbax-checkpoint-tmp").mkdir()  # left over by a crash
    dxf.fit(FLOW, X, **OPTIONS | {"checkpoint_dir": tmp_path, "resume": True})
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"30", "35", "40"}


CHILD = """
import resource, signal, sys, warnings
sys.path.insert(0, {tests!r})
import jax, numpy as np
import distrax_flows as dxf
from test_checkpoints import FLOW, OPTIONS, X
"""


def run_child(code: str) -> subprocess.CompletedProcess:
    code = CHILD.format(tests=str(Path(__file__).parent)) + textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_full_disk_is_reported_and_older_checkpoints_stay(tmp_path):
    # No file may grow beyond 100 bytes between steps 10 and 20: as if the disk were full.
    child = run_child(
        f"""
        def fill(step, params):
            size = 100 if 10 <= step < 20 else resource.RLIM_INFINITY
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

        try:
            dxf.fit(FLOW, X, checkpoint_dir={str(tmp_path / "raise")!r}, callback=fill, **OPTIONS)
        except dxf.CheckpointError as error:
            print("raised:", error)
            assert len(error.fit.history.loss) in (10, 15)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fit = dxf.fit(
                FLOW, X, checkpoint_dir={str(tmp_path / "warn")!r}, callback=fill,
                on_save_error="warn", **OPTIONS,
            )
        print("warned:", [w.message for w in caught if "could not be written" in str(w.message)])
        print("steps:", len(fit.history.loss))
        """
    )
    assert child.returncode == 0, child.stderr
    raised, warned, steps = child.stdout.strip().splitlines()
    assert raised.startswith(f"raised: A checkpoint could not be written to {tmp_path / 'raise'}, ")
    # That of step 10 was being written when the disk filled up.
    assert re.search("that of step (5|10) is whole", raised)
    assert "File too large" in raised
    assert raised.endswith("Make room, or choose another `checkpoint_dir`.")
    assert re.search("that of step (5|10) is whole", warned)
    assert steps == "steps: 40"
    # What was written once there was room again is whole.
    assert {path.name for path in (tmp_path / "warn").glob("[0-9]*")} >= {"30", "35", "40"}
    undisturbed = dxf.fit(FLOW, X, **OPTIONS)
    for name in ("raise", "warn"):
        options = OPTIONS | {"checkpoint_dir": tmp_path / name, "resume": True}
        assert_same(dxf.fit(FLOW, X, **options), undisturbed)


@pytest.mark.slow
def test_ctrl_c_on_a_full_disk_keeps_the_fit(tmp_path):
    child = run_child(
        f"""
        def interrupt(step, params):
            if step == 10:
                resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
                raise KeyboardInterrupt

        try:
            dxf.fit(FLOW, X, callback=interrupt, **OPTIONS | {{
                "checkpoint_dir": {str(tmp_path)!r}, "checkpoint_seconds": 1e6,
            }})
        except dxf.FitInterrupted as error:
            print(len(error.fit.history.loss), error)
        """
    )
    assert child.stdout.startswith("10 Interrupted after 10 of 40 steps. A checkpoint could not be")


def test_ctrl_c_saves_and_ends(tmp_path):
    child = run_child(
        f"""
        def interrupt(step, params):
            if step == 15:
                signal.raise_signal(signal.SIGINT)

        # A shell makes what it runs in the background deaf to it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        dxf.fit(FLOW, X, callback=interrupt, **OPTIONS | {{
            "checkpoint_dir": {str(tmp_path)!r}, "checkpoint_seconds": 1e6,
        }})
        """
    )
    assert child.returncode != 0
    assert "FitInterrupted: Interrupted after 15 of 40 steps." in child.stderr
    resumed = dxf.fit(FLOW, X, **OPTIONS | {"checkpoint_dir": tmp_path, "resume": True})
    assert_same(resumed, dxf.fit(FLOW, X, **OPTIONS))


LONG = OPTIONS | {"num_steps": 600, "validation": 0.25, "ema_decay": 0.9}


def fit_until_killed(folder: str, pipe) -> None:
    """A child of the test below."""
    jax.config.update("jax_compilation_cache_dir", f"{folder}-compiled")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    fitted = dxf.fit(
        FLOW,
        X,
        checkpoint_dir=folder,
        resume=True,
        callback=lambda step, params: pipe.send(step),
        **LONG,
    )
    pipe.send(jax.tree.map(np.asarray, fitted))


def complete_steps(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit())


@pytest.mark.slow
def test_twenty_kills_lose_nothing_but_the_steps_since_the_last_checkpoint(tmp_path):
    # Modules are imported once, before any of JAX's threads start.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["distrax_flows", "orbax.checkpoint", "test_checkpoints"])
    draw = random.Random(0)
    folder = tmp_path / "checkpoints"
    kills, fitted = 0, None
    while fitted is None:
        ours, theirs = context.Pipe(duplex=False)
        before = complete_steps(folder)
        child = context.Process(target=fit_until_killed, args=(str(folder), theirs))
        child.start()
        theirs.close()
        first = ours.recv()
        assert not before or first == before[-1]  # it went on from the last that was complete
        if kills < 20:
            time.sleep(draw.uniform(0.0, 1.2))
            complete = complete_steps(folder)
            os.kill(child.pid, signal.SIGKILL)
            child.join()
            kills += 1
            after = complete_steps(folder)
            assert not complete or after[-1] >= complete[-1]
            read_all(folder)
        else:
            message = 0
            while isinstance(message, int):
                message = ours.recv()
            fitted = message
            child.join()
    assert kills == 20
    assert_same(fitted, dxf.fit(FLOW, X, **LONG))


def read_all(folder: Path) -> None:
    """Raises unless every checkpoint can be read."""
    with Checkpoints(folder, {}, seconds=0, max_to_keep=3, on_error="raise") as keeper:
        for step in keeper.steps():
            content = keeper._manager.restore(step)
            assert content["settings"]["fixed"]["batch_size"] == 16
            arrays, checksums = content["content"]
            assert len(arrays) == len(checksums)
