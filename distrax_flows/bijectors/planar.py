"""Planar flow, and the scalar maths shared with the Sylvester flow."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.checks import check_event_size, check_float_array
from distrax_flows._core.numerics import align, unit_vector, value_and_slope
from distrax_flows._core.roots import find_root
from distrax_flows._core.types import Activation, ArrayLike
from distrax_flows.bijectors._base import Bijector

__all__ = ["Planar", "check_unit", "make_feasible", "solve_unit"]

# The least slope of a -> a + m h(a); a planar flow is invertible if this map is.
MIN_SLOPE = 0.05


class Planar(Bijector):
    """Planar flow: moves events along one direction, by an amount that depends on another.

    With h the unit, `u^` the vector u made feasible, and `m = w.u^`:

        y = x + u^ h(w.x + b),    log|det| = log(1 + m h'(w.x + b))

    Feasible means m > -1. The part of u along w is multiplied by `m(a) / a`, where a = w.u and

        m(a) = a   if a >= 0,    kappa a / (kappa - a)   if a < 0,    kappa = 0.95,

    is increasing, has slope 1 at 0, and stays above -kappa. So 1 + m h', the slope of w.y in w.x,
    is nowhere below 0.05. The paper's m(a) = softplus(a) - 1 is not 0 at 0: its `u^` differs from
    every u and grows without bound as |w| vanishes. Here `u^` tends to u as |w| vanishes, is u
    itself where w.u >= 0, and is 0 where u is, which gives the identity. Any w is allowed, 0 too.

    `forward` is in closed form. `inverse` finds one scalar root per event, a = w.x + b, from
    `a + m h(a) = w.y + b`; then `x = y - u^ h(a)`. Both are differentiable; the root implicitly.

    Args:
        w: `[..., D]`, the direction that h depends on.
        u: `[..., D]`, the direction in which events move.
        b: `[...]`, the offset.
        unit: h, elementwise, with slopes between 0 and 1 everywhere, such as tanh, arctan,
            softplus or leaky ReLU.

    Raises:
        TypeError: a parameter is not a floating array, or `unit` is not a function.
        ValueError: `w` and `u` have no axes or last axes of unequal sizes; or, when called, the
            event has another size.

    Reference:
        Rezende & Mohamed, "Variational Inference with Normalizing Flows", 2015, eqs. 10-12, and
        appendix A.1 with another m. The inverse is not in the paper.

    Example:
        >>> import jax.numpy as jnp
        >>> planar = Planar(w=jnp.array([1.0, 0.0]), u=jnp.array([0.0, 2.0]), b=jnp.array(0.5))
        >>> y, log_det = planar.forward_and_log_det(jnp.array([1.0, 1.0]))
        >>> print(y.round(2), planar.inverse(y).round(2), log_det)
        [1.   2.81] [1. 1.] 0.0
    """

    def __init__(
        self,
        w: Float[ArrayLike, "... D"],
        u: Float[ArrayLike, "... D"],
        b: Float[ArrayLike, "..."],
        unit: Activation = jnp.tanh,
    ):
        super().__init__(event_ndims_in=1)
        self._w = check_float_array("w", w, min_ndim=1)
        self._u = check_float_array("u", u, min_ndim=1)
        self._b = check_float_array("b", b)
        if self._w.shape[-1] != self._u.shape[-1]:
            raise ValueError(
                "`w` and `u` must have last axes of the same size, that of the event; got "
                f"w.shape={self._w.shape}, u.shape={self._u.shape}."
            )
        self._unit = check_unit(unit)

    @property
    def w(self) -> Float[Array, "... D"]:
        """The direction that h depends on."""
        return self._w

    @property
    def u(self) -> Float[Array, "... D"]:
        """The direction in which events move, as given, before it is made feasible."""
        return self._u

    @property
    def b(self) -> Float[Array, "..."]:
        """The offset."""
        return self._b

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Compute `y = x + u^ h(w.x + b)`."""
        x = self._as_events(x)
        x, w, u, b, m = self._aligned(x)
        h, slope = value_and_slope(self._unit, jnp.sum(w * x, axis=-1, keepdims=True) + b)
        return x + u * h, jnp.log1p(slope * m)[..., 0]

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Find `w.x + b`, then x; the log-det is that of `forward`, negated."""
        y = self._as_events(y)
        y, w, u, b, m = self._aligned(y)
        a = solve_unit(m, jnp.sum(w * y, axis=-1, keepdims=True) + b, self._unit)
        h, slope = value_and_slope(self._unit, a)
        return y - u * h, -jnp.log1p(slope * m)[..., 0]

    def _aligned(self, x):
        """Return the event, w, `u^`, b and m, all of the event's rank."""
        check_event_size(x, self._w.shape[-1])
        x, w, u, b = align(x, self._w, self._u, self._b[..., None])
        # Don't recompute m as w . u^: where |w| |u| is large, rounding may take that below -1.
        m, log_share = make_feasible(jnp.sum(w * u, axis=-1, keepdims=True))
        along = unit_vector(w)
        # u loses 1 - share along w. expm1 avoids cancellation; gradients divide this by |w|.
        lost = -jnp.expm1(log_share) * jnp.sum(along * u, axis=-1, keepdims=True)
        return x, w, u - lost * along, b, m


def make_feasible(a: Float[Array, "..."]) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Return `m(a)` and `log(m(a) / a)`, with m as in `Planar`."""
    # Through the logarithm: gradients of fractions square the denominator, and 1e20 squared
    # overflows float32.
    kappa = 1 - MIN_SLOPE
    log_share = -jnp.log1p(jnp.maximum(-a, 0) / kappa)
    return jnp.maximum(a, 0) + kappa * jnp.expm1(log_share), log_share


def solve_unit(
    m: Float[Array, "..."], total: Float[Array, "..."], unit: Activation
) -> Float[Array, "..."]:
    """Return the root a of `a + m h(a) = total`, for a unit h with slopes in [0, 1] and m > -1.

    The unknown is the argument of h, which may be much smaller than an event or an offset.
    """
    m, total = jnp.broadcast_arrays(*align(m, total))

    def excess(a):
        return a + m * unit(a) - total

    # The slope is at least min(1, 1 + m), so a point's value bounds its distance to the root. The
    # bound is doubled for rounding. Where m is large, 0 gives a much tighter bound than `total`.
    low, high = jnp.full_like(total, -jnp.inf), jnp.full_like(total, jnp.inf)
    for point in (total, jnp.zeros_like(total)):
        reach = 2 * excess(point) / jnp.minimum(1, 1 + m)
        low = jnp.maximum(low, point - jnp.maximum(reach, 0))
        high = jnp.minimum(high, point - jnp.minimum(reach, 0))
    return find_root(excess, low, high)


def check_unit(unit: Activation) -> Activation:
    """Return `unit`; raise unless it is a function."""
    if not callable(unit):
        raise TypeError(
            "`unit` must be an elementwise function with slopes in [0, 1], such as "
            f"`jnp.tanh`; got {unit=}."
        )
    return unit
