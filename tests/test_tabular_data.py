"""The data of the tabular experiment: files of each kind, splits, and the sets of papers."""

import sys

import numpy as np
import pytest

pytest.importorskip("sklearn")
h5py = pytest.importorskip("h5py")
pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

from experiments.tabular import datasets, maf_sets, published  # noqa: E402
from experiments.tabular.files import read_table  # noqa: E402

TABLE = np.array([[1.5, -2.0, 3.0], [4.0, 5.25, -6.0]], np.float32)


def gaussian(num, size, seed=0):
    return np.random.default_rng(seed).normal(size=(num, size))


def rows(splits):
    return np.concatenate([splits.train, splits.validation, splits.test])


def sorted_rows(x):
    return x[np.lexsort(x.T)]


def write_parquet(path, columns):
    parquet.write_table(pyarrow.table(columns), path)


def write_hdf5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


# Files.


@pytest.mark.parametrize("header", ["", "a,b,c\n", '"a, in m",b,c\n', "\n# label,b,c\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_csv(tmp_path, header, start):
    path = tmp_path / "table.csv"
    path.write_text(f"{start}{header}1.5,-2,3\n4.0,5.25,-6e0\n\n", encoding="utf-8")
    np.testing.assert_array_equal(read_table(path), TABLE)


def test_csv_of_one_column_and_one_row(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("1\n2\n")
    np.testing.assert_array_equal(read_table(path), [[1], [2]])
    path.write_text("1,2\n")
    np.testing.assert_array_equal(read_table(path), [[1, 2]])


def test_npy_is_mapped(tmp_path):
    np.save(tmp_path / "table.npy", TABLE)
    table = read_table(str(tmp_path / "table.npy"))
    assert isinstance(table, np.memmap)
    assert not table.flags.writeable
    np.testing.assert_array_equal(table, TABLE)


def test_npz(tmp_path):
    np.savez(tmp_path / "one.npz", x=TABLE)
    np.testing.assert_array_equal(read_table(tmp_path / "one.npz"), TABLE)
    np.savez(tmp_path / "two.npz", x=TABLE, y=2 * TABLE)
    np.testing.assert_array_equal(read_table(f"{tmp_path}/two.npz:y"), 2 * TABLE)


def test_parquet(tmp_path):
    columns = {
        "float": pyarrow.array([0.5, None], pyarrow.float32()),
        "int": pyarrow.array([1, 2], pyarrow.int64()),
        "bool": [True, False],
    }
    write_parquet(tmp_path / "table.parquet", columns)
    table = read_table(tmp_path / "table.parquet")
    np.testing.assert_array_equal(table, [[0.5, 1, 1], [np.nan, 2, 0]])


@pytest.mark.parametrize("ending", ["h5", "hdf5", "H5"])
def test_hdf5_is_mapped(tmp_path, ending):
    path = tmp_path / f"table.{ending}"
    write_hdf5(path, **{"group/x": TABLE})
    table = read_table(path)
    assert isinstance(table, np.memmap)
    np.testing.assert_array_equal(table, TABLE)
    write_hdf5(path, x=TABLE, y=2 * TABLE)
    np.testing.assert_array_equal(read_table(f"{path}:/y"), 2 * TABLE)


@pytest.mark.parametrize(
    "options",
    [
        {"data": TABLE, "chunks": (1, 3)},
        {"data": TABLE, "compression": "gzip"},
        {"data": TABLE, "dtype": ">f8"},
        {"data": TABLE, "dtype": "i4"},
        {"shape": (2, 3), "dtype": "f4"},  # never written: zeros
    ],
)
def test_hdf5_that_cannot_be_mapped_is_read(tmp_path, options):
    with h5py.File(tmp_path / "table.h5", "w", userblock_size=512) as file:
        file.create_dataset("x", **options)
    table = read_table(tmp_path / "table.h5")
    expected = TABLE.astype(options.get("dtype", "f4")) if "data" in options else 0 * TABLE
    np.testing.assert_array_equal(table, expected)
    assert table.dtype.kind == "f"
    assert table.dtype.isnative


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool])
def test_integers_become_floats(tmp_path, dtype):
    np.save(tmp_path / "table.npy", np.eye(3, dtype=dtype))
    table = read_table(tmp_path / "table.npy")
    assert table.dtype == np.float32
    np.testing.assert_array_equal(table, np.eye(3))


def refused(path, message):
    with pytest.raises(ValueError, match=message):
        read_table(path)


def test_paths_refused(tmp_path):
    refused(tmp_path / "table.txt", r"`path` must end in one of \['.csv', .*got path=.*table.txt'")
    refused(tmp_path / "table.csv", r"`path` must name a file that exists; got path=.*table.csv'")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least one row"),
        ("\n\n", "at least one row"),
        ("a,b\n", "at least one row"),
        ("a,b\n\n", "at least one row"),
        ("a,b,c\n1,x,2\n1,2,y\n", r"got text, or nothing, in the columns \['b', 'c'\]"),
        ("1,2\n1,x\n", r"in the columns \['column 1'\]"),
        ("a,b\n1,\n", r"in the columns \['b'\]"),
        ("1,2\n1,2,3\n", "in rows of one length.* changed from 2 to 3"),
    ],
)
def test_csv_refused(tmp_path, text, message):
    (tmp_path / "table.csv").write_text(text)
    refused(tmp_path / "table.csv", message)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([["a", "b"]]), "must hold real numbers; got the type <U1"),
        (np.array([["a", 1]], object), "must hold an array of numbers.*Python objects"),
        (np.zeros((2, 2), complex), "must hold real numbers; got the type complex128"),
        (np.zeros(3), r"must hold a table, \[N, D\]; got the shape \(3,\)"),
        (np.zeros((0, 3)), r"at least one row and column; got \(0, 3\)"),
        (np.zeros((3, 0)), r"at least one row and column; got \(3, 0\)"),
    ],
)
def test_npy_refused(tmp_path, array, message):
    np.save(tmp_path / "table.npy", array)
    refused(tmp_path / "table.npy", message)


