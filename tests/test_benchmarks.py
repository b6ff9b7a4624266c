"""Benchmarks: they run, compare like with like, and write their measurements."""

import csv
import dataclasses
import functools
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("tyro")

from experiments._table import Table
from experiments.benchmarks import _timing, accelerator, images, precision, scaling, soak
from experiments.benchmarks.peers import __main__ as peers
from experiments.benchmarks.peers.contestants import make
from experiments.benchmarks.peers.settings import FLOWS, MEASURES, Settings, Size

SMALL = Size(batch=6, event=4, layers=2, hidden=8)


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("flow", FLOWS)
def test_all_have_networks_of_equal_sizes(flow):
    ours, bare = make("ours", flow, SMALL), make("bare", flow, SMALL)
    assert ours.num_params == bare.num_params
    alone = make("distrax", flow, SMALL)
    assert (alone is None) == (flow in ("maf", "nsf_autoregressive"))
    assert alone is None or alone.num_params == ours.num_params


@pytest.mark.parametrize("library", ["ours", "unrolled", "bare", "distrax"])
def test_a_step_trains(library):
    contestant = make(library, "realnvp", SMALL)
    losses = [float(contestant.calls["train step"]()) for _ in range(50)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("library", ["flowjax", "zuko"])
@pytest.mark.parametrize("flow", FLOWS)
def test_peers_make_flows_of_the_same_shapes(library, flow):
    pytest.importorskip(library)
    contestant = make(library, flow, SMALL)
    assert np.shape(contestant.calls["log_prob"]()) == (SMALL.batch,)
    assert np.shape(contestant.calls["sample"]()) == (SMALL.batch, SMALL.event)
    assert contestant.num_params == pytest.approx(make("ours", flow, SMALL).num_params, rel=0.3)


@pytest.mark.slow
def test_table_and_picture(tmp_path):
    settings = Settings(
        flows=("realnvp",), libraries=("bare", "ours"), starts=False, quick=True, output=tmp_path
    )
    peers.main(settings)
    table = read(tmp_path / "peers.csv")
    assert [(row["measure"], row["library"]) for row in table] == [
        (measure, library) for measure in MEASURES for library in settings.libraries
    ]
    for row in table:
        low, middle, high = (float(row[name]) for name in ("ratio_q25", "ratio", "ratio_q75"))
        assert 0 < low <= middle <= high
        assert float(row["median_ms"]) > 0
        assert row["library"] != "ours" or low == high == 1
    assert 0 < (tmp_path / "peers.png").stat().st_size < 300_000


@pytest.mark.slow
def test_starts_are_measured_in_a_process_of_their_own():
    found = peers.measure_starts("ours", "realnvp", SMALL)
    assert set(found) == {"train step", "sample"}
    assert all(start["compile_s"] > 0.01 for start in found.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(flows=("glow",)), "`flows` must be one of .*got 'glow'"),
        (Settings(libraries=("bare",)), "`libraries` must hold 'ours'"),
        (Settings(libraries=()), "`libraries` must hold at least one"),
        (Settings(min_rounds=0), "`min_rounds` must be at least 1"),
    ],
)
def test_refusals(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        peers.main(dataclasses.replace(settings, output=tmp_path))


@pytest.mark.slow
def test_scaling(tmp_path):
    settings = scaling.Settings(flows=("realnvp",), quick=True, output=tmp_path)
    scaling.main(settings)
    table = read(tmp_path / "scaling.csv")
    sizes = {(row["varied"], row["size"]) for row in table}
    assert {("depth", "1"), ("depth", "2"), ("event_size", "4"), ("batch_size", "10")} <= sizes
    assert all(float(row[cost]) > 0 for row in table for cost in ("compile_s", "run_ms"))
    assert 0 < (tmp_path / "scaling.png").stat().st_size < 300_000
    with pytest.raises(ValueError, match="`flows` must be one of"):
        scaling.main(scaling.Settings(flows=("flow",), output=tmp_path))


@pytest.mark.slow
def test_images(capsys):
    images.main(images.Settings(quick=True, num_scales=1, depths=(1,)))
    text = capsys.readouterr().out
    for title in ("training step", "steps a scale", "round trip after 4 steps", "64 patches"):
        assert title in text
    assert "nan" not in text


@pytest.mark.slow
def test_accelerator_rehearses_on_the_cpu(tmp_path, capsys):
    accelerator.main(accelerator.Settings(output=tmp_path))
    assert "a rehearsal on the CPU" in capsys.readouterr().out
    (folder,) = tmp_path.iterdir()
    for name in ("agreement.csv", "peers.csv", "precision.csv", "toys/results.csv"):
        assert (folder / name).exists(), name
    table = read(folder / "agreement.csv")
    assert {(row["flow"], row["precision"]) for row in table} == {
        (flow, name) for flow in ("realnvp", "maf") for name in accelerator.PRECISIONS
    }
    for row in table:
        assert bool(row["pass_against_steps"]) == (row["flow"] == "maf")
        for cell in ("pass_against_steps", "round_trip", "log_det", "log_prob"):
            assert float(row[cell] or 0) < 1e-4, cell


@pytest.mark.slow
def test_precision(tmp_path):
    settings = precision.Settings(
        flows=("realnvp",),
        event_size=4,
        num_layers=2,
        hidden_size=8,
        batch_size=6,
        repeats=3,
        num_steps=2,
        output=tmp_path,
    )
    precision.main(settings)
    single, half = read(tmp_path / "precision.csv")
    assert (single["networks"], half["networks"]) == ("float32", "bfloat16")
    assert float(single["ratio"]) == 1
    # Eight bits against twenty-four.
    assert float(single["log_prob_error"]) < 1e-4 < float(half["log_prob_error"]) < 1
    assert float(half["round_trip_max"]) < 1e-4


class Clock:
    """`time` of a machine whose threads are busy for a while after a call."""

    def __init__(self):
        self.now, self.used, self.busy_until = 0.0, 0.0, 0.0

    def perf_counter(self):
        return self.now

    def process_time(self):
        return self.used

    def sleep(self, seconds):
        self.used += min(max(self.busy_until - self.now, 0.0), seconds)
        self.now += seconds

    def call(self, seconds, spin):
        """A call of so many seconds, twice as many while threads of another call are busy."""
        self.now += seconds * (2 if self.now < self.busy_until else 1)
        self.busy_until = self.now + spin


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(_timing, "time", clock)
    return clock


def test_no_call_is_timed_while_the_threads_of_another_are_busy(clock):
    calls = {"spins": lambda: clock.call(0.003, 0.04), "rests": lambda: clock.call(0.002, 0.0)}
    times = _timing.milliseconds(calls, repeats=9)
    np.testing.assert_allclose(times["rests"], 2.0)
    # Its own threads are what it usually finds.
    np.testing.assert_allclose(times["spins"], 6.0)


def test_threads_that_never_rest_are_not_waited_for(clock):
    times = _timing.milliseconds({"spins": lambda: clock.call(0.003, 1e9)}, repeats=2)
    np.testing.assert_allclose(times["spins"], 6.0)
    assert clock.now < 3


def test_every_round_has_an_order_of_its_own(clock):
    """The same in every run; no function always follows the same one."""
    runs = []
    for _ in range(2):
        called = []
        calls = {name: functools.partial(called.append, name) for name in "abcd"}
        _timing.milliseconds(calls, repeats=20)
        timed = called[4:][1::2]
        assert timed == called[4:][::2]  # each after one of its own that is not timed
        rounds = [timed[start : start + 4] for start in range(0, len(timed), 4)]
        assert len(rounds) == 20
        assert all(sorted(order) == list("abcd") for order in rounds)
        runs.append(timed)
    assert runs[0] == runs[1]
    follows = {(first, then) for first, then in itertools.pairwise(timed) if first != then}
    assert len(follows) == 12


@pytest.mark.slow
def test_soak(tmp_path):
    settings = soak.Settings(num_steps=60, life=20, every=10, output=tmp_path)
    soak.main(settings)
    rows = read(tmp_path / "soak.csv")
    assert [(row["part"], int(row["step"])) for row in rows] == [
        (part, step) for part in soak.PARTS for step in range(10, 61, 10)
    ]
    assert [row["lives"] for row in rows] == ["1"] * 12 + list("112233")
    assert 0 < (tmp_path / "soak.png").stat().st_size < 300_000


@pytest.mark.slow
def test_soak_tells_a_real_interrupt_from_its_own(tmp_path, monkeypatch):
    add = Table.add

    def add_or_interrupt(table, row):
        add(table, row)
        if len(table.rows) == 15:  # in the second life of the third fit
            raise KeyboardInterrupt

    monkeypatch.setattr(Table, "add", add_or_interrupt)
    with pytest.raises(KeyboardInterrupt):
        soak.main(soak.Settings(num_steps=60, life=20, every=10, output=tmp_path))
    rows = read(tmp_path / "soak.csv")
    assert (len(rows), rows[-1]["lives"]) == (15, "2")


def test_slopes_are_exponents():
    rows = [
        {"flow": "maf", "varied": "depth", "size": str(size), "measure": "sample"}
        | {"compile_s": str(size), "run_ms": str(3 * size**2), "memory_mb": str(size**-1)}
        for size in (1, 2, 4, 8)
    ]
    assert scaling.slopes(rows) == [["maf", "depth", "sample", "1.00", "2.00", "-1.00"]]


@pytest.mark.parametrize("named", [True, False])
def test_what_is_compiled_is_kept(named, tmp_path):
    code = """
import jax
from experiments._common import use_compilation_cache
use_compilation_cache()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.jit(lambda x: x + 1)(1.0)
"""
    environ = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    environ["XDG_CACHE_HOME"] = str(tmp_path)
    folder = tmp_path / "distrax_flows" / "jax"
    if named:
        folder = tmp_path / "other"
        environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    subprocess.run([sys.executable, "-c", code], env=environ, check=True)
    assert any(folder.iterdir())
    assert named == (tmp_path / "other").exists()
