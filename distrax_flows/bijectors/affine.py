"""Shift and scale of a scalar."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.checks import check_float_array, check_positive
from distrax_flows._core.numerics import soft_clip
from distrax_flows._core.types import ArrayLike
from distrax_flows.bijectors._base import Bijector
from distrax_flows.bijectors._scalar import spread

__all__ = ["Additive", "Affine"]


class Additive(Bijector):
    """Shift of a scalar: `y = x + params_0`, `log|dy/dx| = 0`.

    Constant Jacobian; all-zero parameters give the identity. Elementwise: `params[..., 0]` and the
    input broadcast against each other.

    Args:
        params: `[..., 1]`, the shift, in the units of the input.

    Raises:
        TypeError: `params` is not floating.
        ValueError: the last axis of `params` is not of size 1; or, when called, `params` does not
            broadcast.

    Reference:
        Dinh et al., "NICE: Non-linear Independent Components Estimation", 2014, eq. 8.

    Example:
        >>> import jax.numpy as jnp
        >>> print(Additive(jnp.array([3.0])).forward(jnp.array([1.0, 2.0])))
        [4. 5.]
    """

    def __init__(self, params: Float[ArrayLike, "... 1"]):
        super().__init__(event_ndims_in=0, is_constant_jacobian=True)
        self._params = _check_size(params, 1)

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Add the shift; the log-det is zero."""
        params, x = spread(self._params, self._as_events(x))
        return x + params[..., 0], jnp.zeros_like(x)

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Subtract the shift; the log-det is zero."""
        params, y = spread(self._params, self._as_events(y))
        return y - params[..., 0], jnp.zeros_like(y)


class Affine(Bijector):
    """Scale and shift of a scalar, with a bounded scale.

        y = x exp(s) + params_0,    log|dy/dx| = s = a tanh(params_1 / a),    a = max_log_scale

    Constant Jacobian; all-zero parameters give the identity. Scales stay between `exp(-a)` and
    `exp(a)`. Elementwise: `params[..., 0]` and the input broadcast against each other.

    Args:
        params: `[..., 2]`, the shift (in the units of the output) and the raw log-scale.
        max_log_scale: the bound a of the log-scale.

    Raises:
        TypeError: `params` is not floating.
        ValueError: the last axis of `params` is not of size 2, or `max_log_scale` is not a finite
            number above 0; or, when called, `params` does not broadcast.

    Reference:
        Dinh et al., "Density estimation using Real NVP", 2017, eqs. 7-8, with a bounded scale.

    Example:
        >>> import jax.numpy as jnp
        >>> print(Affine(jnp.array([3.0, 0.0])).forward(jnp.array([1.0, 2.0])))
        [4. 5.]
    """

    def __init__(self, params: Float[ArrayLike, "... 2"], max_log_scale: float = 5.0):
        super().__init__(event_ndims_in=0, is_constant_jacobian=True)
        self._params = _check_size(params, 2)
        self._max_log_scale = float(check_positive("max_log_scale", max_log_scale))

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Scale, then shift."""
        x, shift, log_scale = self._aligned(x)
        return x * jnp.exp(log_scale) + shift, log_scale

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Subtract the shift, then divide by the scale."""
        y, shift, log_scale = self._aligned(y)
        return (y - shift) * jnp.exp(-log_scale), -log_scale

    def _aligned(self, x):
        """Return the input, shift and log-scale, all of one shape."""
        params, x = spread(self._params, self._as_events(x))
        log_scale = soft_clip(params[..., 1], self._max_log_scale).astype(x.dtype)
        return x, params[..., 0], jnp.broadcast_to(log_scale, x.shape)


def _check_size(params: Float[ArrayLike, "... P"], size: int) -> Float[Array, "... P"]:
    params = check_float_array("params", params, min_ndim=1)
    if params.shape[-1] != size:
        raise ValueError(
            f"`params` must have a last axis of size {size}; got params.shape={params.shape}."
        )
    return params
