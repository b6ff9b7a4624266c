"""The tabular experiment: end to end in miniature, its baseline, its errors and its tables."""

import csv
import dataclasses

import jax
import numpy as np
import pytest
import scipy.stats

pytest.importorskip("tyro")
pytest.importorskip("sklearn")
Image = pytest.importorskip("PIL.Image")

from experiments._summary import mean_and_stderr  # noqa: E402
from experiments._table import Finished  # noqa: E402
from experiments.tabular import __main__ as tabular  # noqa: E402
from experiments.tabular import gaussian as gaussian_module  # noqa: E402
from experiments.tabular import published  # noqa: E402
from experiments.tabular.datasets import Splits  # noqa: E402
from experiments.tabular.fits import fit, make_flow, recipe_of  # noqa: E402
from experiments.tabular.gaussian import fit_gaussian  # noqa: E402
from experiments.tabular.maf_sets import MAF_SETS  # noqa: E402
from experiments.tabular.pictures import draw_set  # noqa: E402
from experiments.tabular.recipes import FLOWS, recipe_for  # noqa: E402
from experiments.tabular.settings import Settings  # noqa: E402
from experiments.tabular.tables import beside_published, gains, scores  # noqa: E402


def banana(num, seed=0):
    x = np.random.default_rng(seed).normal(size=(num, 3))
    x[:, 1] += x[:, 0] ** 2
    return (x * [1, 100, 0.01] + [0, 1_000, -3]).astype(np.float32)


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def row(flow, test, seed="0", dataset="power"):
    return {"flow": flow, "dataset": dataset, "seed": seed, "test": str(test)}


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "banana.csv"
    np.savetxt(path, banana(600), delimiter=",", header="a,b,c", comments="")
    return str(path)


def assert_picture(path):
    assert 0 < path.stat().st_size < 300_000
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert min(pixels.shape[:2]) > 300
    assert pixels.std() > 10  # not blank


@pytest.mark.slow
def test_tabular(table, tmp_path, capsys, monkeypatch):
    output, checkpoints = tmp_path / "output", tmp_path / "checkpoints"
    settings = Settings(
        datasets=(table,),
        flows=("maf",),
        quick=True,
        num_steps=400,
        learning_rate=1e-2,
        weight_decay=0.0,
        output=output,
        checkpoints=checkpoints,
    )
    tabular.main(settings)
    rows = read(output / "results.csv")
    assert list(rows[0]) == tabular.COLUMNS.split()
    assert [found["flow"] for found in rows] == ["gaussian", "maf"]
    gaussian, flow = (float(found["test"]) for found in rows)
    assert gaussian + 0.1 < flow < -0.5 * 3 * np.log(2 * np.pi * np.e) + 0.5
    assert float(rows[1]["train"]) == pytest.approx(flow, abs=0.5)
    assert 0 < int(rows[1]["best_step"]) <= 400
    assert "maf" in capsys.readouterr().out
    picture = output / "banana_csv.png"
    assert_picture(picture)
    assert any((checkpoints / "banana_csv-maf-0").iterdir())

    # Nothing is fitted again, and all is shown.
    picture.unlink()
    monkeypatch.setattr(tabular, "fit", None)
    tabular.main(dataclasses.replace(settings, resume=True))
    assert read(output / "results.csv") == rows
    assert_picture(picture)


@pytest.mark.parametrize("name", FLOWS)
def test_flows_take_their_recipes(name):
    splits = Splits("wine", *np.split(banana(30), 3))
    recipe = recipe_of(name, splits, Settings(num_layers=3, hidden_sizes=(7,)))
    flow = make_flow(name, 3, recipe)
    params = jax.eval_shape(flow.init, jax.random.key(0), splits.train)
    shapes = [leaf.shape for leaf in jax.tree.leaves(params)]
    assert any(shape[0] == 3 and 7 in shape for shape in shapes)


@pytest.mark.parametrize("dataset", ["breast_cancer", "wine", "digits", *MAF_SETS, "other"])
def test_each_set_has_recipes(dataset):
    few, many = (
        [recipe_for(dataset, name, num_rows) for name in FLOWS] for num_rows in (100, 10**6)
    )
    assert (few == many) == (dataset != "other")
    assert Settings().adapt(few[0]) == few[0]
    assert Settings(patience=3).adapt(few[0]) == few[0]._replace(patience=3)


# The baseline.


def test_gaussian_is_that_of_scipy():
    train, validation = np.split(banana(3_000), [2_900])
    gaussian = fit_gaussian(train, validation)
    covariance = np.cov(train.T.astype(float), bias=True)
    covariance += gaussian.ridge * np.diag(covariance.diagonal())
    true = scipy.stats.multivariate_normal(train.mean(axis=0, dtype=float), covariance)
    np.testing.assert_allclose(gaussian.log_prob(validation), true.logpdf(validation), rtol=1e-9)
    draws = gaussian.sample(0, 200_000)
    np.testing.assert_allclose(draws.mean(axis=0), true.mean, atol=3e-2, rtol=2e-3)
    np.testing.assert_allclose(np.cov(draws.T), covariance, rtol=0.03, atol=0.5)


