"""Estimators of scikit-learn: its own checks, densities and quantiles, and compiled code."""

import functools
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pandas
import pytest
import scipy.sparse
from scipy import stats
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import (
    check_dict_unchanged,
    check_estimators_pickle,
    check_methods_sample_order_invariance,
    check_methods_subset_invariance,
    check_no_attributes_set_in_init,
    check_regressor_multioutput,
    check_sample_weight_equivalence_on_dense_data,
    parametrize_with_checks,
)

import distrax_flows as dxf
from distrax_flows.interfaces.sklearn import FlowDensity, FlowRegressor
from distrax_flows.interfaces.sklearn._estimator import distinct, pieces

RNG = np.random.default_rng(0)
# One layer and few steps, which compile and run fast.
SMALL = {"num_layers": 1, "hidden_sizes": (8,), "random_state": 0}
DENSITY = FlowDensity("maf", num_steps=20, **SMALL)
REGRESSOR = FlowRegressor(
    num_steps=200, learning_rate=0.02, weight_decay=0.0, validation_fraction=0.0, **SMALL
)
X = RNG.normal([3.0, -1.0], [2.0, 0.5], (300, 2))
Y = X[:, 0] + 0.3 * RNG.normal(size=300)


@pytest.mark.slow
@pytest.mark.usefixtures("wrong_types")
@parametrize_with_checks([DENSITY, REGRESSOR])
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    "check",
    [
        check_dict_unchanged,
        check_estimators_pickle,
        check_methods_sample_order_invariance,
        check_methods_subset_invariance,
        check_no_attributes_set_in_init,
    ],
)
def test_some_checks_of_scikit_learn(check):
    check("FlowDensity", DENSITY)


@pytest.mark.slow
def test_weights_of_a_regression_are_repeated_rows():
    check_sample_weight_equivalence_on_dense_data("FlowRegressor", REGRESSOR)


@pytest.mark.slow
def test_default_parameters_pass_a_check():
    check_regressor_multioutput("FlowRegressor", FlowRegressor(num_steps=20))


def test_the_log_density_of_a_gaussian():
    density = clone(DENSITY).set_params(num_steps=300).fit(X)
    new = RNG.normal([3.0, -1.0], [2.0, 0.5], (2000, 2))
    truth = stats.norm([3.0, -1.0], [2.0, 0.5]).logpdf(new).sum(axis=1)
    log_prob = density.score_samples(new)
    assert log_prob.dtype == np.float64
    assert log_prob.shape == (2000,)
    assert abs(log_prob.mean() - truth.mean()) < 0.05
    assert density.score(new) == log_prob.mean()
    samples = density.sample(4000, random_state=0)
    np.testing.assert_allclose(samples.mean(axis=0), [3.0, -1.0], atol=0.2)
    np.testing.assert_allclose(samples.std(axis=0), [2.0, 0.5], rtol=0.1)


def test_results_of_a_density_are_those_of_its_flow(tmp_path):
    density = clone(DENSITY).fit(X)
    log_prob = density.flow_.log_prob(density.params_, X.astype("float32"))
    np.testing.assert_allclose(density.score_samples(X), log_prob, rtol=1e-5)
    dxf.save(tmp_path / "x.flow", density.flow_, density.params_)
    loaded = dxf.load(tmp_path / "x.flow")
    np.testing.assert_allclose(
        loaded.flow.log_prob(loaded.params, X.astype("float32")), log_prob, rtol=1e-5
    )


def heteroscedastic(num_rows):
    x = RNG.uniform(-2.0, 2.0, (num_rows, 1))
    scale = 0.3 * np.exp(0.5 * x[:, 0])
    return x, 2.0 * x[:, 0] + scale * RNG.normal(size=num_rows), scale


