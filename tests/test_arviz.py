"""Samples go to ArviZ and come back as they were."""

import sys

import arviz
import jax.numpy as jnp
import numpy as np
import pytest
import xarray

import distrax_flows as dxf
from distrax_flows.interfaces.arviz import from_arviz, to_arviz

RNG = np.random.default_rng(0)
CHAINS = RNG.normal(size=(4, 300, 3)).astype(np.float32)
NAMES = ("mu", "theta[0]", "theta[1]")


def test_columns_become_variables_and_come_back():
    idata = to_arviz(CHAINS[0], names=NAMES)
    posterior = idata.posterior
    assert dict(posterior.sizes) == {"chain": 1, "draw": 300, "theta_dim_0": 2}
    np.testing.assert_array_equal(posterior["mu"].values, CHAINS[:1, :, 0])
    np.testing.assert_array_equal(posterior["theta"].values, CHAINS[:1, :, 1:])
    x, names = from_arviz(idata)
    assert names == NAMES
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, CHAINS[0])


def test_chains_and_log_densities():
    log_prob = -0.5 * np.sum(CHAINS**2, axis=-1)
    idata = to_arviz(jnp.asarray(CHAINS), log_prob=jnp.asarray(log_prob), chains=True)
    assert idata.groups() == ["posterior", "sample_stats"]
    np.testing.assert_array_equal(idata.posterior["x"].values, CHAINS)
    np.testing.assert_array_equal(idata.sample_stats["lp"].values, log_prob)
    x, names = from_arviz(idata)
    assert names == ("x[0]", "x[1]", "x[2]")
    np.testing.assert_array_equal(x, CHAINS.reshape(1200, 3))


def test_named_arrays_of_any_shape():
    arrays = {
        "scale": RNG.normal(size=(2, 50)),
        "matrix": RNG.normal(size=(2, 50, 2, 3)),
        "count": RNG.integers(0, 9, (2, 50)),
    }
    idata = to_arviz(arrays, chains=True)
    for name, values in arrays.items():
        np.testing.assert_array_equal(idata.posterior[name].values, values)
    x, names = from_arviz(idata)
    entries = [f"matrix[{i}, {j}]" for i in range(2) for j in range(3)]
    assert names == ("scale", *entries, "count")
    assert list(arviz.summary(idata).index) == list(names)
    np.testing.assert_array_equal(x[:, 1:7], arrays["matrix"].reshape(100, 6))
    again = to_arviz(x, names=names).posterior
    np.testing.assert_array_equal(again["matrix"], arrays["matrix"].reshape(1, 100, 2, 3))


def test_names_that_make_no_whole_variable_stay_as_they_are():
    x = CHAINS[0]
    posterior = to_arviz(x, names=["a[1]", "a[0]", "b[1]"]).posterior
    np.testing.assert_array_equal(posterior["a"].values[0], x[:, [1, 0]])
    np.testing.assert_array_equal(posterior["b[1]"].values[0], x[:, 2])
    assert list(to_arviz(x, names=["a", "a[0]", "a[1, 0]"]).posterior) == ["a", "a[0]", "a[1, 0]"]


def test_scalar_events():
    x = CHAINS[0, :, 0]
    assert to_arviz(x).posterior["x"].shape == (1, 300)
    np.testing.assert_array_equal(to_arviz(x, names=["mu"]).posterior["mu"].values[0], x)


def test_statistics_are_those_of_the_samples():
    flow = dxf.transform(lambda: dxf.flows.realnvp(3, num_layers=2))
    params = flow.init_without_data(0)
    x, log_prob = flow.sample_and_log_prob(params, 1, (500,))
    idata = to_arviz(x, log_prob=log_prob, names=NAMES)
    table = arviz.summary(idata, kind="stats", round_to="none")
    assert tuple(table.index) == NAMES
    np.testing.assert_allclose(table["mean"], np.mean(x, axis=0, dtype=float), atol=1e-6)
    np.testing.assert_allclose(table["sd"], np.std(x, axis=0, ddof=1), rtol=1e-3)
    ess = arviz.ess(to_arviz(CHAINS, chains=True))["x"]
    assert np.all((ess > 800) & (ess < 1600))


def test_axes_may_be_in_any_order_and_variables_are_chosen():
    idata = to_arviz(CHAINS, names=NAMES, chains=True)
    turned = idata.posterior.transpose("theta_dim_0", "draw", "chain")
    x, names = from_arviz(turned, var_names=["theta", "mu"])
    assert names == ("theta[0]", "theta[1]", "mu")
    np.testing.assert_array_equal(x, CHAINS.reshape(-1, 3)[:, [1, 2, 0]])
    assert from_arviz(idata, var_names="mu")[0].shape == (1200, 1)
    prior = arviz.InferenceData(prior=idata.posterior)
    np.testing.assert_array_equal(from_arviz(prior, "prior")[0], CHAINS.reshape(-1, 3))


