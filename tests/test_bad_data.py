"""Data that no fit can use are refused before it starts, with the value and the remedy."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import distrax_flows as dxf

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
FLOW = dxf.transform(lambda: dxf.flows.nice(2, num_layers=1, hidden_sizes=(4,)))
POSITIVE = dxf.transform(
    lambda: dxf.flows.nice(2, num_layers=1, hidden_sizes=(4,), support=dxf.supports.positive())
)
CONDITIONAL = dxf.transform(
    lambda context: dxf.flows.nice(2, num_layers=1, hidden_sizes=(4,), context=context)
)


def with_entry(value, row=7, column=1):
    x = X.copy()
    x[row, column] = value
    return x


def with_column(value):
    x = X.copy()
    x[:, 1] = value
    return x


# What is wrong, as docs/training.md names it: flow, data, options, error and message.
CASES = {
    "NaN in a row": (
        (FLOW, with_entry(np.nan), {}),
        (ValueError, "`data` must be finite; 1 of 50 rows are not, the first being row 7"),
    ),
    "an infinite value": (
        (FLOW, with_entry(-np.inf), {}),
        (ValueError, "`data` must be finite; 1 of 50 rows are not, the first being row 7"),
    ),
    "a constant column": (
        (FLOW, with_column(4.0), {}),
        (ValueError, r"must vary in every column; got constant columns \[1\], the first with the"),
    ),
    "integers": (
        (FLOW, X.astype(int), {}),
        (TypeError, "`data` must be a floating-point array; got dtype int"),
    ),
    "Julian dates": (
        (FLOW, 2_450_000.5 + X.astype(float), {}),
        (ValueError, r"must keep its values apart in float32; got columns \[0, 1\] that do not"),
    ),
    "a dictionary": (
        (FLOW, {"x": X}, {}),
        (TypeError, r"`data` must be made of arrays; got a dict with the keys \['x'\]"),
    ),
    "batches in dictionaries": (
        (FLOW, iter([{"x": X}]), {}),
        (TypeError, r"`data` must be made of arrays; got a dict with the keys \['x'\]"),
    ),
    "a masked array": (
        (FLOW, np.ma.masked_less(X, -2.0), {}),
        (TypeError, "`data` must not be a masked array; got one with 2 masked entries"),
    ),
    "strings": (
        (FLOW, X.astype(str), {}),
        (TypeError, "must be a floating-point array; got dtype <U"),
    ),
    "objects": ((FLOW, X.astype(object), {}), (TypeError, "got dtype object.*np.asarray")),
    "times": (
        (FLOW, X.astype(int).astype("datetime64[s]"), {}),
        (TypeError, r"must be a floating-point array; got dtype datetime64\[s\]"),
    ),
    "a vector": (
        (FLOW, X[:, 0], {}),
        (ValueError, r"`data` must have shape \[N, 2\], .*; got data.shape=\(50,\)"),
    ),
    "no rows": ((FLOW, X[:0], {}), (ValueError, r"`data` must not be empty; got data.shape=\(0,")),
    "fewer rows than a batch": (
        (FLOW, X, {"batch_size": 51}),
        (ValueError, "at least `batch_size` rows; got 50 rows and batch_size=51"),
    ),
    "another event size": (
        (FLOW, X, {"validation": X[:, :1]}),
        (ValueError, r"`validation` must have shape \[N, 2\], .*; got validation.shape=\(50, 1\)"),
    ),
    "values outside of the support": (
        (POSITIVE, np.abs(X) - 0.01, {}),
        (ValueError, r"must lie in the support of the flow; \d+ of 50 rows have no finite"),
    ),
    "a context of another length": (
        (CONDITIONAL, X, {"context": X[:3]}),
        (ValueError, r"`context` must have a row for each of the 50 rows of `data`; got"),
    ),
    "NaN in the context": (
        (CONDITIONAL, X, {"context": with_entry(np.nan)}),
        (ValueError, "`context` must be finite; 1 of 50 rows are not, the first being row 7"),
    ),
    "no context for a conditional flow": (
        (CONDITIONAL, X, {}),
        (ValueError, "`context` must be given: this flow was built as a function of it"),
    ),
    "a context for an unconditional flow": (
        (FLOW, X, {"context": X}),
        (ValueError, "`context` must be None: this flow was built without one"),
    ),
    "negative weights": (
        (FLOW, X, {"weights": -X[:, 0]}),
        (ValueError, "`weights` must be finite, at least 0, and not all 0; got -"),
    ),
    "weights of another length": (
        (FLOW, X, {"weights": X[:3, 0]}),
        (ValueError, r"`weights` must have shape \(50,\), .*; got weights.shape=\(3,\)"),
    ),
    "weights that are all zero": (
        (FLOW, X, {"weights": np.zeros(50)}),
        (ValueError, "`weights` must be finite, at least 0, and not all 0; got zeros only"),
    ),
    "validation weights that are all zero": (
        (FLOW, X, {"validation": (X, None, np.zeros(50))}),
        (
            ValueError,
            r"`validation\[2\]` must be finite, at least 0, and not all 0; got zeros only",
        ),
    ),
    "a fraction whose weights are all zero": (
        (FLOW, X, {"validation": 0.02, "weights": np.eye(50)[0]}),
        (ValueError, "`weights` must not all be 0 in the rows held out for `validation`; got"),
    ),
    "no weight left to train on": (
        (FLOW, X, {"validation": 0.98, "weights": np.eye(50)[0], "batch_size": 1}),
        (ValueError, "`weights` must not all be 0 in the rows left to train on; got zeros only"),
    ),
    "validation data without context": (
        (CONDITIONAL, X, {"context": X, "validation": X}),
        (ValueError, "`context` must be given: this flow was built as a function of it"),
    ),
    "a fraction of 1.5": (
        (FLOW, X, {"validation": 1.5}),
        (ValueError, "`validation` must be data, or a fraction between 0 and 1; got 1.5"),
    ),
    "a function that draws no batch": (
        (FLOW, lambda key: jnp.zeros(3), {}),
        (ValueError, r"`data` must give a batch \[batch_size, 2\], .*; got shapes \[\(3,\)\]"),
    ),
    "a function that draws integers": (
        (FLOW, lambda key: jnp.zeros((8, 2), int), {}),
        (TypeError, "`data` must be a floating-point array; got dtype int32. Counts have no"),
    ),
    "a function, and a context beside it": (
        (FLOW, lambda key: jnp.zeros((8, 2)), {"context": X}),
        (ValueError, "`context` must be None where `data` is a function or an iterator"),
    ),
    "an iterator that ends": (
        (FLOW, iter([X[:8]]), {}),
        (ValueError, "must yield a batch for every step; the iterator ended before step 1"),
    ),
    "an iterator of uneven batches": (
        (FLOW, iter([X[:8], X[:5]]), {}),
        (ValueError, r"must yield batches of one shape; got \[\(\(5, 2\),\), \(\(8, 2\),\)\]"),
    ),
    "an empty iterator": (
        (FLOW, iter([]), {}),
        (ValueError, "must yield a batch for every step; the iterator ended before step 0"),
    ),
    "patience without validation": (
        (FLOW, X, {"patience": 3}),
        (ValueError, "`patience` needs `validation` data"),
    ),
    "steps and epochs": (
        (FLOW, X, {"num_epochs": 3}),
        (ValueError, "`num_epochs` must be None beside `num_steps`"),
    ),
    "no steps": (
        (FLOW, X, {"num_steps": 0}),
        (ValueError, "`num_steps` must be an integer of at least 1; got num_steps=0"),
    ),
    "an average of decay 1": (
        (FLOW, X, {"ema_decay": 1.0}),
        (ValueError, "`ema_decay` must be between 0 and 1; got ema_decay=1.0"),
    ),
    "an unknown policy": (
        (FLOW, X, {"non_finite": "ignore"}),
        (ValueError, r"`non_finite` must be one of \['raise', 'skip'\]; got non_finite='ignore'"),
    ),
    "nothing to resume": (
        (FLOW, X, {"resume": True}),
        (ValueError, "`resume` needs a `checkpoint_dir` to continue from; got none"),
    ),
}


DOCS = Path(__file__).parents[1] / "docs" / "training.md"


@pytest.mark.usefixtures("wrong_types")
@pytest.mark.parametrize("name", CASES)
def test_refused_before_training(name):
    (flow, data, options), (error, message) = CASES[name]
    steps = []
    with pytest.raises(error, match=message) as caught:
        dxf.fit(
            flow,
            data,
            **{"key": KEY, "batch_size": 8, "num_steps": 2} | options,
            callback=lambda step, params: steps.append(step),
        )
    assert steps in ([], [0])  # no step was made
    assert f"| {name} | {error.__name__}: {caught.value} |" in DOCS.read_text()


def test_a_memory_map_is_checked_too(tmp_path):
    np.save(tmp_path / "x.npy", with_entry(np.nan))
    np.save(tmp_path / "i.npy", X.astype(int))
    options = {"key": KEY, "batch_size": 8, "num_steps": 2}
    with pytest.raises(ValueError, match="the first being row 7"):
        dxf.fit(FLOW, np.load(tmp_path / "x.npy", mmap_mode="r"), **options)
    with pytest.raises(TypeError, match=r"got dtype int64.*dequantise them"):
        dxf.fit(FLOW, np.load(tmp_path / "i.npy", mmap_mode="r"), **options)
    # Finite where it was written, infinite in the precision of the fit.
    np.save(tmp_path / "d.npy", np.where(np.eye(50, 2) > 0, 1e300, X.astype(float)))
    with pytest.raises(ValueError, match=r"must be finite in float32; 2 of 50 rows are not.*Scale"):
        dxf.fit(FLOW, np.load(tmp_path / "d.npy", mmap_mode="r"), **options)
