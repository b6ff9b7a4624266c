"""Experiments as commands: settings given with `--quick` win, and Ctrl-C keeps finished rows."""

import csv
import dataclasses
import importlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

tyro = pytest.importorskip("tyro")

from experiments import _command  # noqa: E402

REPOSITORY = Path(__file__).parents[1]
EXPERIMENTS = REPOSITORY / "experiments"
# All there are: modules with `if __name__ == "__main__"` that make settings a command.
NAMES = [
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__main__")
    for path in sorted(EXPERIMENTS.rglob("*.py"))
    if "import" in (text := path.read_text()) and '\n    run("' in text
]


def settings_of(name):
    """The settings of an experiment, and what quick stands for in them."""
    for module in (f"{name}.settings", f"{name}.__main__", name):
        try:
            settings = importlib.import_module(module).Settings
        except ModuleNotFoundError:
            continue
        usual, quick = (dataclasses.asdict(settings(quick=quick)) for quick in (False, True))
        return settings, usual, {k: v for k, v in quick.items() if v != usual[k]}
    raise AssertionError(name)


def parse(name, *args, monkeypatch):
    settings, _, _ = settings_of(name)
    seen = []
    monkeypatch.setattr(sys, "argv", [name, *args])
    _command.run(name, seen.append, settings)
    return seen[0]


def test_all_experiments_are_commands():
    folders = {path.parent.name for path in EXPERIMENTS.glob("*/__main__.py")}
    assert folders | {"rotation"} == {n.split(".")[1] for n in NAMES} - {"benchmarks"}
    benchmarks = {p.stem for p in (EXPERIMENTS / "benchmarks").glob("[!_]*.py")} | {"peers"}
    assert benchmarks == {n.split(".")[2] for n in NAMES if n.split(".")[1] == "benchmarks"}


@pytest.mark.parametrize("name", NAMES)
def test_quick_supplies_defaults_and_what_is_given_wins(name, monkeypatch):
    settings, usual, small = settings_of(name)
    assert set(small) > {"quick"}
    assert parse(name, monkeypatch=monkeypatch) == settings()
    assert parse(name, "--quick", monkeypatch=monkeypatch) == settings(quick=True)
    assert parse(name, "--quick", "--no-quick", monkeypatch=monkeypatch) == settings()
    # Each setting that quick has another default of, given as it usually is.
    for field in set(small) - {"quick"}:
        value = usual[field]
        if value is None:  # nothing on the command line stands for it
            continue
        values = value if isinstance(value, tuple) else (value,)
        option = [f"--{field.replace('_', '-')}", *map(str, values)]
        for args in ([*option, "--quick"], ["--quick", *option]):
            found = dataclasses.asdict(parse(name, *args, monkeypatch=monkeypatch))
            assert found == usual | small | {field: value}
        given = dataclasses.asdict(settings(quick=True, **{field: value}))
        assert given == usual | small | {field: value}


def test_quick_wins_nothing_back_later():
    settings, _, _ = settings_of("experiments.rotation")
    given = settings(quick=True, num_steps=50_000)
    assert dataclasses.replace(given, seed=1).num_steps == 50_000


def test_other_settings_beside_quick(monkeypatch):
    args = ["--num-steps", "50000", "--quick", "--num-layers", "3", "--seeds", "4", "5"]
    found = parse("experiments.tabular", *args, monkeypatch=monkeypatch)
    assert (found.num_steps, found.num_layers, found.seeds) == (50_000, 3, (4, 5))
    assert found.hidden_sizes == (16,)


def test_help_says_what_quick_stands_for(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        parse("experiments.rotation", "--help", monkeypatch=monkeypatch)
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "stands for --num-steps 500 --num-samples 2000, unless given" in told
    assert "Training steps, each on all the data." in told


def test_an_interrupt_is_one_line(monkeypatch, capsys, tmp_path):

    def main(settings):
        raise KeyboardInterrupt("Interrupted after 15 of 40 steps.\nSaved.")

    settings, _, _ = settings_of("experiments.rotation")
    monkeypatch.setattr(sys, "argv", ["rotation", "--output", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        _command.run("experiments.rotation", main, settings)
    assert caught.value.code == 130
    told = capsys.readouterr().err
    assert told == (f"Interrupted after 15 of 40 steps. Saved. Finished rows are in {tmp_path}.\n")


@pytest.fixture
def hears():
    """Processes started now hear Ctrl-C: a shell makes what it runs in the background deaf."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def start(*command):
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_ctrl_c_keeps_the_rows_that_are_finished(hears, tmp_path):
    process = start(
        "-m", "experiments.gaussian_mixtures", "--quick", "--dimensions", 1, "--num-steps", 100,
        "--flows", "planar", "radial", "bernstein", "--num-draws", 100, "--output", tmp_path,
    )  # fmt: skip
    table = tmp_path / "results.csv"
    while not table.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    (line,) = told.splitlines()
    assert line.startswith("Interrupted")
    assert line.endswith(f"Finished rows are in {tmp_path}.")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["flow"] == "planar"
    assert len(rows) < 3
    assert all(float(row["nll"]) > 0 for row in rows)


@pytest.mark.slow
def test_ctrl_c_while_it_starts(hears, tmp_path):
    """Imports take seconds, and may swallow an exception."""
    process = start("-X", "importtime", "-m", "experiments.rotation", "--output", tmp_path)
    # It says what it has imported, as soon as it has; the rest of the imports goes on.
    while process.stderr.readline().split()[-1:] != ["numpy"]:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    lines = [line for line in told.splitlines() if not line.startswith("import time:")]
    assert lines == ["Interrupted."]
