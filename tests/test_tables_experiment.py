"""The experiment with tables: end to end in miniature, and its estimators."""

import csv

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("tyro")

from distrax_flows.tables import Column
from experiments.tables import __main__ as tables
from experiments.tables.baselines import score
from experiments.tables.datasets import DATASETS, split
from experiments.tables.settings import Settings


@pytest.mark.slow
def test_a_quick_run_leaves_a_table_and_pictures(tmp_path):
    tables.main(Settings(quick=True, output=tmp_path))
    with (tmp_path / "results.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["dataset"] == "iris"
    gain = float(row["fit_table"]) - float(row["gaussian"])
    np.testing.assert_allclose(float(row["gain_gaussian"]), gain, atol=2e-4)
    assert {path.name for path in tmp_path.glob("*.png")} == {"gains.png", "iris.png"}


def test_splits_share_no_row_and_messy_tables_have_all_kinds():
    train, test = split("people", 0)
    assert not set(train.index) & set(test.index)
    assert len(train) + len(test) == len(DATASETS["people"]())


def test_estimators_are_scored_in_the_units_of_the_data():
    """A lognormal, in two units: the density of its logarithms is Gaussian."""
    rng = np.random.default_rng(0)
    x = np.exp(rng.normal(3.0, 0.5, (400, 1)))
    truth = -np.log(x[300:, 0]) - np.log(0.5) - 0.5 * np.log(2 * np.pi)
    truth -= 0.5 * ((np.log(x[300:, 0]) - 3) / 0.5) ** 2
    column = Column("x", "log_scale", 0.0)
    for scale in (1.0, 1000.0):
        frame = pd.DataFrame(scale * x, columns=["x"])
        found, setting = score("gaussian", (column,), frame[:300], frame[300:])
        assert "logarithms" in setting
        np.testing.assert_allclose(found.mean() + np.log(scale), truth.mean(), atol=0.05)
