"""Layers whose location and scale come from data."""

from collections.abc import Callable

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.checks import check_positive
from distrax_flows._core.types import ArrayLike
from distrax_flows.bijectors.normalization import ActNorm, BatchNorm
from distrax_flows.modules._statistics import (
    mean_and_log_deviation,
    mean_and_variance,
    median_and_log_range,
    positive,
    rows_of,
)
from distrax_flows.modules.fixed import get_fixed

__all__ = ["ActNormLayer", "BatchNormLayer", "RobustStandardize", "Standardize"]


class Standardize(hk.Module):
    """Map from base to data by the mean and standard deviation of the data at initialisation.

        y_d = mean_d + std_d x_d,    log|det| = sum_d log std_d

    Both are taken over all batch axes, at any scale the dtype can represent, and fixed: neither
    gradients nor the optimizer of `fit` reach them (see `is_fixed`). A constant dimension, or a
    single row, gets standard deviation 1. The log-det is included, so densities stay in the units
    of the data. A few outliers can dominate the standard deviation: see `RobustStandardize`.

    Args:
        name: name of the module.

    Call:
        x: `[..., D]`. Returns an `ActNorm`.

    Raises:
        ValueError: when called at initialisation, there are no rows.

    Example:
        >>> import haiku as hk, jax, jax.numpy as jnp
        >>> from distrax_flows.modules import Learned
        >>> inverse = hk.transform(lambda y: Learned(Standardize()).inverse(y))
        >>> data = jnp.array([[1.0, 10.0], [3.0, 30.0]])
        >>> params = inverse.init(jax.random.key(0), data)
        >>> print(inverse.apply(params, None, data).round(4))
        [[-1. -1.]
         [ 1.  1.]]
    """

    def __call__(self, x: Float[Array, "... D"]) -> ActNorm:
        """Return the affine bijector; `x` supplies the statistics at initialisation."""
        return ActNorm(*_taken_from(x, get_fixed, mean_and_log_deviation, "mean", "log_deviation"))


class RobustStandardize(hk.Module):
    """Map from base to data by the median and interquartile range of the data at initialisation.

        y_d = median_d + r_d x_d,    r_d = (upper quartile_d - lower quartile_d) / 1.349

    A `Standardize` for data with outliers, which affect neither statistic. For a Gaussian, r is the
    standard deviation. A dimension with more than half of its values equal has no such range; its
    standard deviation is used instead.

    Args:
        name: name of the module.

    Call:
        x: `[..., D]`. Returns an `ActNorm`.

    Raises:
        ValueError: when called at initialisation, there are no rows.

    Example:
        >>> import haiku as hk, jax, jax.numpy as jnp
        >>> from distrax_flows.modules import Learned
        >>> inverse = hk.transform(lambda y: Learned(RobustStandardize()).inverse(y))
        >>> data = jnp.array([[1.0], [2.0], [3.0], [4.0], [1e9]])
        >>> params = inverse.init(jax.random.key(0), data)
        >>> print(inverse.apply(params, None, data[2:3]), inverse.apply(params, None, data[3:4]))
        [[0.]] [[0.6745]]
    """

    def __call__(self, x: Float[Array, "... D"]) -> ActNorm:
        """Return the affine bijector; `x` supplies the statistics at initialisation."""
        return ActNorm(*_taken_from(x, get_fixed, median_and_log_range, "median", "log_deviation"))


class ActNormLayer(hk.Module):
    """Learned location and scale, initialised to mean and standard deviation of the first batch.

        y_d = loc_d + exp(log_scale_d) x_d,    log|det| = sum_d log_scale_d

    The first batch is the input at initialisation, over all batch axes. The layer's inverse gives
    it mean 0 and standard deviation 1. A constant dimension, or a single row, keeps standard
    deviation 1. Initialise in the density direction, as `Flow.init` does: in the other one the
    input is noise from the base. `Standardize` is this layer with its parameters fixed.

    Args:
        name: name of the module.

    Call:
        x: `[..., D]`. Returns an `ActNorm`.

    Reference:
        Kingma & Dhariwal, "Glow: Generative Flow with Invertible 1x1 Convolutions", 2018,
        section 3.1.

    Example:
        >>> import haiku as hk, jax, jax.numpy as jnp
        >>> from distrax_flows.modules import Learned
        >>> inverse = hk.transform(lambda y: Learned(ActNormLayer()).inverse(y))
        >>> data = jnp.array([[1.0, 10.0], [3.0, 30.0]])
        >>> params = inverse.init(jax.random.key(0), data)
        >>> print(inverse.apply(params, None, data).round(4))
        [[-1. -1.]
         [ 1.  1.]]
    """

    def __call__(self, x: Float[Array, "... D"]) -> ActNorm:
        """Return the bijector with this layer's parameters; `x` supplies their initial values."""
        return ActNorm(
            *_taken_from(x, hk.get_parameter, mean_and_log_deviation, "loc", "log_scale")
        )