def test_trees_and_stacked_samples(monkeypatch):
    idata = to_arviz(CHAINS, names=NAMES, chains=True)
    expected = from_arviz(idata)
    stacked = from_arviz(arviz.extract(idata))
    monkeypatch.delattr(arviz, "InferenceData")  # as in ArviZ 1.0
    tree = to_arviz(CHAINS, names=NAMES, chains=True)
    assert isinstance(tree, xarray.DataTree)
    for x, names in (from_arviz(tree), from_arviz(tree["posterior"]), stacked):
        assert names == expected[1]
        np.testing.assert_array_equal(x, expected[0])


@pytest.mark.slow
def test_a_flow_is_fitted_to_a_posterior():
    x, names = from_arviz(to_arviz(CHAINS.astype(np.float64), names=NAMES, chains=True))
    flow = dxf.transform(lambda: dxf.flows.realnvp(3, num_layers=1))
    fitted = dxf.fit(flow, x, key=0, num_steps=3, progress=False)
    samples = flow.sample(fitted.params, 1, (200,))
    figure = dxf.diagnostics.plotting.corner(x, samples, names=names)
    assert figure.axes[3].get_ylabel() == "theta[1]"


def test_missing_arviz_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(ImportError, match=r"pip install 'distrax_flows\[arviz\]'"):
        to_arviz(CHAINS[0])


POSTERIOR = to_arviz(CHAINS, names=NAMES, chains=True)
OBSERVED = xarray.Dataset({"y": ("city", [1.0, 2.0])})
FLAGS = xarray.Dataset({"on": (("chain", "draw"), np.ones((1, 3), bool))})


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: to_arviz(CHAINS), ValueError, r"`samples` must be \[S, D\].*got .*\(4, 300, 3\)"),
        (lambda: to_arviz(CHAINS[0], names=["a"]), ValueError, "`names` must have 3 entries; got"),
        (lambda: to_arviz(CHAINS[0], names="abc"), ValueError, "`names` must have 3 entries; got"),
        (lambda: to_arviz(CHAINS[0], names=list("aba")), ValueError, "must differ; got 'a' twice"),
        (
            lambda: to_arviz({"a": CHAINS[0]}, names=["a"]),
            ValueError,
            "`names` must be None for samples that have names already; got names=",
        ),
        (
            lambda: to_arviz({"a": CHAINS[0], "b": CHAINS[0, :9]}),
            ValueError,
            r"\[S, \.\.\.\] with the same number of samples; got {'a': \(300, 3\), 'b': \(9, 3\)}",
        ),
        (
            lambda: to_arviz({"a": CHAINS[0, :, 0]}, chains=True),
            ValueError,
            r"`samples` must be arrays \[chains, S, \.\.\.\]",
        ),
        (lambda: to_arviz({}), ValueError, "`samples` must be arrays .* got {}"),
        (lambda: to_arviz(CHAINS[0, :0]), ValueError, "must hold at least one sample; got"),
        (lambda: to_arviz({"draw": CHAINS[0]}), ValueError, "uses itself; got 'draw'"),
        (
            lambda: to_arviz(CHAINS, chains=True, log_prob=CHAINS[0, :, 0]),
            ValueError,
            r"`log_prob` must have shape \(4, 300\).* got .*=\(300,\)",
        ),
        (lambda: from_arviz(CHAINS), TypeError, "`idata` must be .* got ndarray. `to_arviz`"),
        (lambda: from_arviz(POSTERIOR, "prior"), ValueError, r"one of \['posterior'\]; got group="),
        (
            lambda: from_arviz(POSTERIOR, var_names=["mu", "nu"]),
            ValueError,
            r"`var_names` must be among \['mu', 'theta'\]; got \['nu'\]",
        ),
        (lambda: from_arviz(POSTERIOR, var_names=[]), ValueError, r"`var_names` .* got \[\]"),
        (lambda: from_arviz(OBSERVED), ValueError, r"must hold samples of 'y'.*got dims=\('city',"),
        (lambda: from_arviz(FLAGS), TypeError, "got 'on' with dtype bool"),
    ],
)
@pytest.mark.usefixtures("wrong_types")
def test_what_conversions_refuse(call, error, message):
    with pytest.raises(error, match=message):
        call()