def test_arrays_not_chosen_are_refused(tmp_path):
    np.savez(tmp_path / "table.npz", x=TABLE, y=TABLE)
    refused(tmp_path / "table.npz", r"one array, or `path` name one of \['x', 'y'\].*table.npz:x")
    refused(f"{tmp_path}/table.npz:z", r"`path` must name one of \['x', 'y'\].*got 'z'")
    write_hdf5(tmp_path / "table.h5", x=TABLE, **{"group/y": TABLE})
    refused(tmp_path / "table.h5", r"`path` name one of \['group/y', 'x'\]")
    refused(f"{tmp_path}/table.h5:group", "must name one of.*got 'group'")


def test_parquet_and_hdf5_refused(tmp_path):
    write_parquet(tmp_path / "table.parquet", {"a": ["x"], "b": [1.0], "c": [None]})
    refused(tmp_path / "table.parquet", r"got text, or nothing, in the columns \['a', 'c'\]")
    write_parquet(tmp_path / "table.parquet", {"a": pyarrow.array([], pyarrow.float32())})
    refused(tmp_path / "table.parquet", "at least one row")
    write_parquet(tmp_path / "table.parquet", {})
    refused(tmp_path / "table.parquet", "at least one row")
    write_hdf5(tmp_path / "table.h5", x=h5py.Empty("f4"))
    refused(tmp_path / "table.h5", "at least one row")
    write_hdf5(tmp_path / "table.h5", x=np.zeros((0, 3)))
    refused(tmp_path / "table.h5", "at least one row")
    write_hdf5(tmp_path / "table.h5", x=["a", "b"])
    refused(tmp_path / "table.h5", "must hold real numbers; got the type object")


@pytest.mark.parametrize(
    ("name", "package"), [("table.h5", "h5py"), ("table.parquet", "pyarrow.parquet")]
)
def test_missing_packages_are_named(tmp_path, monkeypatch, name, package):
    (tmp_path / name).touch()
    monkeypatch.setitem(sys.modules, package, None)
    message = rf"needs {package.split('.')[0]}: pip install -e '\.\[experiments\]'"
    with pytest.raises(ImportError, match=message):
        read_table(tmp_path / name)


# Splits.


