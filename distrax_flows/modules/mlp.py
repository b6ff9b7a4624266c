"""Dense conditioner networks."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence

import haiku as hk
import jax
import jax.numpy as jnp
import jmp
from jaxtyping import Array, Float

from distrax_flows._core.checks import check_positive_int, check_sizes
from distrax_flows._core.numerics import align
from distrax_flows._core.types import Activation

__all__ = [
    "MLP",
    "ResidualMLP",
    "add_context",
    "computing",
    "he_uniform",
    "linear",
    "starting_at",
]


class MLP(hk.Module):
    """Multilayer perceptron from a vector and an optional context to parameters of any shape.

    With a_0 = x, C the context and L hidden layers,

        a_1 = activation(x W_1 + C V + b_1),   a_l = activation(a_{l-1} W_l + b_l),
        params = a_L W_{L+1} + b_{L+1}.

    The last layer starts at zero (or at `start`), so a flow starts at the identity. The others,
    biases too, start uniform in +-sqrt(6 / fan-in) (He et al., 2015): with one or two inputs, as in
    couplings of small events, the kinks of the units must be spread over the data from the start.

    Args:
        output_shape: shape of the parameters of one input.
        hidden_sizes: units of each hidden layer.
        activation: applied elementwise after each hidden layer.
        start: the output at the start of training, broadcast to `output_shape`; zeros if None. It
            becomes the bias of the last layer, whose weights start at zero.
        policy: dtypes of parameters, of products and activations, and of the output; that of the
            input if None. `jmp.get_policy("params=float32,compute=bfloat16,output=float32")` makes
            a network cheaper on accelerators and keeps what depends on its output in float32.
        name: name of the module.

    Call:
        x: `[..., in]`. context: `[..., C]` or None; batch axes broadcast.
        Returns `[..., *output_shape]`.

    Raises:
        ValueError: a size is not a positive integer, or `hidden_sizes` is empty.

    Example:
        >>> import haiku as hk, jax, jax.numpy as jnp
        >>> network = hk.transform(lambda x: MLP((3, 2), hidden_sizes=(16,))(x))
        >>> params = network.init(jax.random.key(0), jnp.zeros(4))
        >>> network.apply(params, None, jnp.zeros((10, 4))).shape
        (10, 3, 2)
    """

    def __init__(
        self,
        output_shape: Sequence[int],
        hidden_sizes: Sequence[int],
        activation: Activation = jax.nn.relu,
        *,
        start: Sequence[float] | None = None,
        policy: jmp.Policy | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._output_shape = check_sizes("output_shape", output_shape)
        self._start = start
        self._hidden_sizes = check_sizes("hidden_sizes", hidden_sizes)
        self._activation = activation
        self._policy = policy

    def __call__(
        self, x: Float[Array, "... n"], context: Float[Array, "... C"] | None = None
    ) -> Float[Array, "..."]:
        """Evaluate the network."""
        hidden = x
        with computing(self._policy, hk.Linear):
            for layer, size in enumerate(self._hidden_sizes):
                hidden = linear(hidden, size, f"linear_{layer}")
                if layer == 0:
                    hidden = add_context(hidden, context)
                hidden = self._activation(hidden)
            return _output(hidden, self._output_shape, self._start, self._policy)


class ResidualMLP(hk.Module):
    """Residual network from a vector and an optional context to parameters of any shape.

    With C the context and B blocks,

        a_0 = x W_0 + C V + b_0
        a_k = a_{k-1} + activation(activation(a_{k-1}) W_k + b_k) W'_k + b'_k,   k = 1..B
        params = activation(a_B) W_{B+1} + b_{B+1}.

    Initialised like `MLP`; the last layer starts at zero.

    Args:
        output_shape: shape of the parameters of one input.
        hidden_size: width of the network.
        num_blocks: number of residual blocks, B.
        activation: applied elementwise.
        start: the output at the start of training, as for `MLP`.
        policy: dtypes, as for `MLP`.
        name: name of the module.

    Call:
        x: `[..., in]`. context: `[..., C]` or None; batch axes broadcast.
        Returns `[..., *output_shape]`.

    Raises:
        ValueError: a size or `num_blocks` is not a positive integer.

    Reference:
        The conditioner of Durkan et al., "Neural Spline Flows", 2019, section 5; He et al.,
        "Identity Mappings in Deep Residual Networks", 2016, eq. 5.

    Example:
        >>> import haiku as hk, jax, jax.numpy as jnp
        >>> network = hk.transform(lambda x: ResidualMLP((3, 2), hidden_size=16)(x))
        >>> params = network.init(jax.random.key(0), jnp.zeros(4))
        >>> network.apply(params, None, jnp.zeros((10, 4))).shape
        (10, 3, 2)
    """

    def __init__(
        self,
        output_shape: Sequence[int],
        hidden_size: int,
        num_blocks: int = 2,
        activation: Activation = jax.nn.relu,
        *,
        start: Sequence[float] | None = None,
        policy: jmp.Policy | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._output_shape = check_sizes("output_shape", output_shape)
        self._start = start
        self._hidden_size = check_positive_int("hidden_size", hidden_size)
        self._num_blocks = check_positive_int("num_blocks", num_blocks)
        self._activation = activation
        self._policy = policy

    def __call__(
        self, x: Float[Array, "... n"], context: Float[Array, "... C"] | None = None
    ) -> Float[Array, "..."]:
        """Evaluate the network."""
        with computing(self._policy, hk.Linear):
            hidden = add_context(linear(x, self._hidden_size, "linear_in"), context)
            for block in range(self._num_blocks):
                inner = linear(self._activation(hidden), self._hidden_size, f"block_{block}_in")
                hidden += linear(self._activation(inner), self._hidden_size, f"block_{block}_out")
            return _output(self._activation(hidden), self._output_shape, self._start, self._policy)


def he_uniform(fan_in: int) -> hk.initializers.Initializer:
    """Return an initialiser of weights or biases, uniform in +-sqrt(6 / fan_in)."""
    bound = math.sqrt(6 / fan_in)
    return hk.initializers.RandomUniform(-bound, bound)


def add_context(
    hidden: Float[Array, "... H"], context: Float[Array, "... C"] | None
) -> Float[Array, "... H"]:
    """Add a linear map of the context to a first layer; do nothing without a context.

    This equals the first layer of the concatenated input, but the context's part is computed at the
    context's own batch shape, once for all samples that share a context.
    """
    if context is None:
        return hidden
    init = he_uniform(context.shape[-1])
    extra = hk.Linear(hidden.shape[-1], with_bias=False, w_init=init, name="context")(context)
    hidden, extra = align(hidden, extra)
    return hidden + extra


@contextlib.contextmanager
def computing(policy: jmp.Policy | None, *layers: type[hk.Module]) -> Iterator[None]:
    """Make layers of these classes, when called inside, compute and return the compute dtype."""
    with contextlib.ExitStack() as stack:
        if policy is not None:
            inner = policy.with_output_dtype(policy.compute_dtype)
            for layer in layers:
                stack.enter_context(hk.mixed_precision.push_policy(layer, inner))
        yield


def linear(x: Float[Array, "... n"], size: int, name: str) -> Float[Array, "... H"]:
    """Apply a hidden linear layer, with weights and biases initialised as `MLP` says."""
    init = he_uniform(x.shape[-1])
    return hk.Linear(size, w_init=init, b_init=init, name=name)(x)


def starting_at(start: Sequence[float] | None, shape: Sequence[int]) -> Callable[..., jax.Array]:
    """Return an initialiser for the last bias, `[prod(shape)]`, that makes the output `start`."""

    def init(flat_shape, dtype):
        if start is None:
            return jnp.zeros(flat_shape, dtype)
        return jnp.broadcast_to(jnp.asarray(start, dtype), shape).reshape(flat_shape)

    return init


def _output(hidden, shape, start, policy):
    bias = starting_at(start, shape)
    params = hk.Linear(math.prod(shape), w_init=jnp.zeros, b_init=bias, name="linear_out")(hidden)
    params = params.reshape(params.shape[:-1] + shape)
    return params if policy is None else policy.cast_to_output(params)
