"""The mixture of Gaussians that a table starts from."""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

__all__ = ["MixtureSize", "choose_mixture", "fit_mixture"]

_COMPONENTS = (1, 2, 3, 4, 6, 8, 12, 16, 24)
# Added to the variances, as fractions of the mean variance.
_RIDGES = (1e-6, 1e-3, 1e-2, 3e-2, 0.1, 0.3)
_MAX_ROWS = 5_000  # for choosing the size


class MixtureSize(NamedTuple):
    """Size of a mixture: its number of Gaussians, and the variance added to each."""

    num_components: int
    ridge: float


def choose_mixture(z: Float[np.ndarray, "N D"], folds: Sequence[np.ndarray]) -> MixtureSize:
    """Return the size with the largest log-likelihood under cross-validation.

    More Gaussians are tried until they no longer help.

    Args:
        z: `[N, D]`, the rows, roughly standardised.
        folds: indices of the rows to hold out in turn, in random order; together, all rows.
    """
    best, best_score, tried = MixtureSize(1, _RIDGES[-1]), -np.inf, range(len(_RIDGES))
    for num_components in _COMPONENTS:
        sizes = [MixtureSize(num_components, _RIDGES[index]) for index in tried]
        scores = [_cross_validate(z, folds, size) for size in sizes]
        if max(scores) <= best_score:
            break
        best, best_score = sizes[int(np.argmax(scores))], max(scores)
        # More Gaussians have fewer rows each, and need no smaller ridge.
        index = _RIDGES.index(best.ridge)
        tried = range(index, min(index + 2, len(_RIDGES)))
    return best


def fit_mixture(z: Float[np.ndarray, "N D"], size: MixtureSize, seed: int = 0) -> Any:
    """Return scikit-learn's mixture of Gaussians fitted to the rows."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(
        size.num_components,
        reg_covar=size.ridge * float(z.var(axis=0).mean()),
        max_iter=300,
        random_state=seed,
    )
    with warnings.catch_warnings():
        # The flow continues from there.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture.fit(z)


def _cross_validate(
    z: Float[np.ndarray, "N D"], folds: Sequence[np.ndarray], size: MixtureSize
) -> float:
    """Return the mean log-likelihood of held-out rows; -inf where there are too few rows."""
    total, count = 0.0, 0
    for index, fold in enumerate(folds):
        # Folds are in random order, and so are the first of many rows.
        train = np.concatenate([other for i, other in enumerate(folds) if i != index])[:_MAX_ROWS]
        if len(train) < 2 * size.num_components:
            return -np.inf
        total += fit_mixture(z[train], size).score(z[fold]) * len(fold)
        count += len(fold)
    return total / count
