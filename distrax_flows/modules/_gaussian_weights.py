"""Kernels of linear maps and convolutions, and Gaussian distributions of their weights."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows._core.checks import check_choice, check_positive, check_positive_int
from distrax_flows._core.numerics import soft_clip
from distrax_flows._core.types import Shape
from distrax_flows.modules.mlp import he_uniform
from distrax_flows.networks._convolve import convolve

__all__ = [
    "Contraction",
    "Convolution",
    "Gaussian",
    "Product",
    "Start",
    "get_log_scale",
    "get_means",
    "get_weights",
    "make_convolution",
    "sample_outputs",
]

# A scale stays within exp(+-12) of its start: its square and the inverse of that fit in float32.
_MAX_LOG_SCALE = 12.0


class Product(NamedTuple):
    """Product of a vector and a matrix: `[..., D]` to `[..., output_size]`."""

    output_size: int
    event_ndims: int = 1

    def kernel_shape(self, x: jax.Array) -> Shape:
        """Return the shape of the kernel for an input."""
        return (x.shape[-1], self.output_size)

    def __call__(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        """Apply a kernel."""
        return x @ kernel


class Convolution(NamedTuple):
    """Convolution of images: `[..., H, W, C]` to `[..., H', W', output_size]`."""

    output_size: int
    window: tuple[int, int]
    stride: int
    padding: str
    event_ndims: int = 3

    def kernel_shape(self, x: jax.Array) -> Shape:
        """Return the shape of the kernel for an input."""
        return (*self.window, x.shape[-1], self.output_size)

    def __call__(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        """Apply a kernel."""
        return convolve(x, kernel, self.stride, self.padding)


Contraction = Product | Convolution


def make_convolution(
    output_channels: int, kernel_shape: int | Sequence[int], stride: int, padding: str
) -> Convolution:
    """Return a convolution; raise if an argument of a layer is wrong."""
    window = (kernel_shape,) * 2 if isinstance(kernel_shape, int) else tuple(kernel_shape)
    if len(window) != 2:
        raise ValueError(
            "`kernel_shape` must be a height and a width, such as (3, 3), or one number for both; "
            f"got {kernel_shape=}."
        )
    height, width = (check_positive_int(f"kernel_shape[{i}]", n) for i, n in enumerate(window))
    check_choice("padding", padding, ("SAME", "VALID"))
    return Convolution(
        check_positive_int("output_channels", output_channels),
        (height, width),
        check_positive_int("stride", stride),
        padding,
    )


class Start(NamedTuple):
    """The prior of weights, and the standard deviation that their posterior starts with."""

    prior_scale: float
    learn_prior: bool
    initial_scale: float

    def checked(self) -> "Start":
        """Return `self`; raise if an argument of a layer is wrong."""
        check_positive("prior_scale", self.prior_scale)
        check_positive("initial_scale", self.initial_scale)
        return self

    def log_prior_scale(self, dtype: jnp.dtype) -> Float[Array, ""]:
        """Return the log standard deviation of the prior, learned or not."""
        if self.learn_prior:
            return get_log_scale("prior", (), dtype, self.prior_scale)
        return jnp.asarray(math.log(self.prior_scale), dtype)


class Gaussian(NamedTuple):
    """Independent Gaussians, one for each entry of an array of weights."""

    mean: jax.Array
    log_scale: jax.Array

    @property
    def variance(self) -> jax.Array:
        """The variances."""
        return jnp.exp(2 * self.log_scale)

    def kl_of_scales(self, log_prior_scale: Float[Array, ""]) -> Float[Array, ""]:
        """Return the divergence from the prior for means of zero."""
        log_ratio = self.log_scale - log_prior_scale
        return jnp.sum(0.5 * jnp.expm1(2 * log_ratio) - log_ratio)

    def kl(self, log_prior_scale: Float[Array, ""]) -> Float[Array, ""]:
        """Return the divergence from the prior `N(0, prior_scale^2)`, in nats."""
        of_means = 0.5 * jnp.exp(-2 * log_prior_scale) * jnp.sum(jnp.square(self.mean))
        return self.kl_of_scales(log_prior_scale) + of_means


def get_log_scale(name: str, shape: Shape, dtype: jnp.dtype, start: float) -> jax.Array:
    """Return learned log-scales that start at `log(start)` and are bounded around it."""
    raw = hk.get_parameter(f"{name}_raw_log_scale", shape, dtype, init=jnp.zeros)
    return math.log(start) + soft_clip(raw, _MAX_LOG_SCALE)


def get_means(contraction: Contraction, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return a learned kernel and bias for an input; both start like those of `MLP`."""
    shape = contraction.kernel_shape(x)
    init = he_uniform(math.prod(shape[:-1]))
    return (
        hk.get_parameter("kernel", shape, x.dtype, init),
        hk.get_parameter("bias", shape[-1:], x.dtype, init),
    )


def get_weights(
    contraction: Contraction, x: jax.Array, initial_scale: float
) -> tuple[Gaussian, Gaussian]:
    """Return the learned Gaussians of a kernel and of a bias."""
    kernel, bias = get_means(contraction, x)
    return (
        Gaussian(kernel, get_log_scale("kernel", kernel.shape, x.dtype, initial_scale)),
        Gaussian(bias, get_log_scale("bias", bias.shape, x.dtype, initial_scale)),
    )


def sample_outputs(
    contraction: Contraction,
    x: jax.Array,
    kernel: Gaussian,
    bias: Gaussian,
    mean_of: Callable[[jax.Array], jax.Array] | None = None,
) -> jax.Array:
    """Sample the outputs of random weights, by local reparameterisation.

    Given x, the output is a sum of independent Gaussians, so it is Gaussian itself:

        mean = contraction(x, M) + bias,    variance = contraction(x^2, S^2) + bias variance

    Its entries are sampled instead of the weights. Each output is distributed as for one weight
    matrix, but outputs of a convolution at two pixels that share inputs become independent.

    Args:
        contraction: action of a kernel on the input.
        x: the input.
        kernel: distribution of the kernel.
        bias: distribution of the bias.
        mean_of: maps the kernel's mean to the outputs' mean without the bias; `contraction(x, .)`
            if None.
    """
    mean = contraction(x, kernel.mean) if mean_of is None else mean_of(kernel.mean)
    variance = contraction(jnp.square(x), kernel.variance) + bias.variance
    # The root has no gradient at zero, to which very small variances are flushed.
    scale = jnp.sqrt(jnp.maximum(variance, jnp.finfo(variance.dtype).tiny))
    noise = jax.random.normal(hk.next_rng_key(), mean.shape, mean.dtype)
    return mean + bias.mean + scale * noise
