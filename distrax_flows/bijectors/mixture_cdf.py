"""Distribution function of a mixture of logistics, followed by the logit."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.checks import check_positive
from distrax_flows._core.numerics import soft_clip
from distrax_flows._core.roots import find_root
from distrax_flows._core.types import ArrayLike
from distrax_flows.bijectors._base import Bijector
from distrax_flows.bijectors._scalar import check_params, spread

__all__ = ["LogisticMixtureCDF", "component_factors"]


class LogisticMixtureCDF(Bijector):
    """Distribution function of a mixture of K logistics, followed by the logit.

        F(x) = sum_k pi_k sigma((x - m_k) exp(-s_k))
        y = exp(a) ((1 - eps) logit(F(x)) + eps x) + b,   eps = min_slope

    `params[..., :3K+2]` holds K logits of the weights pi, K means m, K log-scales s, then a and b.
    s and a pass through `c tanh(. / c)`, c = max_log_scale. The line `eps x` is not in the paper:
    without it, the slope between two components far apart is nearly zero.

    Guarantees. All-zero parameters give the identity. The map is increasing and infinitely often
    differentiable. Its slope stays between `eps exp(a)` and `exp(a) (exp(c) + eps)` for any
    parameters. Everything is computed in log space, in sums of positive terms, so values and
    gradients are finite far in the tails.

    At zero all components are equal, and equal gradients would keep them so. Means and log-scales
    are therefore multiplied by a fixed factor per component, (2k - 1) / K for k = 1..K.

    Elementwise: `params[..., 0]` and the input broadcast against each other. `forward` takes O(K)
    operations; `inverse` finds a root, at the cost of ten to twenty evaluations.

    Args:
        params: `[..., 3K + 2]`, float32 or wider.
        max_log_scale: the bound c of the log-scales.
        min_slope: the weight eps of the line, between 0 and 1.

    Raises:
        TypeError: `params` is not floating, or narrower than float32.
        ValueError: the size of `params` is not 3K + 2, or an option is out of its range; or, when
            called, `params` does not broadcast.

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
        params: Float[ArrayLike, "... P"],
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
        log_weights, means, log_scales = self._components(self._params)
        return jnp.exp(log_weights), means, log_scales

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Compute the map and the logarithm of its slope."""
        params, x = spread(self._params, self._as_events(x))
        value, slope = self._curve(self._components(params), x)
        log_scale = soft_clip(params[..., -2], self._max_log_scale)
        return jnp.exp(log_scale) * value + params[..., -1], log_scale + jnp.log(slope)

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Find the root; the log-det is that of `forward` there, negated."""
        params, y = spread(self._params, self._as_events(y))
        log_scale = soft_clip(params[..., -2], self._max_log_scale)
        value = jnp.exp(-log_scale) * (y - params[..., -1])
        # logit F(x) lies between the smallest and the largest (x - m_k) exp(-s_k). These are lines,
        # so their roots bracket that of the mixture.
        components = self._components(params)
        _, means, log_scales = components
        steepness = (1 - self._min_slope) * jnp.exp(-log_scales)
        roots = (value[..., None] + steepness * means) / (steepness + self._min_slope)
        low, high = jnp.min(roots, axis=-1), jnp.max(roots, axis=-1)
        noise = 2 * jnp.finfo(value.dtype).eps * (1 + jnp.abs(value))
        x = find_root(lambda x: self._curve(components, x)[0] - value, low, high, noise)
        return x, -log_scale - jnp.log(self._curve(components, x)[1])

    def _components(self, params):
        """Return the log-weights, means and log-scales, each `[..., K]`."""
        size = self._num_components
        weights, means, log_scales = jnp.split(params[..., : 3 * size], 3, axis=-1)
        factors = jnp.asarray(component_factors(size), params.dtype)
        factors = factors.reshape((1,) * (params.ndim - 1) + (size,))
        log_scales = soft_clip(factors * log_scales, self._max_log_scale)
        return jax.nn.log_softmax(weights, axis=-1), factors * means, log_scales

    def _curve(self, components, x):
        """Return the map before `exp(a)` and b, and its slope."""
        log_weights, means, log_scales = components
        steepness = jnp.exp(-log_scales)
        z = steepness * (x[..., None] - means)
        # log F and log(1 - F) by component; their derivatives, as sums of positive terms.
        below = log_weights + jax.nn.log_sigmoid(z)
        above = log_weights + jax.nn.log_sigmoid(-z)
        logit = jax.nn.logsumexp(below, axis=-1) - jax.nn.logsumexp(above, axis=-1)
        shares = jax.nn.softmax(below, axis=-1) * jax.nn.sigmoid(-z)
        shares += jax.nn.softmax(above, axis=-1) * jax.nn.sigmoid(z)
        slope = jnp.sum(steepness * shares, axis=-1)
        eps = self._min_slope
        return (1 - eps) * logit + eps * x, (1 - eps) * slope + eps


def component_factors(num_components: int) -> np.ndarray:
    """Return the `[K]` factors of the components' means and log-scales.

    With equal factors, equal components would have equal gradients at every step.
    """
    return (2 * np.arange(num_components) + 1) / num_components
