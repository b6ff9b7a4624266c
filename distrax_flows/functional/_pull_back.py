"""Densities in the coordinates of a flow's base."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.types import ArrayLike
from distrax_flows.functional._log_density import LogDensityFn, check_log_density
from distrax_flows.functional.flow import Flow, Params

__all__ = ["pull_back"]


def pull_back(
    flow: Flow,
    params: Params,
    log_density: LogDensityFn,
    context: Shaped[ArrayLike, "... C"] | None = None,
) -> Callable[[Float[Array, "..."]], Float[Array, "..."]]:
    """Express a density in the coordinates z of the base of a flow f.

        log p(f(z)) + log |det df/dz|

    If `f(z)` for base samples z is close to p, this is close to the density of the base, mostly a
    standard normal: samplers then take long steps (NeuTra). `flow.forward` maps their states to
    those of p, with the same weights. It costs one forward pass: choose a flow where that is fast,
    such as `flows.iaf` or couplings.

    Args:
        flow: the flow f, without random layers.
        params: its parameters, such as `fit_to_density(...).params`.
        log_density: maps `[..., *event_shape]` to `[...]`, the logarithm of p up to a constant;
            with a context, it takes both.
        context: `[..., C]` or None.

    Returns:
        A function of z, `[..., *event_shape]`, to log-densities, `[...]`, in nats.

    Raises:
        TypeError: `log_density` is not a function.
        ValueError: `log_density` returns the wrong shape.

    Reference:
        Hoffman et al., "NeuTra-lizing Bad Geometry in Hamiltonian Monte Carlo Using Neural
        Transport", 2019, section 3.

    Example:
        >>> import distrax_flows as dxf, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.iaf(2))
        >>> params = flow.init_without_data(0)
        >>> log_density = flow.distribution(params).log_prob
        >>> dxf.pull_back(flow, params, log_density)(jnp.zeros(2))  # -log(2 pi)
        Array(-1.837877, dtype=float32)
    """
    check_log_density(log_density, flow, params, context)
    args = () if context is None else (context,)

    def log_density_of_base(z: Float[Array, "..."]) -> Float[Array, "..."]:
        x, log_det = flow.forward(params, z, context)
        return jnp.asarray(log_density(x, *args)) + log_det

    return log_density_of_base
