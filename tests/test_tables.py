"""Densities of tables in one line."""

import dataclasses
import functools
import itertools
import sys
import types

import jax
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.stats
import threadpoolctl
from sklearn.mixture import GaussianMixture

import distrax_flows as dxf
from distrax_flows import supports, tables
from distrax_flows.tables._categories import fit_categories
from distrax_flows.tables._columns import read_columns
from distrax_flows.tables._frames import as_frame
from distrax_flows.tables._mixture import choose_mixture
from distrax_flows.training.results import Fit, FitInterrupted

RNG = np.random.default_rng(0)
NUM = 200
CITY = RNG.choice(["Bern", "Oslo", "Rome"], NUM, p=[0.5, 0.3, 0.2])
TABLE = {
    "city": CITY,
    "smoker": RNG.random(NUM) < 0.2 + 0.3 * (CITY == "Oslo"),
    "visits": RNG.poisson(2.0, NUM),
    "income": np.exp(10 + RNG.normal(size=NUM)),
    "height": RNG.normal(170.0, 8.0, NUM),
    "wind_direction": (180 + 60 * RNG.normal(size=NUM)) % 360,
    "share": RNG.beta(2, 3, NUM),
    "balance": 1e6 + RNG.normal(size=NUM) - 2e6 * (RNG.random(NUM) < 0.5),
}
QUICK = {"num_layers": 1, "hidden_sizes": (8,), "num_bins": 2, "num_members": 2}
QUICK |= {"num_steps": 20, "eval_every": 20, "progress": False}


@functools.cache
def fitted() -> dxf.TableDensity:
    return dxf.fit_table(pd.DataFrame(TABLE), **QUICK)


def columns_of(**values):
    frame = as_frame({name: np.asarray(x) for name, x in values.items()})
    return read_columns(frame.columns, frame.dtypes, {})


def test_columns_are_recognised():
    kinds = {column.name: column.kind for column in columns_of(**TABLE)}
    assert kinds == {
        "city": "category",
        "smoker": "category",
        "visits": "integer",
        "income": "log_scale",
        "height": "positive",
        "wind_direction": "circle",
        "share": "interval",
        "balance": "real",
    }


@pytest.mark.parametrize(
    ("name", "values", "kind", "low", "high"),
    [
        ("year", np.arange(1990, 2020), "integer", 0, np.inf),
        ("profit", np.arange(-30, 30), "integer", -np.inf, np.inf),
        ("rating", np.arange(100) % 5 + 1, "integer", 1, 5),
        ("id", np.arange(30) * 10_000_000, "real", -np.inf, np.inf),
        ("phase", np.linspace(-3, 3, 40), "circle", -np.pi, np.pi),
        ("heading", np.linspace(0.5, 359, 40), "circle", 0, 360),
        ("heading", np.linspace(0.5, 9, 40), "positive", 0, np.inf),
        ("longitude", np.linspace(-179, 170, 40), "circle", -180, 180),
        ("hour_of_day", np.arange(24), "circle", 0, 24),
        ("mass", np.logspace(-3, 3, 40), "log_scale", 0, np.inf),
    ],
)
def test_kinds_follow_names_and_values(name, values, kind, low, high):
    (column,) = columns_of(**{name: values})
    assert (column.kind, column.low, column.high) == (kind, low, high)


@pytest.mark.parametrize(
    ("name", "is_heavy"),
    [
        ("normal", False),
        ("two_modes", False),
        ("uniform", False),
        ("student_t", True),
        ("returns", True),
        ("counts", True),
        ("incomes", False),
        ("few_counts", False),
    ],
)
def test_heavy_tails_are_recognised(name, is_heavy):
    rng = np.random.default_rng(0)
    values = {
        "normal": rng.normal(5.0, 3.0, 200),
        "two_modes": rng.normal(0, 1, 200) - 5.0 * (np.arange(200) % 2),
        "uniform": rng.uniform(-1.0, 1.0, 200),
        "student_t": 1e4 + 100 * rng.standard_t(2.0, 200),
        "returns": rng.standard_cauchy(200),
        "counts": np.exp(rng.normal(3.0, 2.0, 200)).astype(int),
        "incomes": np.exp(rng.normal(8.0, 1.0, 200)),
        "few_counts": rng.poisson(2.0, 200),
    }
    (column,) = columns_of(**{name: values[name]})
    assert (column.tails is not None) == is_heavy
    assert column.describe().endswith("asinh scale") == is_heavy


