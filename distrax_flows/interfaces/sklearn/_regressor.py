"""Regression with whole distributions."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from distrax_flows._core.checks import check_positive_int
from distrax_flows.functional.flow import Flow, Params, events_of
from distrax_flows.interfaces.sklearn._estimator import (
    FlowEstimator,
    distinct,
    filled,
    float_type,
    map_rows,
    pieces,
    seed_of,
)
from distrax_flows.interfaces.sklearn._flows import flow_of, spec_of
from distrax_flows.training._data import Batch, check_columns_vary, check_data

__all__ = ["FlowRegressor"]

_ROWS = 2**7  # rows predicted together
_NUM_SAMPLES = 2**10  # samples per row from which means and quantiles are computed


class FlowRegressor(RegressorMixin, FlowEstimator):
    """Regression with a whole density p(y|x): a conditional normalizing flow.

    It learns means, spreads, tails and several modes of y, and dependence between outputs, each as
    a function of x. Parameters that are None are chosen from the size of the table. Columns of `X`
    and `y` may have any scale. Fits to tables with the same columns share compiled code, whatever
    their number of rows.

    Equal rows are merged and their weights added: a weight of two means that the row occurs twice.
    The order of the rows does not matter.

    Args:
        flow: "nsf_coupling", "nsf_autoregressive", "realnvp" or "maf", with learned linear maps
            between their layers; "auto" chooses one. Or a function `make(event_size, context)` that
            builds a flow, such as `functools.partial(flows.nsf_coupling, standardize=True)`.
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
        flow_: the flow, as `distrax_flows.transform` returns it; its context is x.
        params_: its parameters: `flow_.log_prob(params_, y, x)` with y as `[N, K]`, and
            `distrax_flows.save(path, flow_, params_)`.
        history_: losses and timings of the fit.
        recipe_: the sizes and training that were chosen, a `distrax_flows.tables.Recipe`.
        n_features_in_: number of columns of `X`.
        feature_names_in_: names of these columns, if any.

    Example:
        >>> import numpy as np
        >>> from distrax_flows.interfaces.sklearn import FlowRegressor
        >>> rng = np.random.default_rng(0)
        >>> X = rng.uniform(-1.0, 1.0, size=(500, 1))
        >>> y = X[:, 0] + 0.3 * rng.normal(size=500)
        >>> regressor = FlowRegressor(num_steps=100, random_state=0).fit(X, y)
        >>> regressor.predict(X[:3]).shape
        (3,)
        >>> regressor.predict_quantiles(X[:3], [0.05, 0.95]).shape
        (3, 2)
    """

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "FlowRegressor":
        """Fit the conditional density.

        Args:
            X: `[N, D]`, the rows to condition on.
            y: `[N]` or `[N, K]`, the outputs.
            sample_weight: `[N]`, the weight of each row; only their ratios matter.

        Returns:
            This estimator.

        Raises:
            ValueError: there are fewer than two different rows, non-finite values, or a constant
                output; or a parameter is out of range.
        """
        X, y = validate_data(
            self,
            X,
            y,
            dtype=[np.float64, np.float32],
            multi_output=True,
            y_numeric=True,
            ensure_min_samples=2,
        )
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, X, dtype=np.float64, ensure_non_negative=True
            )
        outputs = y.reshape(len(y), -1)
        num_outputs = outputs.shape[1]
        rows, weights = distinct(np.hstack([outputs, X]).astype(np.float64), sample_weight)
        outputs, inputs = rows[:, :num_outputs], rows[:, num_outputs:]
        check_columns_vary("y", outputs)
        choice = self._choose(*rows.shape, is_conditional=True)
        spec = spec_of(self.flow, choice.recipe, num_outputs, is_conditional=True)
        names = Batch("y", "X", "sample_weight")
        events = events_of(flow_of(spec), jax.ShapeDtypeStruct(inputs.shape, jnp.float32))
        self._train(spec, choice, check_data(Batch(outputs, inputs, weights), names, events))
        self._output_shape = y.shape[1:]
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return the mean of y given each row, `[N]`, or `[N, K]` for several outputs.

        It is the mean of 1,024 samples, which use the same random numbers for every row and call.
        So it is a smooth function of x, and repeatable; its error is about 3 % of the standard
        deviation of y given x. For the median, which far tails do not affect, see
        `predict_quantiles`.

        Args:
            X: `[N, D]`, the rows to condition on.
        """
        return self._predicted(X, lambda samples: samples.mean(axis=1))

    def predict_quantiles(self, X: Any, quantiles: Any = (0.05, 0.5, 0.95)) -> np.ndarray:
        """Return quantiles of y given each row, `[N, Q]`, or `[N, Q, K]` for several outputs.

        With several outputs, quantiles are those of each one alone. Computed from samples, as in
        `predict`.

        Args:
            X: `[N, D]`, the rows to condition on.
            quantiles: `[Q]`, between 0 and 1.

        Raises:
            ValueError: a quantile is not between 0 and 1.
        """
        levels = np.asarray(quantiles, np.float64)
        if levels.ndim != 1 or not ((levels >= 0) & (levels <= 1)).all():
            raise ValueError(
                f"`quantiles` must be numbers between 0 and 1, [Q]; got quantiles={quantiles!r}."
            )
        return self._predicted(
            X, lambda samples: np.moveaxis(np.quantile(samples, levels, axis=1), 0, 1)
        )

    def sample(self, X: Any, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Return samples of y given each row, `[N, n_samples]`, or `[N, n_samples, K]`.

        Args:
            X: `[N, D]`, the rows to condition on.
            n_samples: number of samples for each row.
            random_state: seed, `RandomState` or None.
        """
        X = self._inputs(X)
        check_positive_int("n_samples", n_samples)
        flow, key = self.flow_, jax.random.key(seed_of(random_state))
        # Few numbers of samples are compiled, too.
        num_samples = min(_NUM_SAMPLES, 1 << (n_samples - 1).bit_length())
        rows = []
        for piece in pieces(len(X), (_ROWS,)):
            context, samples = filled(X, piece), []
            for start in range(0, n_samples, num_samples):
                of_part = jax.random.fold_in(jax.random.fold_in(key, piece.start), start)
                samples.append(flow.sample(self.params_, of_part, (num_samples,), context))
            joined = np.concatenate(samples, dtype=np.float64)[:n_samples]
            rows.append(joined.swapaxes(0, 1))
        return self._shaped(np.concatenate(rows)[: len(X)])

    def log_prob(self, X: Any, y: Any) -> np.ndarray:
        """Return the log-density of each row's y given its x, `[N]`, in nats.

        Not named `score_samples`, which in scikit-learn takes `X` alone.

        Args:
            X: `[N, D]`, the rows to condition on.
            y: `[N]`, or `[N, K]` for several outputs.
        """
        check_is_fitted(self)
        dtype = float_type()
        X, y = validate_data(
            self, X, y, dtype=dtype, multi_output=True, y_numeric=True, reset=False
        )
        outputs = np.asarray(y, dtype).reshape(len(y), -1)
        if y.shape[1:] != self._output_shape:
            raise ValueError(
                f"`y` must have shape {('N', *self._output_shape)}, as in `fit`; got "
                f"y.shape={y.shape}."
            )
        flow = self.flow_
        return map_rows(lambda x, y: flow.log_prob(self.params_, y, x), X, outputs)

    def _predicted(self, X: Any, statistic: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Return a statistic of the samples of each row, over their axis 1."""
        X = self._inputs(X)
        flow = self.flow_

        def predict(context):
            return statistic(np.asarray(_samples(flow, self.params_, context)))

        return self._shaped(map_rows(predict, X, sizes=(_ROWS,)))

    def _inputs(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=float_type(), reset=False)
        return np.asarray(X)

    def _shaped(self, values: np.ndarray) -> np.ndarray:
        """Drop the axis of outputs if `y` had none."""
        return values if self._output_shape else values[..., 0]


@functools.partial(jax.jit, static_argnums=0)
def _samples(flow: Flow, params: Params, context: jax.Array) -> jax.Array:
    """Return samples `[N, S, K]` that use the same random numbers for each row of the context."""
    key = jax.random.key(0)
    return jax.vmap(lambda row: flow.sample(params, key, (_NUM_SAMPLES,), row))(context)
