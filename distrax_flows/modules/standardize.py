"""Data standardisation as a layer of the flow."""

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows.bijectors.elementwise import Scale, Shift

__all__ = ["Standardize"]


class Standardize(hk.Module):
    """Maps base to data by the mean and the deviation of the data it was initialised on.

        y_d = mean_d + deviation_d x_d,    log|det| = sum_d log deviation_d

    Means and deviations are taken from the input at initialisation, over all batch axes, and kept:
    gradients don't reach them. A dimension that doesn't vary, or a single row, keeps deviation 1.
    As the log-det is counted, densities stay in the units of the data.

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

    def __call__(self, x: Float[Array, "... D"]) -> distrax.Bijector:
        """The affine bijector; `x` supplies the statistics at initialisation."""
        rows = x.reshape(-1, x.shape[-1])

        def log_deviation(shape, dtype):
            deviation = jnp.std(rows, axis=0)
            return jnp.log(jnp.where(deviation > 0, deviation, 1)).astype(dtype).reshape(shape)

        shape = x.shape[-1:]
        mean = hk.get_parameter("mean", shape, x.dtype, init=lambda *_: jnp.mean(rows, axis=0))
        log_scale = hk.get_parameter("log_deviation", shape, x.dtype, init=log_deviation)
        mean, log_scale = jax.lax.stop_gradient((mean, log_scale))
        return distrax.Chain([Shift(mean), Scale(log_scale)])