class BatchNormLayer(hk.Module):
    """Batch normalisation: the density direction normalises with the statistics of the batch.

        inverse:  x_d = loc_d + exp(log_scale_d) (y_d - mean_d) / sqrt(variance_d + epsilon)

    In evaluation, mean and variance are running averages, and the layer is a bijector like any
    other (`BatchNorm`). In training:

    * `inverse` takes them from its input, over all batch axes, and gradients flow through them. It
      also updates the averages, which are Haiku state:

          running <- decay running + (1 - decay) batch,    with variances divided by N, not N - 1.

    * `forward` uses the running averages. There is no alternative: the statistics are those of
      data, samples from the base have none, and no sample may depend on the others.

    So in training the two directions are not inverses of each other. Log-dets are exact in both
    modes, given the statistics. `loc` and `log_scale` start at zero, and the averages at the
    statistics of the input at initialisation. There, a variance of zero, such as that of a single
    row, counts as 1.

    Needs `hk.transform_with_state` (or `distrax_flows.transform_with_state`), and batches that
    represent the data; `ActNormLayer` needs neither.

    Args:
        is_training: whether to use training mode; static.
        decay: decay rate of the running averages, at least 0 and less than 1.
        epsilon: number added to variances, in their units.
        name: name of the module.

    Call:
        x: `[..., D]`. Returns a bijector.

    Raises:
        TypeError: `is_training` is not a bool.
        ValueError: `decay` or `epsilon` is out of its range; or, when the training inverse is
            called, the batch is a single row.

    Reference:
        Papamakarios et al., "Masked Autoregressive Flow for Density Estimation", 2017, appendix B;
        Dinh et al., "Density estimation using Real NVP", 2017, section 3.7.

    Example:
        >>> import haiku as hk, jax, jax.numpy as jnp
        >>> from distrax_flows.modules import Learned
        >>> inverse = hk.transform_with_state(
        ...     lambda y: Learned(BatchNormLayer(is_training=True, decay=0.9)).inverse(y))
        >>> params, state = inverse.init(jax.random.key(0), jnp.array([[1.0], [3.0]]))
        >>> x, state = inverse.apply(params, state, None, jnp.array([[11.0], [13.0]]))
        >>> print(x.round(4).T, state["batch_norm_layer"]["mean"].round(4))
        [[-1.  1.]] [3.]
    """

    def __init__(
        self,
        is_training: bool,
        decay: float = 0.99,
        epsilon: float = 1e-5,
        name: str | None = None,
    ):
        super().__init__(name=name)
        if not isinstance(is_training, bool):
            raise TypeError(
                "`is_training` must be True or False, for it is static; got "
                f"is_training={is_training!r}."
            )
        if not 0 <= decay < 1:
            raise ValueError(f"`decay` must be at least 0 and less than 1; got {decay=}.")
        self._is_training = is_training
        self._decay = decay
        self._epsilon = check_positive("epsilon", epsilon)

    def __call__(self, x: Float[Array, "... D"]) -> distrax.Bijector:
        """Return the bijector; `x` supplies the initial averages."""
        loc = hk.get_parameter("loc", x.shape[-1:], x.dtype, init=jnp.zeros)
        log_scale = hk.get_parameter("log_scale", x.shape[-1:], x.dtype, init=jnp.zeros)

        def batch_norm(mean, variance):
            return BatchNorm(mean, variance, loc, log_scale, self._epsilon)

        running = batch_norm(*self._running(x))
        return _OfBatch(running, batch_norm, self._update) if self._is_training else running

    def _running(self, x):
        shape, dtype = x.shape[-1:], x.dtype
        mean = hk.get_state("mean", shape, dtype, init=lambda *_: mean_and_variance(x)[0])
        variance = hk.get_state(
            "variance", shape, dtype, init=lambda *_: positive(mean_and_variance(x)[1])
        )
        return mean, variance

    def _update(self, mean, variance):
        for name, new in (("mean", mean), ("variance", variance)):
            hk.set_state(name, self._decay * hk.get_state(name) + (1 - self._decay) * new)


class _OfBatch(distrax.Bijector):
    """Batch normalisation in training; exists only inside the Haiku transform."""

    def __init__(
        self,
        running: BatchNorm,
        batch_norm: Callable[[jax.Array, jax.Array], BatchNorm],
        update: Callable[[jax.Array, jax.Array], None],
    ):
        super().__init__(event_ndims_in=1)
        self._running = running
        self._batch_norm = batch_norm
        self._update = update

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        return self._running.forward_and_log_det(x)

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        self._check_inverse_input_shape(y)
        y = jnp.asarray(y)
        if y.size <= y.shape[-1]:
            raise ValueError(
                "A training batch must have at least 2 rows, for a single one has no variance; got "
                f"an input of shape {y.shape}. Use `is_training=False` for single rows, and leave "
                "no batch of one when you cut up data."
            )
        mean, variance = mean_and_variance(y)
        self._update(mean, variance)
        return self._batch_norm(mean, variance).inverse_and_log_det(y)


def _taken_from(x, get, statistics, loc_name, log_scale_name):
    """Get a location and a log-scale, initialised to statistics of `x`."""
    shape, dtype = x.shape[-1:], x.dtype
    loc = get(loc_name, shape, dtype, init=lambda *_: statistics(rows_of(x))[0])
    return loc, get(log_scale_name, shape, dtype, init=lambda *_: statistics(rows_of(x))[1])
