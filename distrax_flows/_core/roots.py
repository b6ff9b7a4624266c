"""Roots of increasing functions, with implicit gradients."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows._core.numerics import hard_clip, keep, value_and_slope, vary_like

__all__ = ["find_root"]


def find_root(
    f: Callable[[jax.Array], jax.Array],
    low: Float[Array, "..."],
    high: Float[Array, "..."],
    noise: Float[Array, "..."] | float = 0.0,
) -> Float[Array, "..."]:
    """Find the root of an increasing function in `[low, high]`, elementwise.

    Gradients are implicit. The search is Chandrupatla's method: inverse quadratic interpolation
    where it is safe, otherwise bisection. Two Newton steps follow.
    (`tfp.math.find_root_chandrupatla` returns NaN for one in ten thousand functions that are almost
    lines, which are common in flows: its interpolation divides zero by zero there.)

    Derivatives are right to any order; within `jax.lax.scan`, which drops custom rules when
    differentiated twice, up to the third.

    Args:
        f: elementwise and increasing. It may close over arrays, which get gradients by the implicit
            function theorem: dx = -df / f'(x).
        low: `[...]`, where f is not positive.
        high: `[...]`, where f is not negative; of the shape of `low`.
        noise: the size of the rounding errors of f, broadcast to `low`. A point where f is no
            larger counts as the root, except for the last steps; pinning down the root among values
            that are all noise would take tens of steps.

    Returns:
        `[...]`, as near to the root as the rounding errors of f allow; NaN where f is NaN.

    Reference:
        Chandrupatla, "A new hybrid quadratic/bisection algorithm for finding the zero of a
        nonlinear function without using derivatives", 1997.
    """
    # It is traced three times here: JAX finds the first trace again.
    f = jax.jit(f, inline=True)
    # f may close over values wider than the bracket: float64 parameters, float32 events.
    dtype = jax.eval_shape(f, low).dtype
    low, high = (jax.lax.stop_gradient(end).astype(dtype) for end in (low, high))
    noise = jnp.broadcast_to(jax.lax.stop_gradient(noise), low.shape).astype(dtype)
    low, high, noise = vary_like((low, high, noise), jax.eval_shape(f, low), low, high, noise)
    f, closed_over = jax.closure_convert(f, low)
    return _root(f, low, high, noise, closed_over)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _root(f, low, high, noise, closed_over):
    # If a gradient of a gradient passes through a scan, JAX differentiates this body instead of
    # using the rule below. So the search has no derivative, and two Newton steps from its end have
    # the root's: the first step gets one derivative right; the second, of equal slope, two.
    ends = jax.lax.stop_gradient((low, high))
    x = _search(f, *jax.lax.stop_gradient((low, high, noise, closed_over)))
    value, slope = value_and_slope(lambda x: f(x, *closed_over), x)
    for excess in (lambda _: value, lambda x: f(x, *closed_over)):
        step = excess(x) / jnp.where(slope > 0, slope, 1)
        newton = hard_clip(x - step, *ends)
        x = jnp.where((slope > 0) & jnp.isfinite(step), newton, x + value)
    return x


def _search(f, low, high, noise, closed_over):
    """Return the better end of a root's bracket, narrowed to a tolerance."""

    def g(x):
        return f(x, *closed_over)

    tolerance = jnp.finfo(low.dtype).eps

    def unfinished(state):
        i, *_, done = state
        return (i < _MAX_ROOT_STEPS) & ~jnp.all(done)

    def improve(state):
        i, *old, g_x, done = state
        new, finished = _narrow(tolerance, old, g_x)
        finished |= jnp.abs(g_x) <= noise
        kept = [jnp.where(done, a, b) for a, b in zip(old, new, strict=True)]
        # Computed last and read from memory only in the next round: within a round, XLA may compute
        # a value once for its sign and again, rounded differently, for its size.
        return i + 1, *kept, g(kept[-1]), done | finished

    # Rounding may give g the wrong sign at an end; then the root is that end.
    g_low, g_high = jnp.minimum(g(low), 0), jnp.maximum(g(high), 0)
    middle = low + (high - low) / 2
    done = vary_like(jnp.zeros(low.shape, bool), low)
    first = 0, low, high, g_low, g_high, middle, g(middle), done
    _, a, b, g_a, g_b, *_ = jax.lax.while_loop(unfinished, improve, first)
    # The best end of the bracket, or better.
    return jnp.where(jnp.abs(g_a) < jnp.abs(g_b), a, b)


@_root.defjvp
def _root_jvp(f, primals, tangents):
    """Differentiate 0 = f(x, c): 0 = f' dx + df, with df the change due to what f closes over."""
    *_, closed_over = primals
    x = keep(_root(f, *primals))
    _, change = jax.jvp(lambda *c: f(x, *c), closed_over, tangents[-1])
    _, slope = value_and_slope(lambda x: f(x, *closed_over), x)
    return x, -change / slope


_MAX_ROOT_STEPS = 150  # twice the number of halvings that exhaust double precision


def _narrow(tolerance, search, f_x):
    """Take one step: return a bracket, its values, the next point, and whether it is done.

    The root lies between a and b, and f(x) = f_x. Then a becomes x, the newest point; c is the
    point before, on either side.
    """
    a, b, f_a, f_b, x = search
    same_side = jnp.sign(f_x) == jnp.sign(f_a)
    c, f_c = jnp.where(same_side, a, b), jnp.where(same_side, f_a, f_b)
    b, f_b = jnp.where(same_side, b, a), jnp.where(same_side, f_b, f_a)
    a, f_a = x, f_x
    xi, phi = (a - b) / (c - b), (f_a - f_b) / (f_c - f_b)
    t = f_a / (f_b - f_a) * f_c / (f_b - f_c)
    t += (c - a) / (b - a) * f_a / (f_c - f_a) * f_b / (f_c - f_b)
    safe = (1 - jnp.sqrt(1 - xi) < phi) & (phi < jnp.sqrt(xi)) & jnp.isfinite(t)
    least = tolerance * jnp.maximum(jnp.abs(a), jnp.abs(b)) / jnp.abs(b - c)
    t = jnp.clip(jnp.where(safe, t, 0.5), least, 1 - least)
    done = (least > 0.5) | (f_a == 0) | (f_b == 0) | jnp.isnan(f_a)
    return (a, b, f_a, f_b, a + t * (b - a)), done
