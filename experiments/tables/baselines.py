"""Estimators of densities of scikit-learn, with their best settings by cross-validation."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import scipy.special
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neighbors import KernelDensity

from distrax_flows.tables import Column

_NUM_NOISE = 16
_GRIDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "kde": (
        KernelDensity(),
        {"bandwidth": np.geomspace(0.03, 1.5, 15), "kernel": ["gaussian", "exponential"]},
    ),
    "gmm": (
        GaussianMixture(max_iter=500, random_state=0),
        {
            "n_components": [1, 2, 3, 4, 6, 8, 12, 16],
            "covariance_type": ["full", "diag"],
            "reg_covar": [1e-6, 1e-3, 1e-2, 3e-2, 0.1],
        },
    ),
    "gaussian": (GaussianMixture(), {"reg_covar": [1e-6, 1e-3, 1e-2, 3e-2, 0.1, 0.3]}),
}
ESTIMATORS = tuple(_GRIDS)


@dataclasses.dataclass(frozen=True)
class _Units:
    """Standardised columns, some as logarithms."""

    columns: tuple[Column, ...]
    is_log: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray

    def encode(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Standardised rows, and what their log-densities gain from the units."""
        y = np.where(self.is_log, np.log(np.where(self.is_log, x, 1.0)), x)
        slopes = np.where(self.is_log, np.log(np.where(self.is_log, x, 1.0)), 0.0).sum(axis=1)
        return (y - self.mean) / self.deviation, -np.log(self.deviation).sum() - slopes


def score(
    name: str, columns: tuple[Column, ...], train: pd.DataFrame, test: pd.DataFrame
) -> tuple[np.ndarray, str]:
    """Log-densities of the test rows, and the setting chosen."""
    rng = np.random.default_rng(0)
    estimator, grid = _GRIDS[name]
    rows = _as_numbers(columns, train, rng)
    best, best_score, best_units = None, -np.inf, None
    has_log = np.array([column.kind in ("positive", "log_scale", "interval") for column in columns])
    for is_log in {tuple(np.zeros_like(has_log).tolist()), tuple(has_log.tolist())}:
        units = _fit_units(columns, np.array(is_log), rows)
        z, gain = units.encode(rows)
        folds = KFold(5, shuffle=True, random_state=0)
        search = GridSearchCV(estimator, grid, cv=folds, scoring=_mean_log_prob).fit(z)
        if search.best_score_ + gain.mean() > best_score:
            best, best_units = search, units
            best_score = search.best_score_ + gain.mean()
    assert best is not None
    assert best_units is not None
    log_probs = []
    for _ in range(_NUM_NOISE):
        z, gain = best_units.encode(_as_numbers(columns, test, rng))
        log_probs.append(best.best_estimator_.score_samples(z) + gain)
    setting = " ".join(f"{key}={_short(value)}" for key, value in best.best_params_.items())
    found = scipy.special.logsumexp(log_probs, axis=0) - np.log(_NUM_NOISE)
    return found, setting + (" logarithms" if best_units.is_log.any() else "")


def _as_numbers(
    columns: tuple[Column, ...], table: pd.DataFrame, rng: np.random.Generator
) -> np.ndarray:
    """The table as numbers: integers and levels with noise."""
    x = []
    for column in columns:
        values = table[column.name].to_numpy()
        numbers = column.encode(values) if column.is_category else values.astype(float)
        is_discrete = column.kind in ("integer", "category")
        x.append(numbers + (rng.random(len(values)) if is_discrete else 0.0))
    return np.stack(x, axis=1)


def _fit_units(columns: tuple[Column, ...], is_log: np.ndarray, x: np.ndarray) -> _Units:
    y = np.where(is_log, np.log(np.where(is_log, x, 1.0)), x)
    return _Units(columns, is_log, y.mean(axis=0), y.std(axis=0))


def _mean_log_prob(estimator: Any, x: np.ndarray) -> float:
    return float(estimator.score_samples(x).mean())


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
