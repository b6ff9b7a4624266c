"""The command line `distrax-flows`."""

import functools
import io
import json
import os
import platform
import re
import subprocess
import sys

import jax
import numpy as np
import polars as pl
import pytest

import distrax_flows as dxf
from distrax_flows import supports, tables
from distrax_flows.interfaces.command_line import _commands, _files, _kinds, main
from distrax_flows.interfaces.command_line._errors import UsageError

RNG = np.random.default_rng(0)
NUM = 60
QUICK = {"num-layers": 1, "hidden-sizes": 8, "num-bins": 2, "num-members": 1, "num-steps": 10}
QUICK = ["--eval-every=10", *(f"--{name}={value}" for name, value in QUICK.items()), "--quiet"]

# A byte order mark, spaces, quotes, NA, Python's booleans, names of rows and leading zeros.
MESSY = "\ufeffid, price ,angle,smoker,city,zip,when\n" + "".join(
    f"row{i}, {'NA' if i == 3 else f'{np.exp(RNG.normal()):.3f}'} ,{RNG.uniform(0, 360):.1f},"
    f'{RNG.choice(["True", "False"])},"{RNG.choice(["São Paulo", "Oslo "])}",'
    f"0{RNG.choice([12, 34])},2024-01-{1 + i % 28:02d}\n"
    for i in range(NUM)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the messy table, and a density of it, which the first test makes."""
    path = tmp_path_factory.mktemp("messy")
    (path / "data.csv").write_text(MESSY, encoding="utf-8")
    args = ["fit", path / "data.csv", "--output", path / "model", "--drop", "id", "when"]
    args += ["--drop-missing", "--columns", "zip=category", "angle=circle:0:360", *QUICK]
    assert main([str(arg) for arg in args]) == 0
    return path


def run(capsys, *args):
    """Exit code, stdout and stderr of a command."""
    try:
        code = main([str(arg) for arg in args])
    except SystemExit as exit:
        code = exit.code
    return code, *capsys.readouterr()


def test_a_fit_writes_its_density_and_configuration(folder):
    density = dxf.TableDensity.load(folder / "model" / "density.flow")
    written = json.loads((folder / "model" / "configuration.json").read_text(encoding="utf-8"))
    assert written["columns"] == {
        "price": "log_scale",
        "angle": "circle:0:360",
        "smoker": "category",
        "city": "category",
        "zip": "category",
    }
    assert written["recipe"]["num_steps"] == 10
    assert written["facts"]["rows"] == NUM - 1
    levels = {column.name: column.levels for column in density.spec.columns}
    assert levels["city"] == ("Oslo", "São Paulo")
    assert levels["zip"] == ("012", "034")


def test_scores_are_those_of_python(folder, capsys):
    density = dxf.TableDensity.load(folder / "model" / "density.flow")
    table = _files.read(str(folder / "data.csv"), ["zip"]).drop_nulls().drop("when")
    log_prob = density.log_prob(table)
    args = ("score", folder / "model", folder / "data.csv", "--drop-missing")
    code, out, _ = run(capsys, *args)
    assert code == 0
    error = log_prob.std(ddof=1) / np.sqrt(NUM - 1)
    assert f"{log_prob.mean():.4f} +- {error:.4f} nats per row (59 rows)" in out
    code, out, err = run(capsys, *args, "--rows")
    rows = pl.read_csv(io.StringIO(out))
    assert code == 0
    assert "mean log-density" in err
    assert rows["row"].to_list() == [i for i in range(NUM) if i != 3]
    np.testing.assert_allclose(rows["log_prob"].to_numpy(), log_prob)


def test_samples_go_to_stdout_or_files_and_can_be_scored(folder, capsys, monkeypatch):
    code, out, _ = run(capsys, "sample", folder / "model", 20, "--seed", 1)
    assert code == 0
    table = pl.read_csv(io.StringIO(out), schema_overrides={"zip": pl.String})
    assert table.columns == ["price", "angle", "smoker", "city", "zip"]
    assert len(table) == 20
    assert set(table["zip"]) <= {"012", "034"}
    path = folder / "samples.parquet"
    assert run(capsys, "sample", folder / "model", 20, "--seed", 1, "--output", path)[:2] == (0, "")
    np.testing.assert_allclose(pl.read_parquet(path)["price"], table["price"])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(out.encode())))
    assert run(capsys, "score", folder / "model", "-")[1].endswith("(20 rows)\n")
    assert run(capsys, "score", folder / "model", path)[1].endswith("(20 rows)\n")


@pytest.mark.parametrize(
    ("log_prob", "text"),
    [
        ([1.0, 3.0], "mean log-density: 2.0000 +- 1.0000 nats per row (2 rows)"),
        ([1.0], "mean log-density: 1.0000 nats per row (1 rows)"),
        (
            [1.0, -np.inf, 3.0],
            "mean log-density: -inf, as 1 of 3 rows are outside the support; 2.0000 without them",
        ),
        ([-np.inf], "mean log-density: -inf, as 1 of 1 rows are outside the support"),
    ],
)
def test_scores_in_words(log_prob, text):
    assert _commands._summary(np.array(log_prob)) == text


def test_info_and_plots(folder, capsys):
    code, out, _ = run(capsys, "info", folder / "model")
    assert (code, out.splitlines()[0]) == (0, "TableDensity of 5 columns")
    assert run(capsys, "info", folder / "model" / "density.flow")[1] == out
    args = ("plot", folder / "model", folder / "data.csv", "--output", folder / "picture.png")
    assert run(capsys, *args, "--drop-missing", "--num", 50)[0] == 0
    assert (folder / "picture.png").stat().st_size > 10_000


def test_what_an_interrupted_fit_reached_is_saved(folder, capsys, monkeypatch):
    density = dxf.TableDensity.load(folder / "model" / "density.flow")

    def interrupted(*args, **kwargs):
        raise tables.TableInterrupted("Interrupted after 5 of 10 steps.", density)

    monkeypatch.setattr(_commands, "fit_table", interrupted)
    args = ("fit", folder / "data.csv", "--drop", "id", "when", "--drop-missing")
    code, _, err = run(capsys, *args, "--output", folder / "partial")
    assert code == 130
    assert "Interrupted after 5 of 10 steps. It is saved in" in err
    assert run(capsys, "info", folder / "partial")[0] == 0


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ("fit", 2, "[Rr]equired.*DATA.*--output"),
        ("fit {data} --output {new} --flow glow", 2, "invalid choice:? 'glow'.*nsf_coupling"),
        ("fit {data} --output {new} --num-layers 0", 2, "`num_layers` must be an integer"),
        ("fit {data} --output {new} --columns angle=circl", 2, "NAME=KIND.*got 'angle=circl'"),
        ("fit {data} --output {new} --drop ID", 2, "column 'ID'; got.*Perhaps 'id' is meant"),
        ("fit {data} --output {new} --columns prize=real", 2, "Perhaps 'price' is meant"),
        ("fit {data} --output {model}", 2, "not hold a density yet.*--overwrite"),
        ("fit {data} --output {data}", 2, "`--output` must be a folder; got the file"),
        ("fit {data}.xlsx --output {new}", 2, "file that ends in one of .csv"),
        ("fit nowhere.csv --output {new}", 1, "nowhere.csv: No such file"),
        ("fit {data} --output {new}", 1, "missing ones: 1 in 'price', of 60 rows. `--drop-miss"),
        (
            "fit {data} --output {new} --drop-missing",
            1,
            "Column 'id' must have at most 50.*Column 'when' must hold numbers.*--drop id when",
        ),
        ("score {model} {data}", 1, "missing ones: 1 in 'price'"),
        ("score {model} {data} --output rows.csv", 2, "add `--rows`"),
        ("score nowhere {data}", 1, "`MODEL` must exist; got 'nowhere'"),
        ("score {folder} {data}", 1, "`MODEL` must be a folder that `fit` wrote"),
        ("info {data}", 1, "data.csv"),
        ("sample {model} 0", 2, "`NUM` must be an integer of at least 1; got 0"),
        ("sample {model} ten", 2, "ten"),
        ("sample {model} 5 --output rows.xlsx", 2, "`--output` must end in one of .csv"),
        ("sample {model} 5 --output nowhere/rows.csv", 2, "folder that exists"),
        ("sample {model} 5 --output {folder}/rows.npy", 1, "smoker.*hold no numbers"),
        ("plot {model} {data} --output {folder}/picture.txt", 2, "must end in one of .png"),
    ],
)
def test_errors_name_the_value_and_the_cure(folder, capsys, args, code, message):
    names = {"data": folder / "data.csv", "model": folder / "model", "folder": folder}
    found, out, err = run(capsys, *args.format(**names, new=folder / "new").split())
    assert found == code
    assert out.replace("1 of 60 rows left out: values are missing\n", "") == ""
    text = " ".join(err.replace("│", " ").split())
    assert re.search(message, text), text
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["", "fit", "score", "sample", "info", "plot"])
def test_help_teaches(capsys, command):
    code, out, _ = run(capsys, *command.split(), "--help")
    assert code == 0
    assert f"distrax-flows {command}" in out
    if command:
        assert "For example" in out
    if command == "fit":
        assert "hidden units of each network. (default: by the size" in " ".join(
            out.replace("│", " ").split()
        )


def test_the_version_is_printed_with_those_that_reports_need(capsys):
    code, out, err = run(capsys, "--version")
    assert (code, err) == (0, "")
    versions = f"JAX {jax.__version__}, Python {platform.python_version()}"
    assert out == f"distrax-flows {dxf.__version__} ({versions})\n"


def test_a_missing_package_is_named_with_its_extra(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tyro", None)
    for name in [name for name in sys.modules if name.endswith("command_line._commands")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(sys.modules["distrax_flows.interfaces.command_line"], "_commands")
    code, _, err = run(capsys, "info", "model")
    assert code == 1
    assert "tyro is missing: pip install 'distrax_flows[cli]'" in err


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("real", supports.real()),
        ("positive", supports.positive()),
        ("log_scale", supports.log_scale()),
        ("above:-1.5", supports.above(-1.5)),
        ("below:9", supports.below(9.0)),
        ("interval:0:4.5", supports.interval(0.0, 4.5)),
        ("circle", supports.circle()),
        ("circle:-pi:pi", supports.circle()),
        ("circle:0:2pi", supports.circle(0.0, 2 * np.pi)),
        ("integer", supports.integer()),
        ("integer:0", supports.integer(0)),
        ("integer:0:10", supports.integer(0, 10)),
        ("integer::10", supports.integer(None, 10)),
        ("category", tables.category()),
    ],
)
def test_kinds_are_read_and_written(text, kind):
    assert _kinds.parse_kinds([f"a=b={text}"]) == {"a=b": kind}
    if not isinstance(kind, tables.Category):
        x = np.arange(1.0, 4.0)
        (column,) = tables._columns.read_columns({"x": x}, {"x": "float64"}, {"x": kind})
        assert _kinds.parse_kinds([f"x={_kinds.kind_of(column)}"]) == {"x": kind}


@pytest.mark.parametrize(
    "text",
    ["x", "=real", "x=", "x=above", "x=above:low", "x=interval:1:0", "x=integer:0.5", "real"],
)
def test_bad_kinds_are_refused(text):
    with pytest.raises(UsageError, match="`--columns` must"):
        _kinds.parse_kinds([text])


TABLE = {"a": np.array([1.5, 2.5, -3.0]), "n": np.array([1, 2, 3])}


@pytest.mark.parametrize("suffix", sorted({*_files.INPUTS} & {*_files.OUTPUTS}))
def test_files_of_all_kinds_are_read_and_written(tmp_path, suffix):
    path = str(tmp_path / f"table{suffix}")
    _files.write(pl.DataFrame(TABLE), path)
    frame = _files.read(path)
    names = ["x0", "x1"] if suffix == ".npy" else ["a", "n"]
    assert frame.columns == names
    np.testing.assert_array_equal(frame.to_numpy(), np.stack([*TABLE.values()], axis=1))


@pytest.mark.parametrize(
    "write",
    [
        functools.partial(np.save, arr=np.array([(1.5, 1), (2.5, 2)], [("a", ">f4"), ("n", int)])),
        functools.partial(np.savez, a=np.array([1.5, 2.5]), n=np.array([1, 2])),
        functools.partial(np.savez, x=np.array([[1.5, 1], [2.5, 2]], ">f8")),
    ],
    ids=["records", "columns", "matrix"],
)
def test_arrays_are_tables(tmp_path, write):
    path = tmp_path / ("x.npy" if write.func is np.save else "x.npz")
    write(path)
    assert _files.read(str(path)).to_numpy().tolist() == [[1.5, 1], [2.5, 2]]


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("a;b\n1;2\n", {"a": [1], "b": [2]}),
        ("a;b;c\n1,5;2;x,y\n-0,5;3;z\n", {"a": [1.5, -0.5], "b": [2, 3], "c": ["x,y", "z"]}),
        ("a;b\n1.5;2\n", {"a": [1.5], "b": [2]}),
        ("1,5;2\n0,5;3\n", {"x0": [1.5, 0.5], "x1": [2, 3]}),
        ("\ufeff a ,b\n1,2\n", {"a": [1], "b": [2]}),
        ("a\tb\n1\t2\n", {"a": [1], "b": [2]}),
        ("1.5,2\n3,4\n", {"x0": [1.5, 3.0], "x1": [2, 4]}),
        ("2,2\n3,4\n", {"x0": [2, 3], "x1": [2, 4]}),
        ("a,b\n 1,x \n 2,NA\n", {"a": [1, 2], "b": ["x", None]}),
        ("a\n1\nnan\n", {"a": [1.0, None]}),
        ("a\n1\n2\n0.5\n", {"a": [1.0, 2.0, 0.5]}),
    ],
)
def test_csv_is_understood(tmp_path, text, columns):
    (tmp_path / "x.csv").write_text(text)
    assert _files.read(str(tmp_path / "x.csv")).to_dict(as_series=False) == columns


def test_unicode_text_of_spreadsheets_is_csv(tmp_path):
    (tmp_path / "x.csv").write_bytes("a\tort\n1\tZürich\n".encode("utf-16"))
    assert _files.read(str(tmp_path / "x.csv")).row(0) == (1, "Zürich")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"", "csv format; got: empty"),
        ("x.csv", b"a,b\n1,2,3\n", "csv format"),
        ("x.csv", b"a, a,b\n1,2,3\n", "got: 2 columns named 'a'; rename them"),
        ("x.csv", b"a\n\xe9\n", "utf-8.*iconv"),
        ("x.parquet", b"a,b\n", "parquet format"),
        ("x.npy", b"a,b\n", "npy format"),
        ("x.npz", b"a,b\n", "npz format"),
    ],
)
def test_damaged_files_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        _files.read(str(tmp_path / name))


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_a_closed_pipe_and_wrong_arguments_are_quiet(folder):
    """One process, as imports take seconds: the shell closes the pipe at once."""
    command = f"{sys.executable} -m distrax_flows sample {folder / 'model'} 5000 | true; "
    done = subprocess.run(
        ["bash", "-c", command + "exit ${PIPESTATUS[0]}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_fits_tables_are_read(tmp_path):
    table = pytest.importorskip("astropy.table")
    flux = np.ma.array([1.5, 2.5, 3.5], mask=[False, True, False])
    rows = table.Table({"name": ["a", "b", "c"], "counts": [3, 4, 5], "flux": flux})
    path = tmp_path / "stars.fits"
    rows.write(path)
    frame = _files.read(str(path))
    assert frame.to_dict(as_series=False) == {
        "name": ["a", "b", "c"],
        "counts": [3, 4, 5],
        "flux": [1.5, None, 3.5],
    }
    table.Table({"image": np.ones((3, 2))}).write(path, overwrite=True)
    with pytest.raises(ValueError, match=r"stars.fits.*got \(2,\) of them in 'image'"):
        _files.read(str(path))