@pytest.mark.parametrize(
    ("name", "num_rows", "size"),
    [("breast_cancer", 569, 30), ("wine", 178, 13), ("digits", 1797, 64)],
)
def test_bundled_sets(tmp_path, name, num_rows, size):
    splits = datasets.load(name, tmp_path, seed=3)
    assert splits.name == name
    tenth = num_rows // 10
    assert splits.train.shape == (num_rows - 2 * tenth, size)
    assert splits.validation.shape == splits.test.shape == (tenth, size)
    assert {x.dtype for x in splits[1:]} == {np.dtype(np.float32)}
    assert (splits.train.std(axis=0) > 0).all()
    for x, again in zip(splits[1:], datasets.load(name, tmp_path, seed=3)[1:], strict=True):
        np.testing.assert_array_equal(x, again)
    assert not np.array_equal(splits.test, datasets.load(name, tmp_path, seed=4).test)


def test_continuous_sets_are_as_they_are(tmp_path):
    from sklearn.datasets import load_wine

    x = rows(datasets.load("wine", tmp_path, seed=0))
    expected = load_wine(return_X_y=True)[0].astype(np.float32)
    np.testing.assert_array_equal(sorted_rows(x), sorted_rows(expected))


def test_digits_give_the_pixels_back(tmp_path):
    from sklearn.datasets import load_digits

    x = rows(datasets.load("digits", tmp_path, seed=0)).astype(float)
    noisy = 17 * (1 / (1 + np.exp(-x)) - 0.05) / 0.9
    assert noisy.min() > -1e-4
    assert noisy.max() < 17 + 1e-4
    pixels = np.floor(noisy)
    expected = load_digits(return_X_y=True)[0]
    # Rounding moves a few of 115,008 to their neighbour.
    assert (np.sort(pixels, axis=0) != np.sort(expected, axis=0)).mean() < 1e-3
    noise = noisy - pixels
    assert abs(noise.mean() - 0.5) < 0.01
    assert abs(noise.std() - 12**-0.5) < 0.01


@pytest.mark.parametrize("ending", ["csv", "npy"])
def test_files_are_split(tmp_path, ending):
    table = gaussian(103, 2).astype(np.float32)
    path = tmp_path / f"my table.{ending}"
    np.savetxt(path, table, delimiter=",") if ending == "csv" else np.save(path, table)
    splits = datasets.load(str(path), tmp_path, seed=0)
    assert splits.name == f"my_table_{ending}"
    assert [len(x) for x in splits[1:]] == [83, 10, 10]
    np.testing.assert_array_equal(sorted_rows(rows(splits)), sorted_rows(table))
    assert not np.array_equal(rows(splits), table)
    np.testing.assert_array_equal(rows(splits), rows(datasets.load(str(path), tmp_path, seed=0)))
    other = datasets.load(str(path), tmp_path, seed=1)
    assert not np.array_equal(rows(splits), rows(other))


@pytest.mark.parametrize("ending", ["npy", "h5"])
def test_large_maps_stay_on_disk(tmp_path, monkeypatch, capsys, ending):
    table = gaussian(103, 2)
    path = tmp_path / f"table.{ending}"
    np.save(path, table) if ending == "npy" else write_hdf5(path, x=table)
    monkeypatch.setattr(datasets, "_MAX_READ", 1_000)
    splits = datasets.load(str(path), tmp_path, seed=0)
    assert all(isinstance(x, np.memmap) for x in splits[1:])
    assert [len(x) for x in splits[1:]] == [83, 10, 10]
    np.testing.assert_array_equal(rows(splits), table)
    assert "stays on disk: its first rows train" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:9], "at least 10 rows; got 9"),
        (lambda x: np.where(x == x[4, 1], np.nan, x), r"finite.*in the columns \[1\]"),
        (lambda x: np.where(x == x[4, 0], 1e39, x), r"finite.*in the columns \[0\]"),
        (lambda x: x * [1, 0], r"constants in the columns \[1\]"),
    ],
)
def test_tables_refused(tmp_path, change, message):
    np.save(tmp_path / "table.npy", change(gaussian(20, 2)))
    with pytest.raises(ValueError, match=message):
        datasets.load(str(tmp_path / "table.npy"), tmp_path, seed=0)


