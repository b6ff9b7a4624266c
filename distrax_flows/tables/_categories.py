"""Joint distribution of the categories of a table: a tree of pairwise dependences."""

import dataclasses

import numpy as np
import scipy.sparse.csgraph
from jaxtyping import Float, Int

__all__ = ["CategoryTree", "fit_categories"]

_PRIOR = 0.5  # pseudo-counts per level


@dataclasses.dataclass(frozen=True)
class CategoryTree:
    """Distribution of categories `c_1, ..., c_M`, each given at most one other.

        p(c) = prod_j p(c_j | c_parent(j))

    Its probabilities are exact, and so are its samples.

    Attributes:
        order: the categories, each after its parent.
        parents: the parent of each; -1 for the root.
        probabilities: `[K_parent, K_j]` for each, with one row for the root.

    Reference:
        Chow & Liu, "Approximating discrete probability distributions with dependence trees", 1968.
    """

    order: tuple[int, ...] = ()
    parents: tuple[int, ...] = ()
    probabilities: tuple[tuple[tuple[float, ...], ...], ...] = ()

    @property
    def num_levels(self) -> tuple[int, ...]:
        """Number of levels of each category."""
        return tuple(len(rows[0]) for rows in self.probabilities)

    def log_prob(self, levels: Int[np.ndarray, "N M"]) -> Float[np.ndarray, " N"]:
        """Return log-probabilities of rows of levels, numbered from 0."""
        total = np.zeros(len(levels))
        for j, parent in enumerate(self.parents):
            given = levels[:, parent] if parent >= 0 else 0
            total += np.log(np.array(self.probabilities[j]))[given, levels[:, j]]
        return total

    def sample(self, rng: np.random.Generator, num: int) -> Int[np.ndarray, "N M"]:
        """Return rows of levels."""
        levels = np.zeros((num, len(self.order)), int)
        for j in self.order:
            parent = self.parents[j]
            given = levels[:, parent] if parent >= 0 else np.zeros(num, int)
            ends = np.cumsum(np.array(self.probabilities[j]), axis=1)[given]
            levels[:, j] = (rng.random((num, 1)) > ends[:, :-1]).sum(axis=1)
        return levels

    def one_hot(self, levels: Int[np.ndarray, "N M"]) -> Float[np.ndarray, "N C"]:
        """Return rows of zeros and ones, one entry per level, for networks."""
        columns = [np.eye(size)[levels[:, j]] for j, size in enumerate(self.num_levels)]
        return np.concatenate(columns, axis=1).astype(np.float32)


def fit_categories(levels: Int[np.ndarray, "N M"], num_levels: tuple[int, ...]) -> CategoryTree:
    """Return the most likely tree, with probabilities shrunk towards the marginals."""
    num = len(num_levels)
    if num == 0:
        return CategoryTree()
    information = np.zeros((num, num))
    for i in range(num):
        for j in range(i):
            joint = _counts(levels[:, i], levels[:, j], num_levels[i], num_levels[j]) / len(levels)
            independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
            seen = joint > 0
            information[i, j] = (joint[seen] * np.log(joint[seen] / independent[seen])).sum()
    # A minimum spanning tree; no weight is zero, which would mean that there is no edge.
    weights = np.tril(information.max() + 1 - information, -1)
    tree = scipy.sparse.csgraph.minimum_spanning_tree(weights)
    order, parents = scipy.sparse.csgraph.breadth_first_order(tree, 0, directed=False)
    parents = np.where(parents < 0, -1, parents)
    tables = []
    for j, parent in enumerate(parents):
        size = num_levels[j]
        marginal = np.bincount(levels[:, j], minlength=size) + _PRIOR
        marginal = marginal / marginal.sum()
        given = levels[:, parent] if parent >= 0 else np.zeros(len(levels), int)
        counts = _counts(given, levels[:, j], num_levels[parent] if parent >= 0 else 1, size)
        counts = counts + _PRIOR * size * marginal
        tables.append(tuple(map(tuple, (counts / counts.sum(1, keepdims=True)).tolist())))
    return CategoryTree(tuple(order.tolist()), tuple(parents.tolist()), tuple(tables))


def _counts(rows: np.ndarray, columns: np.ndarray, num_rows: int, num_columns: int) -> np.ndarray:
    pairs = np.bincount(rows * num_columns + columns, minlength=num_rows * num_columns)
    return pairs.reshape(num_rows, num_columns).astype(float)