@pytest.mark.slow
def test_quantiles_cover():
    x, y, _ = heteroscedastic(1000)
    regressor = FlowRegressor(random_state=0).fit(x, y)
    x, y, scale = heteroscedastic(4000)
    low, median, high = regressor.predict_quantiles(x, [0.05, 0.5, 0.95]).T
    inside = (low < y) & (y < high)
    for part in (x[:, 0] < -0.7, np.abs(x[:, 0]) < 0.7, x[:, 0] > 0.7):
        assert abs(inside[part].mean() - 0.9) < 0.06
    assert abs((y < median).mean() - 0.5) < 0.05
    assert regressor.score(x, y) > 0.9
    truth = stats.norm(2.0 * x[:, 0], scale).logpdf(y).mean()
    assert truth - 0.2 < regressor.log_prob(x, y).mean() < truth
    samples = regressor.sample(x, 20, random_state=0)
    assert samples.shape == (4000, 20)
    np.testing.assert_allclose(samples.std(axis=1).mean(), scale.mean(), rtol=0.2)


@pytest.mark.parametrize("outputs", [(), (1,), pytest.param((2,), marks=pytest.mark.slow)])
def test_shapes_of_a_regression(outputs):
    y = np.stack([Y, X[:, 1] - Y], axis=1)[:, : outputs[0]] if outputs else Y
    regressor = clone(REGRESSOR).set_params(num_steps=20).fit(X, y)
    assert regressor.predict(X[:7]).shape == (7, *outputs)
    assert regressor.predict_quantiles(X[:7], [0.1, 0.9]).shape == (7, 2, *outputs)
    assert regressor.sample(X[:7], 5, random_state=0).shape == (7, 5, *outputs)
    log_prob = regressor.log_prob(X[:7], y[:7])
    direct = regressor.flow_.log_prob(
        regressor.params_, y[:7].reshape(7, -1).astype("float32"), X[:7].astype("float32")
    )
    np.testing.assert_allclose(log_prob, direct, rtol=1e-5)
    with pytest.raises(ValueError, match="`y` must have shape"):
        regressor.log_prob(X[:7], np.ones((7, 3)))


def test_seeds():
    density = clone(DENSITY).fit(X)
    again = clone(DENSITY).fit(X)
    np.testing.assert_array_equal(density.score_samples(X), again.score_samples(X))
    other = clone(DENSITY).set_params(random_state=np.random.RandomState(1)).fit(X)
    assert np.any(density.score_samples(X) != other.score_samples(X))
    np.testing.assert_array_equal(density.sample(9, 0), density.sample(9, 0))
    assert np.any(density.sample(9) != density.sample(9))


@pytest.mark.parametrize("estimator", [DENSITY, REGRESSOR])
def test_another_number_of_rows_compiles_nothing(estimator, compilations):
    def use(num_rows):
        fitted = clone(estimator).fit(X[:num_rows], Y[:num_rows])
        fitted.score(X[:num_rows], Y[:num_rows])
        fitted.sample(*([X[:num_rows]] if isinstance(fitted, FlowRegressor) else [num_rows]))

    use(150)
    del compilations[:]
    use(277)
    assert compilations == []


def test_partial_functions_share_compiled_code(compilations):
    make = functools.partial(dxf.flows.maf, num_layers=1, hidden_sizes=(8,), standardize=True)
    density = FlowDensity(make, num_steps=20, random_state=0)
    log_prob = clone(density).fit(X).score_samples(X)
    del compilations[:]
    np.testing.assert_array_equal(clone(density).fit(X).score_samples(X), log_prob)
    assert compilations == []


def test_functions_may_have_arguments_that_do_not_hash():
    make = functools.partial(dxf.flows.maf, num_layers=1, hidden_sizes=[8], standardize=True)
    assert FlowDensity(make, num_steps=5).fit(X).score_samples(X).shape == (300,)


def test_pipelines_searches_and_cross_validation():
    pipeline = make_pipeline(StandardScaler(), clone(DENSITY)).fit(X)
    # Densities are in the units of the scaled data.
    density = clone(DENSITY).fit(X)
    shift = np.log(X.std(axis=0)).sum()
    np.testing.assert_allclose(
        pipeline.score_samples(X), density.score_samples(X) + shift, atol=1e-3
    )
    assert cross_val_score(density, X, cv=3).shape == (3,)
    search = GridSearchCV(clone(DENSITY), {"learning_rate": [1e-3, 1e-2]}, cv=2).fit(X)
    assert search.best_params_["learning_rate"] in (1e-3, 1e-2)
    scores = cross_val_score(clone(REGRESSOR), X, Y, cv=2)
    assert scores.min() > 0.8


