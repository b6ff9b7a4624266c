"""Data of other types: converted without a change of meaning, or refused with the remedy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import distrax_flows as dxf
from distrax_flows.functional._events import Events
from distrax_flows.training._data import Batch, check_data

pytestmark = pytest.mark.usefixtures("wrong_types")

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 2)).astype(np.float32)
LABELS = RNG.integers(3, size=(64, 1))
FLOW = dxf.transform(lambda: dxf.flows.nice(2, num_layers=1, hidden_sizes=(4,)))
CONDITIONAL = dxf.transform(
    lambda context: dxf.flows.nice(2, num_layers=1, hidden_sizes=(4,), context=context)
)
OPTIONS = {"key": KEY, "num_steps": 2, "batch_size": 16}


def losses(data, flow=FLOW, **options):
    return dxf.fit(flow, data, **OPTIONS | options).history


class Frame:
    """What pandas has in common with others: it converts to an array."""

    def __array__(self, dtype=None, copy=None):
        return np.asarray(X, dtype)


def on_disk(folder, array):
    np.save(folder / "x.npy", array)
    return np.load(folder / "x.npy", mmap_mode="r")


KINDS = {
    "float16": lambda _: X.astype(np.float16),
    "bfloat16": lambda _: jnp.asarray(X, jnp.bfloat16),
    "big-endian": lambda _: X.astype(">f4"),
    "big-endian doubles": lambda _: X.astype(">f8"),
    "long doubles": lambda _: X.astype(np.longdouble),
    "a list": lambda _: X.tolist(),
    "a table of another library": lambda _: Frame(),
    "columns of another order": lambda _: np.asfortranarray(X)[:, :],
    "a big-endian memory map": lambda folder: on_disk(folder, X.astype(">f8")),
    "a memory map of half precision": lambda folder: on_disk(folder, X.astype(np.float16)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_converted(kind, tmp_path):
    data = KINDS[kind](tmp_path)
    # Rounded to half precision where the data are.
    x = np.asarray(data, np.float32)
    expected = losses(x, validation=(x, x), flow=CONDITIONAL, context=x)
    actual = losses(data, validation=(data, data), flow=CONDITIONAL, context=data)
    np.testing.assert_array_equal(actual.loss, expected.loss)
    np.testing.assert_array_equal(actual.validation_loss, expected.validation_loss)
    held_out = losses(data, validation=0.25)
    np.testing.assert_array_equal(held_out.loss, losses(x, validation=0.25).loss)
    by_iterator = losses(iter([data, data]))
    np.testing.assert_array_equal(by_iterator.loss, losses(iter([x, x])).loss)


def test_lists_may_be_batches_or_their_parts():
    # Rows, as JSON has them, and pairs, as loaders of PyTorch yield them.
    rows = X.tolist()
    pair = [X, LABELS]
    np.testing.assert_array_equal(losses(iter([rows, rows])).loss, losses(iter([X, X])).loss)
    np.testing.assert_array_equal(
        losses(iter([pair, pair]), CONDITIONAL).loss,
        losses(iter([(X, LABELS), (X, LABELS)]), CONDITIONAL).loss,
    )


def test_an_iterator_may_use_one_array_for_all_batches():
    def batches(buffer):
        for row in range(4):
            buffer[:] = X[16 * row : 16 * row + 16]
            yield buffer

    options = {"num_steps": 4}
    expected = losses((X[16 * row : 16 * row + 16] for row in range(4)), **options)
    np.testing.assert_array_equal(
        losses(batches(np.empty((16, 2), np.float32)), **options).loss, expected.loss
    )


def test_integers_may_be_contexts_and_weights():
    counts = 1 + LABELS[:, 0]

    def log_density(x, context):
        return -jnp.sum((x - context) ** 2, axis=-1)

    for integers in (LABELS, LABELS.tolist(), LABELS > 0):
        given = np.asarray(integers).astype(np.float32)
        for context in (integers, given):
            found = losses(X, CONDITIONAL, context=context, weights=counts)
            expected = losses(X, CONDITIONAL, context=given, weights=counts.astype(np.float32))
            np.testing.assert_array_equal(found.loss, expected.loss)
        drawn = losses(lambda key, c=integers: (X, jnp.asarray(c), counts), CONDITIONAL)
        floating = losses(lambda key, c=given: (X, jnp.asarray(c), 1.0 * counts), CONDITIONAL)
        np.testing.assert_array_equal(drawn.loss, floating.loss)
    options = {"key": KEY, "num_steps": 2, "num_samples": 4}
    np.testing.assert_array_equal(
        dxf.fit_to_density(CONDITIONAL, log_density, context=[[0], [1]], **options).history.loss,
        dxf.fit_to_density(
            CONDITIONAL, log_density, context=np.float64([[0], [1]]), **options
        ).history.loss,
    )


REFUSED = {
    "a masked array": (
        np.ma.masked_greater(X, 1.0),
        TypeError,
        r"must not be a masked array; got one with \d+ masked entries.*compress_rows",
    ),
    "a structured array": (
        np.zeros(64, [("ra", ">f4"), ("dec", ">f4")]),
        TypeError,
        "must be a floating-point array; got dtype .*ra.*structured_to_unstructured",
    ),
    "objects": (X.astype(object), TypeError, r"got dtype object.*np.asarray\(.*, float\)"),
    "strings": (X.astype(str), TypeError, r"got dtype <U.*astype\(float\)"),
    "bytes": (X.astype("S8"), TypeError, r"got dtype \|S8.*astype\(float\)"),
    "complex numbers": (X + 1j * X, TypeError, "got dtype complex.*real and imaginary parts"),
    "times": (
        (1e9 * X).astype("datetime64[s]"),
        TypeError,
        r"got dtype datetime64\[s\].*timedelta64",
    ),
    "durations": ((1e3 * X).astype("timedelta64[s]"), TypeError, r"got dtype timedelta64.*timed"),
    "a dictionary": ({"a": X[:, 0], "b": X[:, 1]}, TypeError, r"got a dict with the keys \['a', "),
    "rows of uneven lengths": ([[0.0, 1.0], [2.0]], ValueError, "must have rows of one length"),
    "random keys": (jax.random.split(KEY, 64), TypeError, "got dtype key<fry>"),
    "counts": (LABELS + np.zeros((1, 2), int), TypeError, r"dequantise them.*uniform\(size="),
    "booleans": (X > 0, TypeError, "got dtype bool.*dequantise"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_by_name(kind):
    bad, error, message = REFUSED[kind]
    with pytest.raises(error, match="`data` .*" + message):
        losses(bad)
    with pytest.raises(error, match="`validation` .*" + message):
        losses(X, validation=bad)
    with pytest.raises(error, match="`data` .*" + message):
        dxf.fit_to_density(FLOW, lambda x: -jnp.sum(x**2, -1), key=KEY, data=bad, num_steps=2)
    if error is TypeError and not isinstance(bad, dict):
        with pytest.raises(error, match="`data` .*" + message):
            losses(iter([bad, bad]))
    if kind not in ("counts", "booleans"):
        with pytest.raises(error, match="`context` .*" + message):
            losses(X, CONDITIONAL, context=bad)
        with pytest.raises(error, match=r"`validation\[1\]` .*" + message):
            losses(X, CONDITIONAL, context=X, validation=(X, bad))
        with pytest.raises(error, match="`context` .*" + message):
            dxf.fit_to_density(CONDITIONAL, lambda x, c: x[..., 0], key=KEY, context=bad)


@pytest.mark.parametrize("batch", [{"x": X}, {"x": X, "context": X}])
def test_batches_in_dictionaries_are_refused(batch):
    message = r"`data` must be made of arrays; got a dict with the keys \['x'.*Give `x`, `\(x, con"
    with pytest.raises(TypeError, match=message):
        losses(iter([batch, batch]))
    with pytest.raises(TypeError, match=message):
        losses(lambda key: batch)


JULIAN = 2_450_000.5 + RNG.uniform(0, 30, size=(64, 2))
GPS = 1.3e9 + 3600 * RNG.uniform(size=(64, 1))
MERGED = {
    "Julian dates": JULIAN,
    "GPS seconds": np.hstack([X, GPS])[:, 1:],
    "whole GPS seconds": np.hstack([X, np.floor(GPS)])[:, 1:],
    "one value": 1e9 + X.astype(float),
    "underflow": 1e-60 * X.astype(float),
    "subnormal numbers": (1e-41 * X.astype(float)).astype(np.float32),
}


@pytest.mark.parametrize("kind", MERGED)
def test_columns_that_rounding_merges_are_refused(kind, tmp_path):
    data = MERGED[kind]
    message = (
        r"must keep its values apart in float32; got columns \[(0, )?1\] that do not: in a sample "
        r"of rows, column \d has 6\d distinct values, and \d+ after rounding. "
    )
    with pytest.raises(ValueError, match="`data` " + message) as caught:
        losses(data)
    if kind in ("Julian dates", "GPS seconds"):
        # The remedy is an expression, which leads to data that pass.
        column = 0 if kind == "Julian dates" else 1
        remedy = str(caught.value).split("first, `")[1].split("`")[0]
        moved = np.stack([X[:, 0], eval(remedy, {"data": data})], axis=-1)
        assert f"data[:, {column}] - " in remedy
        assert np.isfinite(losses(moved).loss).all()
    elif kind in ("underflow", "subnormal numbers"):
        assert "Bring it to a scale of about 1 first" in str(caught.value)
    for bad in (on_disk(tmp_path, data), data.astype(data.dtype.newbyteorder(">"))):
        with pytest.raises(ValueError, match="`data` " + message):
            losses(bad)
    with pytest.raises(ValueError, match="`context` " + message):
        losses(X, CONDITIONAL, context=data)
    with pytest.raises(ValueError, match="`validation` " + message):
        losses(X, validation=data)
    with pytest.raises(ValueError, match="`data` " + message):
        losses(iter([data, data]))
    with pytest.raises(ValueError, match="`context` " + message):
        losses(iter([(X, data), (X, data)]), CONDITIONAL)
    with pytest.raises(ValueError, match="`context` " + message):
        dxf.fit_to_density(CONDITIONAL, lambda x, c: x[..., 0], key=KEY, context=data)


def test_double_precision_keeps_them_apart(x64):
    flow = dxf.transform(
        lambda: dxf.flows.nice(2, num_layers=1, hidden_sizes=(4,), standardize=True)
    )
    assert np.isfinite(losses(JULIAN, flow).loss).all()


@pytest.mark.parametrize("num_rows", [20, 1_000, 20_000])
def test_ordinary_columns_are_not_refused(num_rows):
    rng = np.random.default_rng(1)
    normal = rng.normal(size=num_rows)
    columns = [
        normal,
        rng.uniform(size=num_rows),
        np.exp(3 * normal),
        rng.standard_cauchy(num_rows),
        300 + 10 * normal,
        1e4 + normal,
        2020 + rng.uniform(0, 5, size=num_rows),
        101_325 + 500 * normal,
        5e6 + 1e3 * normal,
        1e30 * normal,
        1e-20 * normal,
        np.floor(10 * normal),
        np.where(normal > 0, normal, 0.0),
        1e9 + 1024.0 * np.floor(5 * normal),
    ]
    data = np.stack(columns, axis=-1)
    for x in (data, data.astype(np.float32)):
        check_data(
            Batch(x, x),
            Batch("data", "context", "weights"),
            Events(x.shape[1:], x.shape[1:], is_discrete=False),
        )
