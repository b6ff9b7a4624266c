"""Distribution function of a mixture of logistics, seen through the logit."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from distrax_flows._checks import check_positive
from distrax_flows._numerics import find_root, soft_clip
from distrax_flows.bijectors._scalar import check_params, spread

__all__ = ["LogisticMixtureCDF"]


class LogisticMixtureCDF(distrax.Bijector):
    """Increasing map by the distribution function of a mixture of K logistic distributions.

        F(x) = sum_k pi_k sigma((x - m_k) exp(-s_k))
        y = exp(a) ((1 - eps) logit(F(x)) + eps x) + b,   eps = min_slope

    `params[..., :3K+2]` holds K logits of the weights pi, K means m, K log-scales s, then a and b.
    s and a pass through `c tanh(. / c)`, c = max_log_scale. The line `eps x` is not in the paper:
    without it the slope between two components far apart is nearly zero.

    Guarantees. All-zero parameters give the identity. The map is increasing and infinitely often
    differentiable; its slope stays between `eps exp(a)` and `exp(a) (exp(c) + eps)`, for any
    parameters. Everything is a sum of positive terms, scaled so that none vanishes that counts:
    finite, with finite gradients, far in the tails. No weight is less than 1e-30 (in float32).

    At zero all components are equal, and gradients would keep them so for ever: means and
    log-scales are therefore multiplied by a fixed factor of each component, (2k - 1) / K for
    k = 1..K.

    Elementwise: `params[..., 0]` and the input broadcast against each other. `forward` takes O(K)
    operations; `inverse` finds a root, at the cost of ten to twenty evaluations.

    Args:
        params: `[..., 3K + 2]`, float32 or wider.
        max_log_scale: the bound c of the log-scales.
        min_slope: the weight eps of the line, between 0 and 1.

    Raises:
        TypeError: `params` is not floating, or narrower than float32.
        ValueError: the size of `params` is not 3K + 2, or an option is out of its range.

    Reference:
        Ho et al., "Flow++", 2019, eqs. 10-13.

    Example:
        >>> import jax.numpy as jnp
        >>> params = jnp.zeros(3 * 2 + 2).at[2:4].set(jnp.array([-4.0, 2.0]))
        >>> bijector = LogisticMixtureCDF(params)
        >>> y = bijector.forward(jnp.array([-2.0, 0.5, 2.0]))
        >>> print(bijector.mixture[1], y.round(1), bijector.inverse(y).round(4))
        [-2.  3.] [-1.1  0.   0.5] [-2.   0.5  2. ]
    """

    def __init__(
        self,
        params: Float[Array, "... P"],
        max_log_scale: float = 3.0,
        min_slope: float = 0.01,
    ):
        super().__init__(event_ndims_in=0)
        params = check_params(params)
        if params.shape[-1] % 3 != 2 or params.shape[-1] < 5:
            raise ValueError(
                "`params` must have a last axis of size 3 * num_components + 2 with at least one "
                f"component; got params.shape={params.shape}."
            )
        check_positive("max_log_scale", max_log_scale)
        if not 0 < min_slope < 1:
            raise ValueError(f"`min_slope` must be between 0 and 1; got {min_slope=}.")
        self._params = params
        self._num_components = (params.shape[-1] - 2) // 3
        self._max_log_scale = float(max_log_scale)
        self._min_slope = float(min_slope)

    @property
    def num_components(self) -> int:
        """The number of components, K."""
        return self._num_components

    @property
    def mixture(self) -> tuple[Float[Array, "... K"], Float[Array, "... K"], Float[Array, "... K"]]:
        """The weights pi, means m and log-scales s of the components."""
        components, _, _ = self._unpack(self._params)
        return components

    def forward_and_log_det(
        self, x: Float[Array, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Computes the map and the logarithm of its slope."""
        params, x = spread(self._params, x)
        components, log_scale, shift = self._unpack(params)
        value, slope = self._curve(components, x)
        return jnp.exp(log_scale) * value + shift, log_scale + jnp.log(slope)

    def inverse_and_log_det(
        self, y: Float[Array, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Finds the root; the log-det is that of `forward` there, negated."""
        params, y = spread(self._params, y)
        components, log_scale, shift = self._unpack(params)
        value = jnp.exp(-log_scale) * (y - shift)
        # logit F(x) lies between the least and the largest (x - m_k) exp(-s_k): lines, whose own
        # roots hold that of the mixture between them.
        _, means, log_scales = components
        steepness = (1 - self._min_slope) * jnp.exp(-log_scales)
        roots = (value[..., None] + steepness * means) / (steepness + self._min_slope)
        low, high = jnp.min(roots, axis=-1), jnp.max(roots, axis=-1)
        noise = 2 * jnp.finfo(value.dtype).eps * (1 + jnp.abs(value))
        x = find_root(lambda x: self._curve(components, x)[0] - value, low, high, noise)
        return x, -log_scale - jnp.log(self._curve(components, x)[1])

    def _unpack(self, params):
        """Weights, means and log-scales, each `[..., K]`; then a and b, `[...]`."""
        size = self._num_components
        # One split, whose derivative joins the parts, where slices would add up padded ones.
        ends = [size, 2 * size, 3 * size, 3 * size + 1]
        weights, means, log_scales, log_scale, shift = jnp.split(params, ends, axis=-1)
        # With equal factors, the gradients of equal components are equal, at every step.
        factors = (2 * np.arange(size) + 1) / size
        factors = jnp.asarray(factors, params.dtype).reshape((1,) * (params.ndim - 1) + (size,))
        log_scales = soft_clip(factors * log_scales, self._max_log_scale)
        # Where a component alone decides, in its tail, its weight must not have become zero.
        least = float(jnp.finfo(params.dtype).tiny) ** 0.8
        weights = jnp.maximum(jax.nn.softmax(weights, axis=-1), least)
        log_scale = soft_clip(log_scale[..., 0], self._max_log_scale)
        return (weights, factors * means, log_scales), log_scale, shift[..., 0]

    def _curve(self, components, x):
        """The map before `exp(a)` and b, and its slope.

        With z >= 0, sigma(z) = 1 / (1 + e) and sigma(-z) = e / (1 + e), where e = exp(-z); with
        z < 0 the other way round. Where all z have one sign, the least of them is divided out of
        the e, which would else be zero far out. It cancels, and needs no gradient.
        """
        weights, means, log_scales = components
        steepness = jnp.exp(-log_scales)
        z = steepness * (x[..., None] - means)
        right = z >= 0
        size = jnp.where(right, z, -z)  # jnp.abs has no slope at 0
        least_right = jax.lax.stop_gradient(jnp.maximum(jnp.min(z, axis=-1), 0))
        least_left = jax.lax.stop_gradient(jnp.maximum(-jnp.max(z, axis=-1), 0))
        least = least_right + least_left
        e = jnp.exp(least[..., None] - size)
        share = 1 / (1 + e * jnp.exp(-least)[..., None])
        large, small = weights * share, weights * share * e
        below = jnp.sum(jnp.where(right, large, small), axis=-1)  # F, and 1 - F, up to factors
        above = jnp.sum(jnp.where(right, small, large), axis=-1)
        logit = jnp.log(below) - jnp.log(above) + (least_right - least_left)
        slope = jnp.sum(steepness * share * small, axis=-1)
        slope *= jnp.exp(-least_right) / below + jnp.exp(-least_left) / above
        eps = self._min_slope
        return (1 - eps) * logit + eps * x, (1 - eps) * slope + eps