@pytest.mark.parametrize(
    "support",
    [
        supports.real(),
        supports.positive(),
        supports.log_scale(),
        supports.above(-1.0),
        supports.below(9.0),
        supports.interval(-1.0, 9.0),
        supports.circle(-1.0, 9.0),
        supports.integer(-1, 9),
        supports.integer(None, 9),
        supports.integer(),
        supports.asinh_scale(),
        supports.asinh_scale(supports.above(-1.0)),
        supports.asinh_scale(supports.integer(0)),
    ],
    ids=str,
)
def test_coding_is_undone_and_lies_inside_its_support(support):
    x = np.arange(1.0, 9.0)
    (column,) = read_columns({"x": x}, {"x": "float64"}, {"x": support})
    u = column.encode(x)
    np.testing.assert_allclose(column.decode(u), x, rtol=1e-12)
    assert (u >= column.support().low).all()
    assert (u <= column.support().high).all()


def test_trees_of_categories_are_distributions_and_learn_dependence():
    root = RNG.integers(3, size=20_000)
    near = np.where(RNG.random(20_000) < 0.9, root, RNG.integers(3, size=20_000))
    far = np.where(RNG.random(20_000) < 0.8, near % 2, RNG.integers(2, size=20_000))
    levels = np.stack([far, root, near], axis=1)
    tree = fit_categories(levels, (2, 3, 3))
    every = np.array(list(itertools.product(range(2), range(3), range(3))))
    probabilities = np.exp(tree.log_prob(every))
    np.testing.assert_allclose(probabilities.sum(), 1, rtol=1e-12)
    observed = [(levels == row).all(axis=1).mean() for row in every]
    np.testing.assert_allclose(probabilities, observed, atol=0.01)
    samples = tree.sample(np.random.default_rng(1), 20_000)
    sampled = [(samples == row).all(axis=1).mean() for row in every]
    np.testing.assert_allclose(sampled, probabilities, atol=0.01)


def test_a_level_that_was_never_seen_with_another_has_some_probability():
    tree = fit_categories(np.array([[0, 0], [1, 1]] * 50), (2, 2))
    assert np.isfinite(tree.log_prob(np.array([[0, 1]]))).all()


def test_densities_are_per_unit_and_integrate_to_one():
    x = RNG.normal(500.0, 100.0, (300, 1)).astype(np.float32)
    density = dxf.fit_table(x, **QUICK)
    grid = np.linspace(-500.0, 2500.0, 4001)
    mass = np.trapezoid(np.exp(density.log_prob(grid[:, None])), grid)
    np.testing.assert_allclose(mass, 1, atol=2e-3)
    samples = density.sample(7, key=0)
    assert samples.shape == (7, 1)
    assert samples.dtype == np.float32


@pytest.mark.slow
def test_a_start_at_the_right_mixture_is_kept():
    """Training of twenty steps changes little: the score is that of scikit-learn's mixture."""
    x = np.concatenate([RNG.normal(-4, 0.5, (300, 2)), RNG.normal(4, 0.5, (300, 2))])
    test = np.concatenate([RNG.normal(-4, 0.5, (300, 2)), RNG.normal(4, 0.5, (300, 2))])
    density = dxf.fit_table(x, **QUICK)
    assert density.spec.num_components >= 2
    mixture = GaussianMixture(2, random_state=0).fit(x)
    assert abs(density.score(test) - mixture.score(test)) < 0.05


