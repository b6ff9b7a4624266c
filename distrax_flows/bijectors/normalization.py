"""Normalisation of the dimensions of vector events with given statistics."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.checks import check_float_array, check_positive
from distrax_flows._core.numerics import align, sum_last
from distrax_flows._core.types import ArrayLike
from distrax_flows.bijectors._base import Bijector

__all__ = ["ActNorm", "BatchNorm"]


class ActNorm(Bijector):
    """Shift and scale of each dimension.

        y_d = loc_d + exp(log_scale_d) x_d,    log|det| = sum_d log_scale_d

    So `inverse`, the density direction, subtracts a location and divides by a scale. Constant
    Jacobian; identity at zero. On the channels of an image: `distrax.Block(bijector, 2)`.
    `distrax_flows.modules.ActNormLayer` initialises both parameters on its first batch.

    Args:
        loc: `[..., D]`, the locations, in the units of y.
        log_scale: `[..., D]`, natural logarithms of the scales. Batch axes of both broadcast
            against those of the event.

    Raises:
        TypeError: an argument is not a floating array.
        ValueError: an argument has no axes.

    Reference:
        Kingma & Dhariwal, "Glow: Generative Flow with Invertible 1x1 Convolutions", 2018,
        section 3.1.

    Example:
        >>> import jax.numpy as jnp
        >>> bijector = ActNorm(jnp.array([1.0, 2.0]), jnp.log(jnp.array([1.0, 3.0])))
        >>> x, log_det = bijector.inverse_and_log_det(jnp.array([5.0, 8.0]))
        >>> print(x.round(4), f"{log_det:.4f} = -log 3")
        [4. 2.] -1.0986 = -log 3
    """

    def __init__(self, loc: Float[ArrayLike, "... D"], log_scale: Float[ArrayLike, "... D"]):
        super().__init__(event_ndims_in=1, is_constant_jacobian=True)
        self._loc = check_float_array("loc", loc, min_ndim=1)
        self._log_scale = check_float_array("log_scale", log_scale, min_ndim=1)

    @property
    def loc(self) -> Float[Array, "... D"]:
        """The locations."""
        return self._loc

    @property
    def log_scale(self) -> Float[Array, "... D"]:
        """Natural logarithms of the scales."""
        return self._log_scale

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Compute `y = loc + exp(log_scale) x`."""
        x = self._as_events(x)
        return _affine(x, jnp.zeros_like(self._loc), self._log_scale, self._loc)

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Compute `x = (y - loc) exp(-log_scale)`."""
        y = self._as_events(y)
        return _affine(y, self._loc, -self._log_scale, jnp.zeros_like(self._loc))


class BatchNorm(Bijector):
    """Inverse of batch normalisation with given statistics; `inverse` normalises.

        inverse:  x_d = loc_d + exp(log_scale_d) (y_d - mean_d) / sqrt(variance_d + epsilon)
        forward:  y_d = mean_d + sqrt(variance_d + epsilon) exp(-log_scale_d) (x_d - loc_d)
        log|det| = sum_d (log(variance_d + epsilon) / 2 - log_scale_d)      (forward)

    The statistics are constants here, so the Jacobian is constant and the log-det exact.
    `distrax_flows.modules.BatchNormLayer` takes them from batches.

    Args:
        mean: `[..., D]`, means of y.
        variance: `[..., D]`, variances of y, not negative; the values are not checked.
        loc: `[..., D]`, the mean of x.
        log_scale: `[..., D]`, logarithm of the standard deviation of x. Batch axes of all four
            broadcast against those of the event.
        epsilon: number added to variances, in their units.

    Raises:
        TypeError: an array is not floating.
        ValueError: an array has no axes, or `epsilon` is not a finite number above 0.

    Reference:
        Papamakarios et al., "Masked Autoregressive Flow for Density Estimation", 2017, appendix B,
        whose beta is loc and gamma log_scale; Dinh et al., "Density estimation using Real NVP",
        2017, section 3.7.

    Example:
        >>> import jax.numpy as jnp
        >>> zeros = jnp.zeros(1)
        >>> bijector = BatchNorm(jnp.array([5.0]), jnp.array([4.0]), loc=zeros, log_scale=zeros)
        >>> print(bijector.inverse(jnp.array([[3.0], [7.0]])).round(4))
        [[-1.]
         [ 1.]]
    """

    def __init__(
        self,
        mean: Float[ArrayLike, "... D"],
        variance: Float[ArrayLike, "... D"],
        loc: Float[ArrayLike, "... D"],
        log_scale: Float[ArrayLike, "... D"],
        epsilon: float = 1e-5,
    ):
        super().__init__(event_ndims_in=1, is_constant_jacobian=True)
        self._mean = check_float_array("mean", mean, min_ndim=1)
        self._variance = check_float_array("variance", variance, min_ndim=1)
        self._loc = check_float_array("loc", loc, min_ndim=1)
        self._log_scale = check_float_array("log_scale", log_scale, min_ndim=1)
        self._epsilon = check_positive("epsilon", epsilon)

    @property
    def mean(self) -> Float[Array, "... D"]:
        """Means of y."""
        return self._mean

    @property
    def variance(self) -> Float[Array, "... D"]:
        """Variances of y."""
        return self._variance

    @property
    def loc(self) -> Float[Array, "... D"]:
        """The mean of x."""
        return self._loc

    @property
    def log_scale(self) -> Float[Array, "... D"]:
        """Logarithm of the standard deviation of x."""
        return self._log_scale

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Scale and shift `x` to the given variance and mean."""
        x = self._as_events(x)
        return _affine(x, self._loc, -self._total_log_scale(), self._mean)

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Normalise `y`."""
        y = self._as_events(y)
        return _affine(y, self._mean, self._total_log_scale(), self._loc)

    def _total_log_scale(self):
        """Return the log-scale of the density direction."""
        log_scale, variance = align(self._log_scale, self._variance)
        return log_scale - 0.5 * jnp.log(variance + self._epsilon)


def _affine(x, before, log_scale, after):
    """Return `after + exp(log_scale) (x - before)`, and the log-det."""
    x, before, log_scale, after = align(x, before, log_scale, after)
    y = after + jnp.exp(log_scale) * (x - before)
    return y, sum_last(log_scale, y)
