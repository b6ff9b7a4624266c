"""Weights with multiplicative noise from a flow, and the bound on their divergence."""

import math
from collections.abc import Callable
from typing import NamedTuple

import distrax
import haiku as hk
import jax
import jax.numpy as jnp

from distrax_flows import families
from distrax_flows._core.checks import check_float_array
from distrax_flows._core.numerics import soft_clip
from distrax_flows.bijectors.permutation import Reverse
from distrax_flows.modules._gaussian_weights import (
    Contraction,
    Gaussian,
    Start,
    get_log_scale,
    get_weights,
    sample_outputs,
)
from distrax_flows.modules.learned import Layer, Learned
from distrax_flows.modules.mlp import MLP
from distrax_flows.modules.stack import Stack

__all__ = ["Flows", "sample_multiplied"]

_HIDDEN_SIZES = (50,)
# z starts at one plus or minus this: multiplicative noise like that of a weak dropout.
_Z_SCALE = 0.3
_MAX_LOG_PRECISION = 12.0


class Flows(NamedTuple):
    """Flows of z and of the auxiliary distribution; None for the default."""

    q: Layer | None
    r: Layer | None

    def checked(self) -> "Flows":
        """Return `self`; raise if an argument of a layer is wrong."""
        for name, flow in (("q_flow", self.q), ("r_flow", self.r)):
            if flow is not None and not callable(flow):
                raise TypeError(
                    f"`{name}` must be a layer, a function of z that returns a bijector, or None; "
                    f"got {name}={flow!r}. For a bijector, use `lambda z: bijector`."
                )
        return self


def sample_multiplied(
    contraction: Contraction,
    start: Start,
    flows: Flows,
    x: jax.Array,
    z_axis: int,
    multiplied: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
) -> tuple[jax.Array, jax.Array]:
    """Return outputs and the bound on the divergence.

    Args:
        contraction: action of a kernel on the input.
        start: prior, and initial scale.
        flows: the flows.
        x: the input.
        z_axis: axis of the kernel that z multiplies.
        multiplied: maps input, kernel and z to the outputs of the kernel times z.
    """
    x = check_float_array("x", x, contraction.event_ndims)
    kernel, bias = get_weights(contraction, x, start.initial_scale)
    shape = (*x.shape[: x.ndim - contraction.event_ndims], kernel.mean.shape[z_axis])
    z, log_q = _sample_z(flows.q, shape, x.dtype)
    y = sample_outputs(contraction, x, kernel, bias, lambda mean: multiplied(x, mean, z))

    by_z = Gaussian(*(_rows_of(array, z_axis) for array in kernel))
    log_r = _sample_log_r(flows.r, by_z, z)
    log_prior_scale = start.log_prior_scale(x.dtype)
    of_means = 0.5 * jnp.exp(-2 * log_prior_scale) * _squares(by_z, z)
    same = kernel.kl_of_scales(log_prior_scale) + bias.kl(log_prior_scale)
    return y, same + jnp.mean(of_means + log_q - log_r)


def _rows_of(array: jax.Array, axis: int) -> jax.Array:
    """Return a kernel as a matrix: one row for each entry along an axis."""
    array = jnp.moveaxis(array, axis, 0)
    return array.reshape(len(array), -1)


def _squares(weights: Gaussian, z: jax.Array) -> jax.Array:
    """Return the sum of the squared means of the weights, given z."""
    return jnp.sum(jnp.square(z) * jnp.sum(jnp.square(weights.mean), axis=-1), axis=-1)


def _sample_z(flow: Layer | None, shape: tuple[int, ...], dtype: jnp.dtype):
    """Sample z, `[..., Z]`, and return its log-density under q, `[...]`."""
    mean = hk.get_parameter("z_mean", shape[-1:], dtype, init=jnp.ones)
    log_scale = get_log_scale("z", shape[-1:], dtype, _Z_SCALE)
    noise = jax.random.normal(hk.next_rng_key(), shape, dtype)
    z, log_det = _forward(flow, "q_flow", mean + jnp.exp(log_scale) * noise)
    return z, jnp.sum(_log_normal(noise) - log_scale, axis=-1) - log_det


def _sample_log_r(flow: Layer | None, weights: Gaussian, z: jax.Array) -> jax.Array:
    """Return log r(z | W), `[...]`, for a sample of W given z, `[..., Z]`.

    It depends on W through c^T W only, whose entries are independent and Gaussian given z:

        c^T W ~ N((c z)^T M, (c^2)^T S^2)

    So they are sampled instead of W. The estimate of the bound remains unbiased, because no other
    term of it uses a sample of W: `KL(q(W | z) || p)` is exact, and log q(z) depends on z alone.
    The outputs use other samples of W, which is valid too: they enter another term of the ELBO,
    and the expectation of a sum needs no joint samples.
    """
    size, num_columns = weights.mean.shape
    normal = hk.initializers.RandomNormal
    c = hk.get_parameter("c", (size,), z.dtype, normal(size**-0.5))
    b1, b2 = (hk.get_parameter(name, (size,), z.dtype, normal(0.1)) for name in ("b1", "b2"))
    variance = jnp.square(c) @ weights.variance
    # As in `sample_outputs`: c may be zero.
    scale = jnp.sqrt(jnp.maximum(variance, jnp.finfo(z.dtype).tiny))
    noise = jax.random.normal(hk.next_rng_key(), (*z.shape[:-1], num_columns), z.dtype)
    a = jnp.tanh((c * z) @ weights.mean + scale * noise)
    mean_a = jnp.mean(a, axis=-1, keepdims=True)
    log_precision = soft_clip(b2 * mean_a, _MAX_LOG_PRECISION)
    base, log_det = _forward(flow, "r_flow", z)
    standardized = (base - b1 * mean_a) * jnp.exp(0.5 * log_precision)
    return jnp.sum(_log_normal(standardized) + 0.5 * log_precision, axis=-1) + log_det


def _log_normal(x: jax.Array) -> jax.Array:
    return -0.5 * jnp.square(x) - 0.5 * math.log(2 * math.pi)


def _forward(flow: Layer | None, name: str, z: jax.Array):
    """Apply a flow, or the default one; parameters get the name of the argument."""

    def checked(z):
        bijector = (Stack(_coupling, 2) if flow is None else flow)(z)
        if not isinstance(bijector, distrax.Bijector):
            raise TypeError(
                f"`{name}` must return a bijector; it returned {bijector!r}. Use the `bijector` of "
                "a flow, as in `lambda z: flows.iaf(z.shape[-1]).bijector`."
            )
        return bijector

    with hk.name_scope(name):
        return Learned(checked).forward_and_log_det(z)


def _coupling(z: jax.Array) -> distrax.Bijector:
    """Transform the second half given the first, then reverse; a single dimension unconditionally.

    Two such layers transform every dimension.
    """
    family, size = families.affine(), z.shape[-1]
    half = size // 2
    if half == 0:
        params = hk.get_parameter("params", (size, family.num_params), z.dtype, init=jnp.zeros)
        return distrax.Block(family.bijector(params), 1)
    network = MLP((size - half, family.num_params), _HIDDEN_SIZES)
    coupling = distrax.SplitCoupling(
        half, 1, lambda kept: network(jnp.asarray(kept)), family.bijector
    )
    return distrax.Chain([Reverse(), coupling])