@pytest.mark.slow
def test_integers_have_probabilities():
    counts = RNG.poisson(3.0, (400, 1)).astype(float)
    density = dxf.fit_table(counts, **QUICK | {"num_steps": 200})
    log_prob = density.log_prob(np.arange(25.0)[:, None])
    assert 0.9 < np.exp(log_prob).sum() < 1.02  # a lower bound, up to its noise
    poisson = scipy.stats.poisson(3.0)
    assert abs(density.score(counts) - poisson.logpmf(counts).mean()) < 0.1
    assert np.isneginf(density.log_prob(np.array([[2.5], [-1.0]]))).all()


@pytest.mark.slow
def test_conditional_on_categories():
    group = np.array(["a", "b"] * 150)
    x = RNG.normal(size=300) + 10.0 * (group == "b")
    frame = pd.DataFrame({"group": group, "x": x})
    density = dxf.fit_table(frame, **QUICK | {"num_steps": 600, "learning_rate": 1e-2})
    truth = scipy.stats.norm(10.0 * (group == "b"), 1.0).logpdf(x).mean() - np.log(2)
    assert density.score(frame) > truth - 0.3
    samples = density.sample(500, key=0)
    means = samples.groupby("group").x.mean()
    assert abs(means["a"]) < 1
    assert abs(means["b"] - 10) < 1


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
@pytest.mark.slow
def test_samples_come_in_the_frame_of_the_data(make):
    density = fitted()
    if make is pl.DataFrame:
        frame = pl.DataFrame(TABLE).with_columns(
            pl.col("city").cast(pl.Enum(["Rome", "Oslo", "Bern"])),
            pl.col("income").cast(pl.Float32),
        )
        read = as_frame(frame)
        columns = read_columns(read.columns, read.dtypes, {})
        spec = dataclasses.replace(density.spec, columns=columns, library=read.library)
        density = dxf.TableDensity(spec, density.params)
    else:
        frame = pd.DataFrame(TABLE)
    samples = density.sample(50, key=1)
    assert type(samples) is type(frame)
    assert len(samples) == 50
    assert list(samples.columns) == list(frame.columns)
    if make is pd.DataFrame:
        assert (samples.dtypes == frame.dtypes).all()
    else:
        assert [d for d in samples.dtypes if d != pl.Enum] == [
            d for d in frame.dtypes if d != pl.Enum
        ]
    assert np.isfinite(density.log_prob(samples)).all()
    assert np.isfinite(density.log_prob(frame)).all()


def test_structured_arrays_have_named_columns():
    records = np.array([(1.0, 2)], [("a", float), ("b", int)])
    assert as_frame(records).columns.keys() == {"a", "b"}


@pytest.mark.slow
def test_samples_repeat_with_their_key_and_rows_are_independent():
    density = fitted()
    assert density.sample(20, key=3).equals(density.sample(20, key=3))
    assert not density.sample(20, key=3).equals(density.sample(20, key=4))
    assert density.sample(1, key=0).shape == (1, 8)


@pytest.mark.slow
def test_a_saved_density_is_the_same(tmp_path):
    density = fitted()
    density.save(tmp_path / "people.flow")
    loaded = dxf.TableDensity.load(tmp_path / "people.flow")
    assert loaded.spec == density.spec
    table = pd.DataFrame(TABLE)
    np.testing.assert_array_equal(loaded.log_prob(table), density.log_prob(table))
    assert loaded.sample(5, key=0).equals(density.sample(5, key=0))


def test_another_flow_is_refused(tmp_path):
    flow = dxf.transform(functools.partial(dxf.flows.realnvp, 2, num_layers=1))
    dxf.save(tmp_path / "other.flow", flow, flow.init_without_data(jax.random.key(0)))
    with pytest.raises(dxf.LoadError, match=r"distrax_flows\.load"):
        dxf.TableDensity.load(tmp_path / "other.flow")


@pytest.mark.slow
def test_the_order_and_number_of_columns_do_not_matter():
    density, frame = fitted(), pd.DataFrame(TABLE)
    mixed = frame[reversed(frame.columns)].assign(other=1.0, day=pd.Timestamp("2020-01-01"))
    np.testing.assert_array_equal(density.log_prob(mixed), density.log_prob(frame))


