"""Outliers: rows that set the scale of all others are named before a fit starts."""

import warnings

import jax
import numpy as np
import pytest

import distrax_flows as dxf
from distrax_flows.training._data import Batch
from distrax_flows.training._outliers import warn_of_outliers

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(2000, 2))
FLOW = dxf.transform(lambda: dxf.flows.nice(2, num_layers=1, hidden_sizes=(4,), standardize=True))
PLAIN = dxf.transform(lambda: dxf.flows.nice(2, num_layers=1, hidden_sizes=(4,)))
POSITIVE = dxf.transform(
    lambda: dxf.flows.nice(
        2, num_layers=1, hidden_sizes=(4,), standardize=True, support=dxf.supports.positive()
    )
)
NAMES = Batch("data", "context", "weights")


def spoiled(rows, value, column=1):
    x = X.copy()
    x[rows, column] = value
    return x.astype(np.float32)


def fit(flow, x, **options):
    return dxf.fit(flow, x, key=KEY, num_steps=1, **options)


@pytest.mark.parametrize(
    ("x", "row", "value"),
    [
        # 2.5 % at 1e7, of which one is the farthest.
        (
            np.where(np.arange(2000)[:, None] == 1960, 1.1, 1) * spoiled(slice(0, 2000, 40), 1e7),
            1960,
            r"1\.1e\+07",
        ),
        (spoiled(777, 1e6), 777, r"1e\+06"),
        (spoiled(777, -1e6), 777, r"-1e\+06"),
    ],
)
def test_the_farthest_row_is_named(x, row, value):
    message = (
        r"Column 1 of `data` has a standard deviation of \d\.\de\+0\d times its interquartile "
        rf"range; the farthest row is {row}, with the value {value}.*`standardize=\"robust\"`"
    )
    with pytest.warns(UserWarning, match=message) as caught:
        fit(FLOW, x)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match=message):
        dxf.fit(FLOW, x, key=jax.random.split(KEY, 2), num_steps=1)
    fit(PLAIN, x)  # nothing is standardised by them


def test_statistics_of_contexts_have_a_name_of_their_own():
    context = spoiled(5, 1e6, column=0)
    statistics = {"fixed_mean": np.zeros(2), "fixed_log_deviation": np.log(context.std(axis=0))}
    with pytest.warns(UserWarning, match=r"Column 0 of `context` .* farthest row is 5, with the"):
        warn_of_outliers({"flow/standardize_context": statistics}, Batch(X, context), NAMES)
    robust = {"fixed_median": np.zeros(2), "fixed_log_deviation": np.zeros(2)}
    warn_of_outliers({"standardize": robust}, Batch(context), NAMES)


@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1.0, 1e17, 1e30])
def test_ordinary_data_of_any_scale_are_not_named(scale):
    rng = np.random.default_rng(1)
    columns = [
        rng.normal(size=3000),
        rng.exponential(size=3000),
        rng.standard_t(3, size=3000),
        rng.laplace(size=3000),
        np.exp(1.5 * rng.normal(size=3000)),
        np.where(rng.uniform(size=3000) < 0.9, rng.normal(size=3000), 20.0),
        np.where(rng.uniform(size=3000) < 0.9, 0.0, 20.0),  # no spread in its middle half
    ]
    data = scale * np.stack(columns, axis=-1)
    deviation = np.log(data.std(axis=0))
    statistics = {"fixed_mean": data.mean(axis=0), "fixed_log_deviation": deviation}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_outliers({"standardize": statistics}, Batch(data), NAMES)


def test_wide_data_behind_a_support_are_not_named():
    fit(POSITIVE, np.exp(np.float32(3) * X.astype(np.float32)))