def test_the_ridge_is_chosen_by_validation():
    """Of as many rows as columns, the covariance alone is singular."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1_020, 20)) @ rng.normal(size=(20, 20))
    few, many = fit_gaussian(x[:20], x[20:]), fit_gaussian(x[:1_000], x[1_000:])
    assert few.ridge > 10 * many.ridge


def test_gaussian_of_constant_columns():
    x = np.ones((20, 2)) * np.arange(20)[:, None]
    x[:, 1] = 0
    with pytest.raises(ValueError, match=r"constants in the columns \[1\]"):
        fit_gaussian(x, x)


# Scores.


def test_mean_and_standard_error():
    mean, stderr = mean_and_stderr([1.0, 2.0, 6.0])
    assert mean == 3
    assert stderr == pytest.approx(np.sqrt((4 + 1 + 9) / 2) / np.sqrt(3))
    mean, stderr = mean_and_stderr([4.0])
    assert mean == 4
    assert np.isnan(stderr)


def test_memory_maps_are_scored_in_blocks(tmp_path, monkeypatch):
    """Fits and scores are those of the arrays in memory, and no map is ever read as a whole."""
    x = banana(700)
    np.save(tmp_path / "x.npy", x.astype(np.float64))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    monkeypatch.setattr(gaussian_module, "_BLOCK", 64)
    settings = Settings(num_layers=1, hidden_sizes=(8,), num_steps=20)
    rows = []
    for name, table in (("memory", x), ("mapped", mapped)):
        splits = Splits(name, *np.split(table, [400, 500]))
        assert isinstance(splits.test, np.memmap) == (name == "mapped")
        (baseline, _), (flow, _) = (fit(name, splits, 0, settings) for name in ("gaussian", "maf"))
        rows.append([baseline, flow])
        log_prob = fit_gaussian(splits.train, splits.validation).log_prob(np.asarray(splits.test))
        assert float(baseline["test"]) == pytest.approx(log_prob.mean(), abs=1e-4)
        stderr = np.std(log_prob, ddof=1) / np.sqrt(200)
        assert float(baseline["test_stderr"]) == pytest.approx(stderr, abs=1e-4)
    for memory, map_ in zip(*rows, strict=True):
        for column in ("train", "validation", "test", "test_stderr"):
            assert float(memory[column]) == pytest.approx(float(map_[column]), abs=2e-3)


# Tables.


ROWS = [
    row("gaussian", -8, "0"),
    row("maf", 0.5, "0"),
    row("gaussian", -6, "1"),
    row("maf", 1.5, "1"),
]


def test_tables():
    *_, baseline, maf = scores(ROWS).splitlines()
    assert baseline.split() == ["gaussian", "-7.00", "±", "1.00"]
    assert maf.split() == ["maf", "1.00", "±", "0.50"]
    (*_, gain) = gains(ROWS).splitlines()
    assert gain.split() == ["maf", "8.00", "±", "0.50"]
    (*_, single) = scores(ROWS[:2]).splitlines()
    assert single.split() == ["maf", "0.50"]


def test_published_figures_stand_beside():
    class Rows:
        def __init__(self, num):
            self.num = num

        def __len__(self):
            return self.num

    parts = [Rows(num) for num in MAF_SETS["power"].num_rows]
    (text,) = beside_published(Splits("power", *parts), ROWS)
    lines = text.splitlines()[2:]
    assert lines[0].split() == ["maf", "1.00", "±", "0.50", "here,", "2", "seeds"]
    assert len(lines) == 2 + len(published.of("power"))
    assert any("MAF (10)" in line and published.MAF_PAPER in line for line in lines)
    (text,) = beside_published(Splits("power", parts[0], parts[1], Rows(7)), ROWS)
    assert "These are other rows: (1659917, 184435, 7) train" in text
    assert beside_published(Splits("wine", *parts), ROWS) == []


@pytest.mark.slow
def test_picture_of_digits(tmp_path):
    x = np.random.default_rng(0).normal(size=(90, 64))
    fits = [
        Finished(row(flow, i, seed, "digits") | {"validation": str(i)}, lambda num: x[:num])
        for seed in "01"
        for i, flow in enumerate(("gaussian", "maf", "glow"))
    ]
    draw_set(tmp_path / "digits.png", Splits("digits", x, x, x), fits)
    assert_picture(tmp_path / "digits.png")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flows": ("iaf",)}, r"`flows` must be one of \['maf', .*got 'iaf'"),
        ({"flows": ()}, "`flows` must hold at least one value"),
        ({"datasets": ("win",)}, r"`datasets` must be some of \['breast_cancer', .*got 'win'"),
        ({"datasets": ("a/x.csv", "b/x.csv")}, "`datasets` must be files of different names"),
        ({"seeds": (1, 1)}, "`seeds` must differ"),
        ({"num_steps": 0}, "`num_steps` must be at least 1; got 0"),
        ({"hidden_sizes": (8, 0)}, "`hidden_sizes` must be at least 1"),
        ({"weight_decay": -1.0}, "`weight_decay` must be at least 0"),
        ({"datasets": ("power",)}, "`data_dir` must hold power/data.npy"),
    ],
)
def test_refusals(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        tabular.main(Settings(**{"output": tmp_path / "new", "data_dir": tmp_path} | changes))
    assert not (tmp_path / "new" / "results.csv").exists()