@pytest.mark.slow
def test_tables_of_the_same_kinds_share_a_flow(compilations):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(50, 2))
    one, other = (dxf.fit_table(scale * x, **QUICK) for scale in (1.0, 1000.0))
    assert one.flow is other.flow
    np.testing.assert_allclose(
        one.log_prob(x) - 2 * np.log(1000.0), other.log_prob(1000.0 * x), atol=1e-3
    )
    compilations.clear()
    rows = rng.normal(size=(60, 2)) @ [[1.0, 0.5], [0.0, 1.0]]
    again = dxf.fit_table(rows, **QUICK)
    again.log_prob(rows[:7])
    assert again.flow is one.flow
    assert not compilations


@pytest.mark.slow
def test_a_density_prints_its_columns_and_recipe():
    text = repr(fitted())
    assert "category of 3: Bern, Oslo, Rome" in text
    assert "wind_direction  circle [0, 360)" in text
    assert "nsf_coupling, 1 layers of (8,) units" in text
    assert "validation log-likelihood" in text


def test_remarks_name_ties_and_outliers():
    tied = np.where(RNG.random(NUM) < 0.3, 0.25, RNG.normal(size=NUM))
    wild = np.where(np.arange(NUM) == 7, 1e6, RNG.normal(size=NUM))
    remarks = {column.name: column.remarks for column in columns_of(tied=tied, wild=wild)}
    assert "share 0.25" in remarks["tied"][0]
    assert "1 outliers, such as 1e+06" in remarks["wild"][0]


@pytest.mark.slow
def test_plots_show_data_beside_samples():
    figure = fitted().plot(pd.DataFrame(TABLE), num=100)
    assert len(figure.axes) >= 8 * 9 / 2


@pytest.mark.parametrize("losses", [[], [1e9], [-1e9]], ids=["none", "worse", "better"])
def test_interrupted_fits_leave_what_they_reached(losses, monkeypatch):
    def interrupted(*args, params, **options):
        history = types.SimpleNamespace(validation_loss=np.array(losses))
        raise FitInterrupted("Interrupted after 3 of 20 steps.", Fit(params, history))

    monkeypatch.setattr("distrax_flows.tables._fit.fit", interrupted)
    x = RNG.normal(size=(100, 1))
    with pytest.raises(tables.TableInterrupted, match="3 of 20 steps") as error:
        dxf.fit_table(x, **QUICK)
    density = error.value.density
    assert density.num_members == density.spec.recipe.num_members == 1
    assert np.isfinite(density.log_prob(x)).all()


MISSING = TABLE | {"height": np.where(np.arange(NUM) == 3, np.nan, TABLE["height"])}
NONE = TABLE | {"city": np.array([None, *CITY[1:]], object)}
INFINITE = np.where(np.arange(NUM) == 3, np.inf, TABLE["height"])
DATES = {"day": pd.date_range("2020-01-01", periods=NUM), "x": TABLE["height"]}


