"""Convolutional conditioner networks."""

import math
from collections.abc import Sequence

import haiku as hk
import jax
import jax.numpy as jnp
import jmp
from jaxtyping import Array, Float

from distrax_flows._core.checks import check_positive_int, check_sizes
from distrax_flows._core.types import Activation
from distrax_flows.modules.mlp import add_context, computing, he_uniform, linear, starting_at
from distrax_flows.networks._convolve import convolve

__all__ = ["ConvNet", "GatedConvNet"]


class ConvNet(hk.Module):
    """3x3, 1x1 and 3x3 convolutions from an image and an optional context to parameters of pixels.

    With `*` a convolution that sees zeros beyond the border, and C the context,

        a_1 = activation(x * W_1 + C V + b_1),   a_2 = activation(a_1 W_2 + b_2),
        params = a_2 * W_3 + b_3.

    Initialised like `MLP`: the last layer starts at zero (or at `start`), the others uniform.

    Args:
        output_shape: shape of the parameters of one pixel.
        hidden_channels: channels of both hidden layers.
        activation: applied elementwise after each hidden layer.
        start: the output at the start of training, as for `MLP`.
        policy: dtypes, as for `MLP`.
        name: name of the module.

    Call:
        x: `[..., H, W, C]`. context: `[..., H, W, K]`, or `[..., 1, 1, K]` for one that all pixels
            share, or None; batch axes broadcast.
        Returns `[..., H, W, *output_shape]`.

    Raises:
        ValueError: a size is not a positive integer.

    Reference:
        Kingma & Dhariwal, "Glow: Generative Flow with Invertible 1x1 Convolutions", 2018, section
        5.2, with 512 hidden channels.

    Example:
        >>> import haiku as hk, jax, jax.numpy as jnp
        >>> network = hk.transform(lambda x: ConvNet((3, 2), hidden_channels=16)(x))
        >>> params = network.init(jax.random.key(0), jnp.zeros((8, 8, 1)))
        >>> network.apply(params, None, jnp.zeros((10, 8, 8, 1))).shape
        (10, 8, 8, 3, 2)
    """

    def __init__(
        self,
        output_shape: Sequence[int],
        hidden_channels: int,
        activation: Activation = jax.nn.relu,
        *,
        start: Sequence[float] | None = None,
        policy: jmp.Policy | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._output_shape = check_sizes("output_shape", output_shape)
        self._hidden_channels = check_positive_int("hidden_channels", hidden_channels)
        self._activation = activation
        self._start = start
        self._policy = policy

    def __call__(
        self, x: Float[Array, "... H W C"], context: Float[Array, "... K"] | None = None
    ) -> Float[Array, "..."]:
        """Evaluate the network."""
        with _computing(self._policy):
            hidden = add_context(_Conv(self._hidden_channels, name="conv_in")(x), context)
            hidden = linear(self._activation(hidden), self._hidden_channels, "linear")
            return _output(self._activation(hidden), self._output_shape, self._start, self._policy)


class GatedConvNet(hk.Module):
    """Gated residual convolutions from an image and an optional context to parameters of pixels.

    With `*` a convolution that sees zeros beyond the border, C the context and B blocks,

        a_0 = x * W_0 + C V + b_0
        (u_k, g_k) = activation(activation(a_{k-1}) * W_k + b_k) W'_k + b'_k
        a_k = norm(a_{k-1} + u_k sigma(g_k)),   k = 1..B
        params = activation(a_B) * W_{B+1} + b_{B+1}.

    `norm` subtracts the mean over the channels of a pixel and divides by their standard deviation,
    with learned scale and offset (Ba et al., 2016). Initialised like `MLP`; the last layer starts
    at zero. Each block extends the receptive field by one pixel.

    Args:
        output_shape: shape of the parameters of one pixel.
        hidden_channels: channels of the hidden layers.
        activation: applied elementwise.
        num_blocks: number of residual blocks, B.
        start: the output at the start of training, as for `MLP`.
        policy: dtypes, as for `MLP`.
        name: name of the module.

    Call:
        x: `[..., H, W, C]`. context: `[..., H, W, K]`, or `[..., 1, 1, K]` for one that all pixels
            share, or None; batch axes broadcast.
        Returns `[..., H, W, *output_shape]`.

    Raises:
        ValueError: a size or `num_blocks` is not a positive integer.

    Reference:
        Ho et al., "Flow++: Improving Flow-Based Generative Models with Variational Dequantization
        and Architecture Design", 2019, section 3.3, without its attention; the residual networks of
        Dinh et al., "Density estimation using Real NVP", 2017, section 4.1.

    Example:
        >>> import haiku as hk, jax, jax.numpy as jnp
        >>> network = hk.transform(lambda x: GatedConvNet((3, 2), hidden_channels=16)(x))
        >>> params = network.init(jax.random.key(0), jnp.zeros((8, 8, 1)))
        >>> network.apply(params, None, jnp.zeros((10, 8, 8, 1))).shape
        (10, 8, 8, 3, 2)
    """

    def __init__(
        self,
        output_shape: Sequence[int],
        hidden_channels: int,
        activation: Activation = jax.nn.relu,
        *,
        num_blocks: int = 2,
        start: Sequence[float] | None = None,
        policy: jmp.Policy | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._output_shape = check_sizes("output_shape", output_shape)
        self._hidden_channels = check_positive_int("hidden_channels", hidden_channels)
        self._num_blocks = check_positive_int("num_blocks", num_blocks)
        self._activation = activation
        self._start = start
        self._policy = policy

    def __call__(
        self, x: Float[Array, "... H W C"], context: Float[Array, "... K"] | None = None
    ) -> Float[Array, "..."]:
        """Evaluate the network."""
        size = self._hidden_channels
        with _computing(self._policy):
            hidden = add_context(_Conv(size, name="conv_in")(x), context)
            for block in range(self._num_blocks):
                inner = _Conv(size, name=f"block_{block}_conv")(self._activation(hidden))
                inner = linear(self._activation(inner), 2 * size, f"block_{block}_gates")
                value, gate = jnp.split(inner, 2, axis=-1)
                hidden = _normalized(hidden + value * jax.nn.sigmoid(gate), f"block_{block}_norm")
            return _output(self._activation(hidden), self._output_shape, self._start, self._policy)


class _Conv(hk.Module):
    """3x3 convolution, initialised like the linear layers of `MLP`."""

    def __init__(
        self,
        output_channels: int,
        w_init: hk.initializers.Initializer | None = None,
        b_init: hk.initializers.Initializer | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._output_channels = output_channels
        self._w_init = w_init
        self._b_init = b_init

    def __call__(self, x: Float[Array, "... H W C"]) -> Float[Array, "... H W out"]:
        channels, out = x.shape[-1], self._output_channels
        init = he_uniform(9 * channels)
        w = hk.get_parameter("w", (3, 3, channels, out), x.dtype, init=self._w_init or init)
        b = hk.get_parameter("b", (out,), x.dtype, init=self._b_init or init)
        y = convolve(x, w)
        return y + jnp.broadcast_to(b, y.shape)


def _computing(policy: jmp.Policy | None):
    return computing(policy, hk.Linear, hk.LayerNorm, _Conv)


def _normalized(hidden, name):
    return hk.LayerNorm(axis=-1, create_scale=True, create_offset=True, name=name)(hidden)


def _output(hidden, shape, start, policy):
    layer = _Conv(math.prod(shape), jnp.zeros, starting_at(start, shape), name="conv_out")
    params = layer(hidden)
    params = params.reshape(params.shape[:-1] + shape)
    return params if policy is None else policy.cast_to_output(params)
