"""Flows of integer levels, such as the pixels of images."""

from collections.abc import Callable

import distrax
import jax

from distrax_flows._core.checks import check_positive_int
from distrax_flows.flows._transformed import Transformed
from distrax_flows.modules import Dequantize
from distrax_flows.supports import interval

__all__ = ["dequantized"]


def dequantized(
    flow: distrax.Transformed,
    num_levels: int,
    *,
    noise: Callable[[jax.Array], distrax.DistributionLike] | None = None,
    alpha: float | None = 0.05,
) -> Transformed:
    """Turn a flow of real numbers into a flow of integer levels, such as pixels.

    Noise u in (0, 1) makes levels v continuous, and a logit maps them to the real line:

        x = (v + u) / L,   y = logit(alpha + (1 - 2 alpha) x),   y ~ flow

    `log_prob(v)` needs a key for the noise. It is a sample of a lower bound of `log P(v)`, the
    logarithm of a probability: all changes of scale are included. `fit` maximises the bound,
    `diagnostics.bits_per_dim` evaluates it, and `sample` returns levels. Events may have any shape.

    The noise is uniform, or comes from a conditional flow that is trained jointly and makes the
    bound tighter (variational dequantisation). This one starts out uniform, because it has no
    normalisation between its couplings:

        def noise(image):
            return flows.image_realnvp(
                (8, 8, 1), num_scales=1, context_map=image, between=lambda x: Reverse(),
                base=bases.logistic((8, 8, 1)), support=supports.interval(0.0, 1.0))

    Args:
        flow: a flow on the real line, as from the builders of `flows`.
        num_levels: number of levels, L: values are integers from 0 to L - 1; 256 for bytes.
        noise: maps levels, scaled to `(v + 1/2) / L - 1/2`, to a distribution of noise in (0, 1),
            with their batch shape; uniform if None.
        alpha: distance that the logit keeps from 0 and 1, at least 0 and less than 1/2. With a
            positive alpha, x has some density outside [0, 1]; `sample` rounds it to the nearest
            level, and `log_prob` does not count it. None omits the logit: `y = x - 1/2`, as in
            Glow.

    Raises:
        ValueError: `num_levels` is not a positive integer, or `alpha` is out of its range.

    Reference:
        Dinh et al., "Density estimation using Real NVP", 2017, section 4.1, for the logit; Ho et
        al., "Flow++", 2019, eqs. 4-7, for the bounds.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.dequantized(dxf.flows.maf(3), num_levels=4))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 3)))
        >>> flow.log_prob(params, jnp.array([[0, 1, 3], [2, 2, 0]]), key=1).shape
        (2,)
        >>> samples = flow.sample(params, jax.random.key(2), (5,))
        >>> bool(jnp.all((samples >= 0) & (samples <= 3)))
        True
    """
    check_positive_int("num_levels", num_levels)
    if alpha is not None and not 0 <= alpha < 0.5:
        raise ValueError(f"`alpha` must be at least 0 and less than 1/2, or None; got {alpha=}.")
    event_ndims = flow.bijector.event_ndims_out
    if alpha is None:
        to_levels = distrax.ScalarAffine(shift=num_levels / 2, scale=float(num_levels))
    else:
        low = -alpha * num_levels / (1 - 2 * alpha)
        to_levels = interval(low, num_levels - low).bijector()
    dequantize = Dequantize(num_levels, noise, event_ndims)
    bijector = distrax.Chain([dequantize, distrax.Block(to_levels, event_ndims), flow.bijector])
    event_shape = flow.event_shape if isinstance(flow, Transformed) else None
    return Transformed(flow.distribution, bijector, event_shape=event_shape, is_discrete=True)