@pytest.mark.parametrize(
    ("data", "options", "match"),
    [
        (pd.DataFrame(MISSING), {}, "'height' must hold finite numbers; got 1 missing.* row 3"),
        (pl.DataFrame(MISSING).fill_nan(None), {}, "'height' must hold finite numbers"),
        ({"x": INFINITE}, {}, r"got 1 infinite ones.* row 3.*frame\[np.isfinite\(frame\['x'\]\)\]"),
        ({"x": 2**60 + np.arange(NUM)}, {}, r"'x' must hold integers of at most 2\*\*53.*offset"),
        (pd.DataFrame(np.ones((NUM, 2)), columns=["a", "a"]), {}, "different names.*'a' 2 times"),
        (pd.DataFrame(NONE), {}, "'city' must have a value in each row; got 1.* row 0"),
        (pd.DataFrame(DATES), {}, "'day' must hold numbers or names; got Datetime.* circle"),
        ({"x": np.ones(NUM)}, {}, "'x' must vary; got 1.0 in all rows. Drop it"),
        ({"name": [f"{i}" for i in range(NUM)]}, {}, "'name' must have at most 50 levels"),
        ({"city": CITY}, {}, "must have a column of numbers; got categories only"),
        (np.ones((5, 2)), {}, "at least 20 rows.* got 5"),
        (np.ones(50), {}, r"matrix .*`x\[:, None\]`"),
        ([[1.0, 2.0]], {}, "matrix, or a data frame .* got list"),
        (TABLE, {"columns": {"hight": supports.real()}}, "must name columns of the data.*hight"),
        (TABLE, {"columns": {"height": supports.interval(0, 150)}}, "inside its support"),
        (TABLE, {"columns": {"height": supports.integer(0)}}, "inside its support"),
        (TABLE, {"num_layer": 3}, "no argument `num_layer`.*Perhaps `num_layers`"),
        (TABLE, {"flow": "glow"}, "`flow` must be one of"),
        (TABLE, {"num_members": 150}, "`num_members` must be at most half the number of rows"),
        ({"flag": np.where(np.arange(50) == 3, 1.5, 0.5)}, {}, "'flag' must vary in more rows"),
        (TABLE, {"num_layers": 0}, "`num_layers` must be an integer of at least 1"),
    ],
)
def test_bad_tables_are_refused_with_the_cure(data, options, match):
    with pytest.raises((ValueError, TypeError), match=match):
        dxf.fit_table(data, **options)


def test_a_missing_scikit_learn_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.mixture", None)
    with pytest.raises(ImportError, match=r"pip install 'distrax_flows\[tables\]'"):
        dxf.fit_table(TABLE, **QUICK)


def test_fits_use_one_thread_of_blas_and_give_back_the_others(monkeypatch):
    found = []

    def stop(*args, **options):
        found.extend(threadpoolctl.threadpool_info())
        raise RuntimeError

    monkeypatch.setattr("distrax_flows.tables._fit._fit_member", stop)
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        with pytest.raises(RuntimeError):
            dxf.fit_table(pd.DataFrame(TABLE), **QUICK)
        found_after = threadpoolctl.threadpool_info()
    for infos, threads in ((found, {1}), (found_after, {2})):
        assert {one["num_threads"] for one in infos if one["user_api"] == "blas"} == threads


def test_integers_of_a_dtype_come_back_as_such():
    (hour,) = read_columns({"hour": np.arange(24, dtype=np.uint8)}, {"hour": "uint8"}, {})
    u = np.array([-np.pi, 0.0, np.nextafter(np.pi, 0), 0.13])
    np.testing.assert_array_equal(hour.decode(u), [0, 12, 0, 12])
    (count,) = read_columns({"n": np.arange(24, dtype=np.uint8)}, {"n": "uint8"}, {})
    np.testing.assert_array_equal(count.decode(np.array([3.0, 300.0])), [3, 255])


def test_values_inside_a_support_stay_inside_in_single_precision():
    share = np.array([*np.linspace(0.1, 0.9, 50), 1 - 1e-12, 1e-300])
    (column,) = read_columns({"x": share}, {"x": "float64"}, {"x": supports.interval(0, 1)})
    u = column.encode(share).astype(np.float32)
    assert ((u > 0) & (u < 1)).all()
    assert column.encode(np.array([1.5])) > 1  # what is outside stays outside
    day = 2_459_000.5 + np.linspace(0, 1, 100)  # Julian dates: far from 0, of small spread
    (column,) = columns_of(day=day)
    assert column.kind == "real"
    assert len(np.unique(column.encode(day).astype(np.float32))) == 100


@pytest.mark.slow
def test_a_sample_of_one_row_is_of_any_member():
    density = fitted()
    leaves = density.sample(1, key=0), density.sample(3, key=0)
    assert [len(table) for table in leaves] == [1, 3]
    spoilt = jax.tree.map(lambda leaf: leaf.at[0].set(np.nan), density.params)
    columns = tuple(
        dataclasses.replace(column, dtype="str" if column.is_category else "float64")
        for column in density.spec.columns
    )
    spec = dataclasses.replace(density.spec, columns=columns, library="mapping")
    other = dxf.TableDensity(spec, spoilt)
    from_other = [np.isfinite(other.sample(1, key=key)["height"]).all() for key in range(20)]
    assert 3 < sum(from_other) < 17