def test_names_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"`data` must be one of \['breast_cancer', .*got .*'powr'"
    ):
        datasets.load("powr", tmp_path, seed=0)


# The sets of papers.


def save(path, x):
    path.parent.mkdir(exist_ok=True)
    np.save(path, x)


def assert_standardized(x, ddof=0):
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(axis=0, ddof=ddof), 1, rtol=1e-5)


def assert_split(splits, name, sizes):
    assert splits.name == name
    size = maf_sets.MAF_SETS[name].event_size
    assert [x.shape for x in splits[1:]] == [(num, size) for num in sizes]
    assert {x.dtype for x in splits[1:]} == {np.dtype(np.float32)}


def test_power(tmp_path):
    raw = np.round(1e3 * gaussian(200, 8))
    raw[:, 7] = np.arange(200)  # time tells the rows apart, and gets no noise
    save(tmp_path / "power" / "data.npy", raw)
    splits = datasets.load("power", tmp_path, seed=0)
    assert_split(splits, "power", (162, 18, 20))
    assert_standardized(np.concatenate([splits.train, splits.validation]))

    rng = np.random.RandomState(42)
    shuffled = raw.copy()
    rng.shuffle(shuffled)
    voltage, active, meters = rng.rand(200), rng.rand(200), rng.rand(200, 3)
    expected = shuffled[:, [0, 2, 4, 5, 6, 7]]
    expected += np.column_stack([0.001 * active, 0.01 * voltage, meters, np.zeros(200)])
    mean, scale = expected[:180].mean(axis=0), expected[:180].std(axis=0)
    np.testing.assert_allclose(rows(splits), (expected - mean) / scale, rtol=1e-4, atol=1e-5)
    # Noise is as wide as a step of the meter, and above it.
    again = rows(splits).astype(float) * scale + mean
    noise = again - shuffled[:, [0, 2, 4, 5, 6, 7]]
    width = [0.001, 0.01, 1, 1, 1, 0]
    assert (noise > -0.001).all()
    assert (noise < np.add(width, 0.001)).all()


def test_gas(tmp_path):
    sensors = gaussian(300, 8)
    twins = sensors + 0.01 * gaussian(300, 8, seed=1)
    opposites = -sensors[:, :1]  # a correlation of -1 stays
    columns = {"Time": np.arange(300), "Meth": np.zeros(300), "Eth": np.ones(300)}
    both = np.column_stack([sensors[:, 1:], twins[:, 1:], opposites])
    columns |= {f"R{i}": column for i, column in enumerate(both.T)}
    (tmp_path / "gas").mkdir()
    write_parquet(tmp_path / "gas" / "ethylene_CO.parquet", columns)
    splits = datasets.load("gas", tmp_path, seed=0)
    assert_split(splits, "gas", (243, 27, 30))
    assert_standardized(rows(splits), ddof=1)  # the test rows too
    # Of twins the first goes, and rows keep their order.
    kept = both[:, 7:]
    np.testing.assert_allclose(
        rows(splits), (kept - kept.mean(axis=0)) / kept.std(axis=0, ddof=1), atol=1e-5
    )


def test_gas_needs_converting(tmp_path):
    with pytest.raises(ValueError, match=r"must hold gas/ethylene_CO.parquet; got.*to_parquet"):
        datasets.load("gas", tmp_path, seed=0)
    (tmp_path / "gas").mkdir()
    write_parquet(tmp_path / "gas" / "ethylene_CO.parquet", {"Time": [1.0], "R1": [2.0]})
    with pytest.raises(ValueError, match=r"must have the columns \['Meth', 'Eth'\]"):
        datasets.load("gas", tmp_path, seed=0)


def write_hepmass(path, x, label, header, end=""):
    lines = [
        f"{y:.18e}," + ",".join(f"{value:.18e}" for value in row) + end
        for y, row in zip(label, x, strict=True)
    ]
    path.write_text("\n".join([header, *lines]) + "\n")


