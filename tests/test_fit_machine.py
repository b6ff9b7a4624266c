"""State machine of interrupted and damaged fits: they end with the bits of undisturbed ones."""

import shutil
import tempfile
import threading
from pathlib import Path

import hypothesis
import jax
import numpy as np
import optax
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

import distrax_flows as dxf

pytest.importorskip("orbax.checkpoint")

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
FLOW = dxf.transform(lambda: dxf.flows.nice(2, num_layers=1, hidden_sizes=(4,)))
OPTIMIZER = optax.adam(optax.cosine_decay_schedule(1e-2, 60))
OPTIONS = {
    "key": KEY,
    "num_steps": 60,
    "batch_size": 16,
    "eval_every": 5,
    "validation": 0.25,
    "ema_decay": 0.9,
    "optimizer": OPTIMIZER,
    "progress": False,
}


def loss_and_params(fitted: dxf.Fit) -> list[np.ndarray]:
    history = fitted.history
    return [
        history.loss,
        history.validation_loss,
        *(np.asarray(leaf) for leaf in jax.tree.leaves(fitted.params)),
    ]


def assert_same(actual: dxf.Fit, expected: dxf.Fit) -> None:
    for a, b in zip(loss_and_params(actual), loss_and_params(expected), strict=True):
        np.testing.assert_array_equal(a, b)


class FitMachine(RuleBasedStateMachine):
    """A fit that is interrupted, fails, loses checkpoints, and is resumed."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())

    def teardown(self):
        assert_same(self.run(), dxf.fit(FLOW, X, **OPTIONS))
        shutil.rmtree(self.folder)

    def run(self, **changes) -> dxf.Fit:
        options = OPTIONS | {"checkpoint_dir": self.folder, "checkpoint_seconds": 0} | changes
        return dxf.fit(FLOW, X, resume=True, **options)

    def steps(self) -> list[int]:
        return sorted(int(path.name) for path in self.folder.glob("*") if path.name.isdigit())

    @rule(chunks=st.integers(1, 4), error=st.sampled_from([KeyboardInterrupt, RuntimeError]))
    def end_early(self, chunks, error):
        first = self.steps()[-1] if self.steps() else 0
        last = min(first + 5 * chunks, 60)

        def callback(step, params):
            if step == last:
                raise error

        with pytest.raises((dxf.FitInterrupted, RuntimeError)):
            self.run(callback=callback)
        assert self.steps()[-1] == last

    @rule(num_steps=st.sampled_from([20, 40]))
    def ask_for_fewer_steps(self, num_steps):
        fitted = self.run(num_steps=num_steps)
        assert len(fitted.history.loss) >= num_steps

    @precondition(lambda self: len(self.steps()) > 1)
    @rule()
    def lose_the_last_checkpoint(self):
        shutil.rmtree(self.folder / str(self.steps()[-1]))

    @precondition(lambda self: len(self.steps()) > 1)
    @rule(share=st.floats(0.0, 0.9))
    def damage_the_last_checkpoint(self, share):
        *_, before, last = self.steps()
        files = [path for path in (self.folder / str(last)).rglob("*") if path.is_file()]
        largest = max(files, key=lambda path: path.stat().st_size)
        largest.write_bytes(largest.read_bytes()[: int(share * largest.stat().st_size)])
        with pytest.raises(dxf.CheckpointError, match=f"`resume={before}`"):
            self.run()
        options = OPTIONS | {"checkpoint_dir": self.folder, "num_steps": before}
        dxf.fit(FLOW, X, resume=before, **options)

    @rule()
    def leave_a_half_written_one(self):
        (self.folder / "999.orbax-checkpoint-tmp").mkdir(exist_ok=True)


TestFitMachine = pytest.mark.slow(FitMachine.TestCase)
TestFitMachine.settings = hypothesis.settings(max_examples=6, stateful_step_count=6, deadline=None)


@pytest.mark.slow
def test_fits_in_one_process_do_not_disturb_each_other(tmp_path):
    changes = [{}, {"key": jax.random.key(1)}, {"batch_size": 8}, {"non_finite": "skip"}]
    alone = [dxf.fit(FLOW, X, **OPTIONS | change) for change in changes]

    together: dict[int, dxf.Fit] = {}

    def work(index):
        folder = tmp_path / str(index)
        options = OPTIONS | changes[index] | {"checkpoint_dir": folder, "checkpoint_seconds": 0}
        together[index] = dxf.fit(FLOW, X, **options)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(changes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, fitted in enumerate(alone):
        assert_same(together[index], fitted)

    # One inside of another.
    inner = []
    outer = dxf.fit(
        FLOW,
        X,
        **OPTIONS
        | {
            "callback": lambda step, params: inner.append(
                dxf.fit(FLOW, X, **OPTIONS | {"num_steps": 5 if step else 60} | changes[1])
            )
        },
    )
    assert_same(outer, alone[0])
    assert_same(inner[0], alone[1])
