"""Bayesian layers with independent Gaussian weights, and their deterministic counterparts.

Each is called as `y, kl = layer(x)`, so that one architecture works with all of them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows._core.checks import check_float_array, check_positive_int
from distrax_flows._core.keys import as_key
from distrax_flows.modules._gaussian_weights import (
    Contraction,
    Product,
    Start,
    get_means,
    get_weights,
    make_convolution,
    sample_outputs,
)

__all__ = [
    "DeterministicConv2D",
    "DeterministicLinear",
    "MeanFieldConv2D",
    "MeanFieldLinear",
    "sample_predictions",
]


class MeanFieldLinear(hk.Module):
    """Linear layer whose weights and biases have independent Gaussian posteriors.

        y = x W + b,    q(W) = prod_ij N(w_ij; m_ij, s_ij^2),    p(W) = prod_ij N(w_ij; 0, p^2)
        kl = sum_ij log(p / s_ij) + (s_ij^2 + m_ij^2) / (2 p^2) - 1/2,    and the same for b

    By local reparameterisation, each row gets its own weights:

        y_j ~ N(sum_i x_i m_ij + m_j, sum_i x_i^2 s_ij^2 + s_j^2)

    The outputs of a row have the distribution that q gives them, and the gradient of a batch has
    far less noise than with one matrix for all rows. Outputs of different rows are independent:
    samples at several inputs are not one function.

    Args:
        output_size: number of outputs.
        prior_scale: standard deviation p of the prior.
        learn_prior: whether p is learned (empirical Bayes); it starts at `prior_scale`.
        initial_scale: standard deviation s at the start of training. The means start like the
            weights of `MLP`.
        name: name of the module.

    Call:
        x: `[..., D]`. Returns y, `[..., output_size]`, and the scalar kl in nats. Needs a key.
        A loss is `mean(-log p(data | y)) + kl / num_rows`, with the kl of all layers.

    Raises:
        TypeError: when called, `x` is not a floating array.
        ValueError: `output_size` is not a positive integer, or a scale is not finite and positive.

    Reference:
        Blundell et al., "Weight Uncertainty in Neural Networks", 2015, section 3.2; Kingma et al.,
        "Variational Dropout and the Local Reparameterization Trick", 2015, eq. 6.

    Example:
        >>> import haiku as hk, jax, jax.numpy as jnp
        >>> network = hk.transform(lambda x: MeanFieldLinear(3)(x))
        >>> params = network.init(jax.random.key(0), jnp.zeros((10, 2)))
        >>> y, kl = network.apply(params, jax.random.key(1), jnp.zeros((10, 2)))
        >>> y.shape, kl.shape
        ((10, 3), ())
    """

    def __init__(
        self,
        output_size: int,
        *,
        prior_scale: float = 1.0,
        learn_prior: bool = False,
        initial_scale: float = 0.01,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._product = Product(check_positive_int("output_size", output_size))
        self._start = Start(prior_scale, learn_prior, initial_scale).checked()

    def __call__(
        self, x: Float[Array, "... D"]
    ) -> tuple[Float[Array, "... output_size"], Float[Array, ""]]:
        """Sample the outputs; return them and the divergence from the prior."""
        return _mean_field(self._product, self._start, x)


class MeanFieldConv2D(hk.Module):
    """Convolution whose weights and biases have independent Gaussian posteriors.

    The formulas are those of `MeanFieldLinear`, with a convolution in place of the product. Local
    reparameterisation samples each pixel's outputs independently, though pixels share weights: the
    distribution of each output is exact, but their correlation is lost.

    Args:
        output_channels: number of filters.
        kernel_shape: height and width of the filters, or one number for both.
        stride: step of the filters, in pixels.
        padding: "SAME" or "VALID".
        prior_scale: standard deviation p of the prior.
        learn_prior: whether p is learned; it starts at `prior_scale`.
        initial_scale: standard deviation s at the start of training.
        name: name of the module.

    Call:
        x: `[..., H, W, C]`. Returns y, `[..., H', W', output_channels]`, and the scalar kl in nats.
        Needs a key.

    Raises:
        TypeError: when called, `x` is not a floating array.
        ValueError: a size is not a positive integer, a scale is not finite and positive,
            `kernel_shape` does not have two sizes, or `padding` is unknown; or, when called, `x`
            has fewer than three axes.

    Reference:
        Kingma et al., "Variational Dropout and the Local Reparameterization Trick", 2015, eq. 6.

    Example:
        >>> import haiku as hk, jax, jax.numpy as jnp
        >>> network = hk.transform(lambda x: MeanFieldConv2D(4, 3)(x))
        >>> params = network.init(jax.random.key(0), jnp.zeros((10, 8, 8, 1)))
        >>> y, kl = network.apply(params, jax.random.key(1), jnp.zeros((10, 8, 8, 1)))
        >>> y.shape, kl.shape
        ((10, 8, 8, 4), ())
    """

    def __init__(
        self,
        output_channels: int,
        kernel_shape: int | Sequence[int],
        *,
        stride: int = 1,
        padding: str = "SAME",
        prior_scale: float = 1.0,
        learn_prior: bool = False,
        initial_scale: float = 0.01,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._convolution = make_convolution(output_channels, kernel_shape, stride, padding)
        self._start = Start(prior_scale, learn_prior, initial_scale).checked()

    def __call__(
        self, x: Float[Array, "... H W C"]
    ) -> tuple[Float[Array, "... h w output_channels"], Float[Array, ""]]:
        """Sample the outputs; return them and the divergence from the prior."""
        return _mean_field(self._convolution, self._start, x)


class DeterministicLinear(hk.Module):
    """Linear layer in the form of a Bayesian one: `y = x W + b`, kl = 0.

    W and b start like the means of the Bayesian layers.

    Args:
        output_size: number of outputs.
        name: name of the module.

    Call:
        x: `[..., D]`. Returns y, `[..., output_size]`, and zero.

    Raises:
        TypeError: when called, `x` is not a floating array.
        ValueError: `output_size` is not a positive integer.

    Example:
        >>> import haiku as hk, jax, jax.numpy as jnp
        >>> network = hk.transform(lambda x: DeterministicLinear(3)(x))
        >>> params = network.init(jax.random.key(0), jnp.zeros((10, 2)))
        >>> y, kl = network.apply(params, None, jnp.zeros((10, 2)))
        >>> print(y.shape, kl)
        (10, 3) 0.0
    """

    def __init__(self, output_size: int, *, name: str | None = None):
        super().__init__(name=name)
        self._product = Product(check_positive_int("output_size", output_size))

    def __call__(
        self, x: Float[Array, "... D"]
    ) -> tuple[Float[Array, "... output_size"], Float[Array, ""]]:
        """Return the outputs and zero."""
        return _deterministic(self._product, x)


class DeterministicConv2D(hk.Module):
    """Convolution in the form of a Bayesian one; kl = 0.

    Args:
        output_channels: number of filters.
        kernel_shape: height and width of the filters, or one number for both.
        stride: step of the filters, in pixels.
        padding: "SAME" or "VALID".
        name: name of the module.

    Call:
        x: `[..., H, W, C]`. Returns y, `[..., H', W', output_channels]`, and zero.

    Raises:
        TypeError: when called, `x` is not a floating array.
        ValueError: a size is not a positive integer, `kernel_shape` does not have two sizes, or
            `padding` is unknown; or, when called, `x` has fewer than three axes.

    Example:
        >>> import haiku as hk, jax, jax.numpy as jnp
        >>> network = hk.transform(lambda x: DeterministicConv2D(4, 3, stride=2)(x))
        >>> params = network.init(jax.random.key(0), jnp.zeros((10, 8, 8, 1)))
        >>> y, kl = network.apply(params, None, jnp.zeros((10, 8, 8, 1)))
        >>> print(y.shape, kl)
        (10, 4, 4, 4) 0.0
    """

    def __init__(
        self,
        output_channels: int,
        kernel_shape: int | Sequence[int],
        *,
        stride: int = 1,
        padding: str = "SAME",
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._convolution = make_convolution(output_channels, kernel_shape, stride, padding)

    def __call__(
        self, x: Float[Array, "... H W C"]
    ) -> tuple[Float[Array, "... h w output_channels"], Float[Array, ""]]:
        """Return the outputs and zero."""
        return _deterministic(self._convolution, x)


def sample_predictions(
    apply: Callable[..., Any], params: Any, key: Any, x: Any, num_samples: int = 100
) -> Any:
    """Return the outputs of a random network for several samples of its weights.

    Pure, and safe under `jax.jit` with `apply` and `num_samples` static. All samples are computed
    at once, and take as much memory as `num_samples` batches.

    Args:
        apply: maps `(params, key, x)` to outputs, such as the `apply` of `hk.transform`.
        params: the parameters.
        key: random key, or an integer seed.
        x: the input, any pytree.
        num_samples: number of samples, S.

    Returns:
        The result of `apply`, with a new leading axis of size S on each array: `[S, ..., outputs]`
        and `[S]` for a network that returns y and kl.

    Raises:
        TypeError: `key` is not a key.
        ValueError: `num_samples` is not a positive integer.

    Example:
        >>> import haiku as hk, jax, jax.numpy as jnp
        >>> network = hk.transform(lambda x: MeanFieldLinear(3)(x))
        >>> params = network.init(jax.random.key(0), jnp.zeros((10, 2)))
        >>> y, kl = sample_predictions(network.apply, params, 1, jnp.zeros((10, 2)), 50)
        >>> y.shape, kl.shape
        ((50, 10, 3), (50,))
    """
    keys = jax.random.split(as_key(key), check_positive_int("num_samples", num_samples))
    return jax.vmap(lambda key: apply(params, key, x))(keys)


def _mean_field(contraction: Contraction, start: Start, x: jax.Array):
    x = check_float_array("x", x, contraction.event_ndims)
    kernel, bias = get_weights(contraction, x, start.initial_scale)
    log_prior_scale = start.log_prior_scale(x.dtype)
    kl = kernel.kl(log_prior_scale) + bias.kl(log_prior_scale)
    return sample_outputs(contraction, x, kernel, bias), kl


def _deterministic(contraction: Contraction, x: jax.Array):
    x = check_float_array("x", x, contraction.event_ndims)
    kernel, bias = get_means(contraction, x)
    return contraction(x, kernel) + bias, jnp.zeros((), x.dtype)