@pytest.mark.parametrize("end", ["", ",", ",1.0"])
def test_hepmass(tmp_path, end):
    (tmp_path / "hepmass").mkdir()
    train, test = gaussian(300, 27), gaussian(60, 27, seed=1)
    discrete = [5, 9, 13, 17, 21, 26]
    train[:, discrete], test[:, discrete] = train[:, discrete] > 0, test[:, discrete] > 0
    train[:, 0] = np.minimum(train[:, 0], 1)  # the greatest value may recur, the least may not
    is_signal, is_test_signal = np.arange(300) % 3 > 0, np.arange(60) % 2 > 0
    header = "# label," + ",".join(f"f{i}" for i in range(27))
    write_hepmass(tmp_path / "hepmass" / "1000_train.csv", train, is_signal, header)
    write_hepmass(
        tmp_path / "hepmass" / "1000_test.csv", test, is_test_signal, f"{header},mass", end
    )
    splits = datasets.load("hepmass", tmp_path, seed=0)
    assert_split(splits, "hepmass", (180, 20, 30))
    fitted = np.concatenate([splits.train, splits.validation])
    assert_standardized(fitted, ddof=1)
    kept = [i for i in range(27) if i not in discrete]
    signal = train[is_signal][:, kept]
    mean, scale = signal.mean(axis=0), signal.std(axis=0, ddof=1)
    np.testing.assert_allclose(fitted, (signal - mean) / scale, atol=1e-5)
    expected = (test[is_test_signal][:, kept] - mean) / scale
    np.testing.assert_allclose(splits.test, expected, atol=1e-5)


def test_miniboone(tmp_path):
    raw = 1e3 + 20 * gaussian(100, 43)
    save(tmp_path / "miniboone" / "data.npy", raw)
    splits = datasets.load("miniboone", tmp_path, seed=0)
    assert_split(splits, "miniboone", (81, 9, 10))
    assert_standardized(np.concatenate([splits.train, splits.validation]))
    expected = (raw - raw[:90].mean(axis=0)) / raw[:90].std(axis=0)
    np.testing.assert_allclose(rows(splits), expected, atol=1e-5)


def test_bsds300(tmp_path):
    parts = {"train": gaussian(8, 63), "validation": gaussian(3, 63), "test": gaussian(5, 63)}
    (tmp_path / "BSDS300").mkdir()
    write_hdf5(tmp_path / "BSDS300" / "BSDS300.hdf5", **parts)
    splits = datasets.load("bsds300", tmp_path, seed=0)
    assert_split(splits, "bsds300", (8, 3, 5))
    for part, expected in parts.items():
        np.testing.assert_array_equal(getattr(splits, part), expected.astype(np.float32))


@pytest.mark.parametrize("name", ["power", "hepmass", "miniboone", "bsds300"])
def test_missing_sets_say_where_they_are(tmp_path, name):
    with pytest.raises(ValueError, match=rf"(?i)must hold {name}/.*; got .*zenodo.org.*1161203"):
        datasets.load(name, tmp_path, seed=0)


def test_other_files_are_refused(tmp_path):
    save(tmp_path / "miniboone" / "data.npy", gaussian(100, 50))
    with pytest.raises(ValueError, match="which leave 43 columns of miniboone; got 50"):
        datasets.load("miniboone", tmp_path, seed=0)


@pytest.mark.parametrize("name", ["power", "gas", "miniboone"])
def test_published_sizes_follow_from_the_fractions(name):
    sizes = maf_sets.MAF_SETS[name].num_rows
    parts = maf_sets._split_end(np.empty((sum(sizes), 0)))
    assert tuple(map(len, parts)) == sizes


def test_published():
    assert published.of("wine") == []
    for name in maf_sets.MAF_SETS:
        found = published.of(name)
        assert len(found) == 16
        assert [row.mean for row in found] == sorted(row.mean for row in found)
        assert sum(row.error is None for row in found) == 1
        assert {row.model for row in found if row.across_runs} == {
            *("FFJORD", "NAF", "Block-NAF", "SOS")
        }
    maf = {row.model: row for row in published.of("gas") if row.source == published.MAF_PAPER}
    assert maf["MAF (10)"].mean == 10.08
    assert maf["Real NVP (5)"].error == 1.80
