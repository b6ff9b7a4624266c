"""Radial flow."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.checks import check_event_size, check_float_array
from distrax_flows._core.numerics import align, safe_norm, soft_clip
from distrax_flows._core.types import ArrayLike
from distrax_flows.bijectors._base import Bijector

__all__ = ["Radial"]

# The minimum of alpha, and the bound of the log-slope at the centre.
MIN_ALPHA = 1e-3
MAX_LOG_SLOPE = 5.0


class Radial(Bijector):
    """Radial flow: pushes events away from a centre, or pulls them towards it.

    With c the centre, `r = |x - c|`, and h = 1 / (alpha + r):

        y = x + beta h (x - c)
        log|det| = (D - 1) log(1 + beta h) + log(1 + beta alpha h^2)

    where `alpha = softplus(raw_alpha) + 0.001`, `beta = alpha (exp(g) - 1)`, and the log-slope g
    is raw_beta clipped smoothly to (-5, 5). The slope is `exp(g)` at the centre, in all directions,
    and tends to 1 away from it, over a distance of alpha. It is nowhere below `min(1, exp(g))` nor
    above `max(1, exp(g))`. The paper's beta = softplus(raw_beta) - alpha may come arbitrarily close
    to -alpha, where the slope at the centre is 0 and that of the inverse is unbounded. At
    `raw_beta = 0` the map is the identity.

    Both directions are in closed form and cost the same. The map is differentiable at the centre.
    Its log-det has a cone there; the gradient of the log-det at the centre is taken as 0.

    Args:
        center: `[..., D]`, c, in the units of the event.
        raw_alpha: `[...]`, unconstrained.
        raw_beta: `[...]`, unconstrained.

    Raises:
        TypeError: a parameter is not a floating array.
        ValueError: `center` has no axes; or, when called, the event has another size.

    Reference:
        Rezende & Mohamed, "Variational Inference with Normalizing Flows", 2015, eq. 14, and
        appendix A.2 with another beta. The closed form of the inverse is not in the paper.

    Example:
        >>> import jax.numpy as jnp
        >>> radial = Radial(jnp.zeros(2), raw_alpha=jnp.array(0.0), raw_beta=jnp.array(1.0))
        >>> y = radial.forward(jnp.array([1.0, -1.0]))
        >>> print(y.round(2), radial.inverse(y).round(2))
        [ 1.55 -1.55] [ 1. -1.]
    """

    def __init__(
        self,
        center: Float[ArrayLike, "... D"],
        raw_alpha: Float[ArrayLike, "..."],
        raw_beta: Float[ArrayLike, "..."],
    ):
        super().__init__(event_ndims_in=1)
        self._center = check_float_array("center", center, min_ndim=1)
        self._raw_alpha = check_float_array("raw_alpha", raw_alpha)
        self._raw_beta = check_float_array("raw_beta", raw_beta)

    @property
    def center(self) -> Float[Array, "... D"]:
        """The centre."""
        return self._center

    @property
    def alpha(self) -> Float[Array, "..."]:
        """The distance from the centre over which the slope changes."""
        return jax.nn.softplus(self._raw_alpha) + MIN_ALPHA

    @property
    def log_slope(self) -> Float[Array, "..."]:
        """The logarithm of the slope at the centre, g."""
        return soft_clip(self._raw_beta, MAX_LOG_SLOPE)

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Compute `y = x + beta h (x - c)`."""
        x = self._as_events(x)
        x, offset, radius, log_slope = self._polar(x)
        push, log_det = self._push(radius, log_slope)
        return x + push * offset, log_det

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Solve a quadratic for `|x - c|`; the log-det is that of `forward`, negated."""
        y = self._as_events(y)
        y, offset, radius, log_slope = self._polar(y)
        # In units of alpha, r^2 + p r - s = 0 with s = |y - c|. Take the non-negative root, in the
        # form that has no cancellation for the sign of p.
        p = jnp.exp(log_slope) - radius
        magnitude = jnp.where(p > 0, p, -p)
        total = magnitude + jnp.sqrt(p * p + 4 * radius)
        push, log_det = self._push(jnp.where(p > 0, 2 * radius / total, total / 2), log_slope)
        return y - push / (1 + push) * offset, -log_det

    def _polar(self, x):
        """Return the event, its offset from the centre, that distance / alpha, and log-slope."""
        check_event_size(x, self._center.shape[-1])
        x, center, alpha, log_slope = align(
            x, self._center, self.alpha[..., None], self.log_slope[..., None]
        )
        offset = x - center
        return x, offset, safe_norm(offset)[..., None] / alpha, log_slope

    def _push(self, radius, log_slope):
        """Return `beta h` and the log-det, at a distance in units of alpha."""
        closeness = 1 / (1 + radius)  # alpha h
        push = jnp.expm1(log_slope) * closeness
        tangential, along = jnp.log1p(push), jnp.log1p(push * closeness)
        return push, ((self._center.shape[-1] - 1) * tangential + along)[..., 0]
