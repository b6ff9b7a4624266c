"""Maximum-likelihood Gaussian, the baseline of the flows."""

from typing import NamedTuple

import numpy as np
import scipy.linalg

# Fractions of each column's variance; validation chooses one.
RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.3)

_BLOCK = 10_000  # rows


class Gaussian(NamedTuple):
    """A Gaussian with any covariance."""

    mean: np.ndarray  # `[D]`
    factor: np.ndarray  # `[D, D]`, lower triangular: the covariance is `factor @ factor.T`
    # added to the diagonal of the rows' covariance, as a fraction of that diagonal
    ridge: np.ndarray

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """Log-densities of `[N, D]`, in float64, as everything here."""
        z = scipy.linalg.solve_triangular(self.factor, (x - self.mean).T, lower=True)
        constant = np.log(self.factor.diagonal()).sum() + 0.5 * len(z) * np.log(2 * np.pi)
        return -0.5 * (z**2).sum(axis=0) - constant

    def sample(self, seed: int, num: int) -> np.ndarray:
        """Samples, `[num, D]`."""
        z = np.random.default_rng(seed).normal(size=(num, len(self.mean)))
        return self.mean + z @ self.factor.T


def fit_gaussian(train: np.ndarray, validation: np.ndarray) -> Gaussian:
    """The Gaussian with the training rows' mean and covariance, and the ridge that validates best.

    A memory map is read twice, in blocks.

    Raises:
        ValueError: a column of `train` is constant.
    """
    mean = np.sum([block.sum(axis=0, dtype=float) for block in blocks(train)], axis=0) / len(train)
    covariance = np.zeros((len(mean), len(mean)))
    for block in blocks(train):
        covariance += (block - mean).T @ (block - mean) / len(train)
    variance = covariance.diagonal()
    if not (variance > 0).all():
        constant = np.flatnonzero(variance == 0).tolist()
        raise ValueError(
            f"`train` must vary in every column; got constants in the columns {constant}, counted "
            "from 0. Drop them."
        )
    gaussians = [
        Gaussian(mean, np.linalg.cholesky(covariance + ridge * np.diag(variance)), np.array(ridge))
        for ridge in RIDGES
    ]
    return max(gaussians, key=lambda gaussian: gaussian.log_prob(validation).mean())


def blocks(x: np.ndarray) -> list[np.ndarray]:
    """Blocks of the rows; those of a memory map stay on disk until they are used."""
    return [x[start : start + _BLOCK] for start in range(0, len(x), _BLOCK)]