@pytest.mark.slow
def test_a_fit_pickles_into_another_process(tmp_path):
    for name, estimator in (("density", DENSITY), ("regressor", REGRESSOR)):
        joblib.dump(clone(estimator).fit(X, Y), tmp_path / name)
    density = pickle.loads(pickle.dumps(clone(DENSITY).fit(X)))
    np.save(tmp_path / "X.npy", X)
    code = (
        "import joblib, numpy as np, sys;"
        "X = np.load(sys.argv[1] + '/X.npy');"
        "print(joblib.load(sys.argv[1] + '/density').score(X));"
        "print(joblib.load(sys.argv[1] + '/regressor').predict(X).mean())"
    )
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    score, mean = map(float, result.stdout.split())
    assert abs(score - density.score(X)) < 1e-4
    assert abs(mean - Y.mean()) < 0.3


def test_columns_keep_their_names():
    table = pandas.DataFrame(X, columns=["length", "width"])
    density = clone(DENSITY).fit(table)
    assert list(density.feature_names_in_) == ["length", "width"]
    assert density.n_features_in_ == 2
    density.score_samples(table)
    with pytest.raises(ValueError, match="feature names"):
        density.score_samples(table[["width", "length"]])


def test_precisions():
    wide, narrow = (clone(DENSITY).fit(X.astype(dtype)) for dtype in ("float64", "float32"))
    np.testing.assert_allclose(wide.score_samples(X), narrow.score_samples(X), atol=1e-3)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"flow": "mef"}, "`flow` must be one of"),
        ({"num_steps": 0}, "`num_steps` must be an integer"),
        ({"hidden_sizes": ()}, "`hidden_sizes` must be a non-empty"),
        ({"learning_rate": 0.0}, "`learning_rate` must be a finite number above 0"),
        ({"weight_decay": -1.0}, "`weight_decay` must be"),
        ({"validation_fraction": 1.0}, "`validation_fraction` must be"),
        ({"flow": dxf.flows.maf, "hidden_sizes": None}, "`num_layers` must be None where `flow`"),
    ],
)
def test_wrong_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        clone(DENSITY).set_params(**parameters).fit(X)


def test_wrong_data():
    constant = np.stack([X[:, 0], np.ones(300)], axis=1)
    with pytest.raises(ValueError, match=r"`X` must vary in every column; got constant columns"):
        clone(DENSITY).fit(constant)
    with pytest.raises(ValueError, match="`y` must vary"):
        clone(REGRESSOR).fit(X, np.ones(300))
    with pytest.raises(ValueError, match="1 sample"):
        clone(DENSITY).fit(X[:1])
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        clone(DENSITY).fit(scipy.sparse.csr_array(X))
    with pytest.raises(ValueError, match="`X` must keep its values apart"):
        clone(DENSITY).fit(X * 1e-6 + 2.45e6)
    with pytest.raises(ValueError, match="`quantiles` must be"):
        clone(REGRESSOR).set_params(num_steps=5).fit(X, Y).predict_quantiles(X, [1.5])
    with pytest.raises(NotFittedError):
        DENSITY.score_samples(X)
    assert not hasattr(DENSITY, "flow_")


def test_few_rows():
    density = clone(DENSITY).set_params(validation_fraction=0.5)
    for num_rows in (2, 3):
        assert np.isfinite(density.fit(X[:num_rows]).score_samples(X[:num_rows])).all()


def test_equal_rows_are_merged():
    rows = np.array([[1.0, 0.0], [2.0, 3.0], [1.0, -0.0], [4.0, 5.0]])
    merged, weights = distinct(rows, np.array([1.0, 2.0, 0.5, 0.0]))
    np.testing.assert_array_equal(merged, [[1.0, 0.0], [2.0, 3.0]])
    np.testing.assert_array_equal(weights, [1.5, 2.0])
    assert distinct(rows[1:3], None).weights is None


@pytest.mark.parametrize("num_rows", [1, 255, 256, 300, 8192, 20000])
def test_pieces_have_few_sizes(num_rows):
    cut = list(pieces(num_rows))
    assert {piece.stop - piece.start for piece in cut} <= {256, 8192}
    assert [piece.start for piece in cut[1:]] == [piece.stop for piece in cut[:-1]]
    assert cut[-1].start < num_rows <= cut[-1].stop
