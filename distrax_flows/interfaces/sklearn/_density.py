"""Density estimation."""

from typing import Any

import jax
import numpy as np
from sklearn.base import DensityMixin
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from distrax_flows._core.checks import check_positive_int
from distrax_flows.functional.flow import events_of
from distrax_flows.interfaces.sklearn._estimator import (
    FlowEstimator,
    distinct,
    float_type,
    map_rows,
    pieces,
    seed_of,
)
from distrax_flows.interfaces.sklearn._flows import flow_of, spec_of
from distrax_flows.training._data import Batch, check_columns_vary, check_data

__all__ = ["FlowDensity"]


class FlowDensity(DensityMixin, FlowEstimator):
    """Density p(x) of the rows of a table: a normalizing flow, fitted by maximum likelihood.

    It takes the place of `KernelDensity` and `GaussianMixture`, in pipelines, searches and
    cross-validation. Parameters that are None are chosen from the size of the table. Columns may
    have any scale: densities are in the units of the data. Fits to tables with the same columns
    share compiled code, whatever their number of rows.

    Equal rows are merged and their weights added: a weight of two means that the row occurs twice.
    The order of the rows does not matter.

    Args:
        flow: "nsf_coupling", "nsf_autoregressive", "realnvp" or "maf", with learned linear maps
            between their layers; "auto" chooses one. Or a function `make(event_size)` that
            builds a flow, such as `functools.partial(flows.maf, standardize=True)`.
        num_layers: number of layers.
        hidden_sizes: hidden units of each network.
        num_steps: maximum number of gradient steps.
        batch_size: rows per step; fewer if the table is smaller.
        learning_rate: the peak learning rate of Adam.
        weight_decay: each step shrinks the networks' matrices by this times the learning rate.
        validation_fraction: fraction of the rows held out to find the best step; 0 for none.
        patience: number of evaluations without improvement on these rows that ends the fit.
        random_state: seed, `RandomState` or None, for the initialisation, the rows held out and the
            order of the others. Equal seeds give equal fits, bit for bit.
        verbose: whether to show a progress bar.

    Attributes:
        flow_: the flow, as `distrax_flows.transform` returns it.
        params_: its parameters: `flow_.log_prob(params_, x)`, and
            `distrax_flows.save(path, flow_, params_)`.
        history_: losses and timings of the fit.
        recipe_: the sizes and training that were chosen, a `distrax_flows.tables.Recipe`.
        n_features_in_: number of columns.
        feature_names_in_: names of the columns, if any.

    Example:
        >>> import numpy as np
        >>> from distrax_flows.interfaces.sklearn import FlowDensity
        >>> X = np.random.default_rng(0).normal(5.0, 2.0, size=(500, 2))
        >>> density = FlowDensity(num_steps=100, random_state=0).fit(X)
        >>> density.score_samples(X[:3]).shape
        (3,)
        >>> density.sample(10, random_state=1).shape
        (10, 2)
    """

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
    ) -> "FlowDensity":
        """Fit the density.

        Args:
            X: `[N, D]`, the data.
            y: not used.
            sample_weight: `[N]`, the weight of each row; only their ratios matter.

        Returns:
            This estimator.

        Raises:
            ValueError: `X` has fewer than two different rows, non-finite values or a constant
                column; or a parameter is out of range.
        """
        X = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, X, dtype=np.float64, ensure_non_negative=True
            )
        rows, weights = distinct(X, sample_weight)
        check_columns_vary("X", rows)
        choice = self._choose(*rows.shape, is_conditional=False)
        spec = spec_of(self.flow, choice.recipe, rows.shape[1], is_conditional=False)
        names = Batch("X", None, "sample_weight")
        data = check_data(Batch(rows, None, weights), names, events_of(flow_of(spec)))
        self._train(spec, choice, data)
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """Return the log-density of each row, `[N]`, in nats.

        Args:
            X: `[N, D]`, the rows.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=float_type(), reset=False)
        flow = self.flow_
        return map_rows(lambda x: flow.log_prob(self.params_, x), X)

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean log-density of the rows, in nats.

        As in `GaussianMixture`, the mean does not depend on the number of rows; `KernelDensity`
        returns the sum.
        """
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Return samples, `[n_samples, D]`.

        Args:
            n_samples: number of samples.
            random_state: seed, `RandomState` or None.
        """
        check_is_fitted(self)
        check_positive_int("n_samples", n_samples)
        flow, key = self.flow_, jax.random.key(seed_of(random_state))
        samples = [
            flow.sample(
                self.params_,
                jax.random.fold_in(key, piece.start),
                (piece.stop - piece.start,),
            )
            for piece in pieces(n_samples)
        ]
        return np.concatenate(samples, dtype=np.float64)[:n_samples]
