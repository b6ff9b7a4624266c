"""Convolution of images, as fast inside a scan as outside."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["convolve"]


def convolve(
    x: Float[Array, "... H W C"], kernel: Float[Array, "h w C out"]
) -> Float[Array, "... H W out"]:
    """Cross-correlate images with a kernel of odd sizes; zeros beyond the border.

    Inside a loop, XLA compiles a convolution for the CPU to code twenty times slower than outside.
    There it is therefore written as one matrix product, of patches. Gradients store the image and
    not its patches, which are `h w` times larger.
    """
    images = x.reshape(-1, *x.shape[-3:])
    y = jax.checkpoint(_by_platform, prevent_cse=False)(images, kernel)
    return y.reshape(x.shape[:-1] + kernel.shape[-1:])


def _by_platform(x, kernel):
    return jax.lax.platform_dependent(x, kernel, cpu=_of_patches, default=_convolution)


def _of_patches(x, kernel):
    (height, width), (h, w) = x.shape[1:3], kernel.shape[:2]
    padded = jnp.pad(x, ((0, 0), (h // 2, h // 2), (w // 2, w // 2), (0, 0)))
    shifted = [padded[:, i : i + height, j : j + width] for i in range(h) for j in range(w)]
    return jnp.concatenate(shifted, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


def _convolution(x, kernel):
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)