def test_sizes_of_mixtures_do_not_depend_on_the_order_of_the_table():
    centres = np.repeat(np.array([[0, 0], [20, 0], [0, 20], [20, 20]]), 2_600, axis=0)
    z = centres + RNG.normal(size=centres.shape)
    folds = np.array_split(RNG.permutation(len(z)), 5)
    assert choose_mixture(z, folds).num_components == 4


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(RNG.normal(size=(30, 2))),
        pd.DataFrame({"x": np.array([*range(29), 0.5], object)}),
        pd.DataFrame({"x": pd.array([*range(30)], dtype="Int64")}),
    ],
    ids=["integer names", "objects", "nullable"],
)
def test_numbers_of_frames_are_numbers(frame):
    assert all(values.dtype.kind in "if" for values in as_frame(frame).columns.values())


@pytest.mark.parametrize("dtype", ["boolean", "string"])
def test_missing_names_of_nullable_columns_are_refused(dtype):
    values = [None, *([True, False] * 20 if dtype == "boolean" else ["a", "b"] * 20)]
    frame = pd.DataFrame({"x": pd.array(values, dtype=dtype), "y": np.arange(41.0)})
    with pytest.raises(ValueError, match=r"'x' must have a value in each row; got 1.* row 0"):
        dxf.fit_table(frame)


@pytest.mark.usefixtures("wrong_types")
def test_kinds_are_no_strings():
    with pytest.raises(TypeError, match="must be a support"):
        dxf.fit_table(TABLE, columns={"height": "positive"})


@pytest.mark.slow
def test_unknown_levels_and_missing_columns_are_refused():
    frame = pd.DataFrame(TABLE)
    with pytest.raises(ValueError, match=r"'city' must hold levels.*Paris"):
        fitted().log_prob(frame.assign(city="Paris"))
    with pytest.raises(ValueError, match=r"without \['income'\]"):
        fitted().log_prob(frame.drop(columns="income"))


def test_told_kinds_win():
    table = {"cylinders": RNG.choice([4, 6, 8], NUM), "x": RNG.normal(size=NUM)}
    frame = as_frame(table)
    told = {"cylinders": tables.category(), "x": supports.above(-10.0)}
    kinds = [column.kind for column in read_columns(frame.columns, frame.dtypes, told)]
    assert kinds == ["category", "above"]


def test_recipes_are_alike_for_close_sizes():
    assert tables.recipe_for(143, 13) == tables.recipe_for(160, 13)
    assert tables.recipe_for(100, 5).hidden_sizes < tables.recipe_for(100_000, 5).hidden_sizes


@pytest.mark.slow
def test_samples_beside_heavy_tails_stay_near_the_data():
    """Linear maps between layers add what is far out in one column to the logarithm of another."""
    rng = np.random.default_rng(0)
    log_decay = rng.normal(0.0, 2.0, 400)
    residual = rng.standard_t(1.5, 400) * (1 + np.exp(0.2 * log_decay))
    frame = {"decay": np.exp(log_decay), "residual": residual}
    density = dxf.fit_table(pd.DataFrame(frame), num_members=1, num_steps=300, progress=False)
    assert density.spec.columns[1].tails == (0.0, 1.0)
    samples = density.sample(20_000, key=0)
    # 1 of 10,000 normal variables is beyond 3.9 standard deviations.
    assert np.quantile(np.abs(np.log(samples["decay"])), 0.9999) < 2 * 2.0 * 3.9
    np.testing.assert_allclose(
        np.quantile(samples["residual"], [0.1, 0.5, 0.9]),
        np.quantile(residual, [0.1, 0.5, 0.9]),
        atol=0.15 * np.ptp(np.quantile(residual, [0.1, 0.9])),
    )
