"""Causal transformer that owns its weights."""

from collections.abc import Sequence

import haiku as hk
import jax
import jax.numpy as jnp
import jmp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from distrax_flows._core.checks import check_positive_int
from distrax_flows._core.types import Activation, Shape
from distrax_flows.modules.mlp import computing, starting_at
from distrax_flows.networks.transformer import AttentionBlock, Transformer

__all__ = ["CausalTransformer"]


class CausalTransformer(hk.Module):
    """Causal transformer: the parameters of a token depend only on the tokens before it.

    Owns the weights of a `networks.Transformer`; see its docstring for the formula.
    `network(context)` returns that conditioner as a pure function, with the context bound: pass it
    to `MaskedAutoregressive`. The perceptrons are four times as wide as the rest. The last layer
    starts at zero, or at `start`.

    Args:
        num_tokens: number of tokens, T.
        token_size: values per token, p.
        num_params: parameters per value, P.
        hidden_size: features of a token, E.
        num_blocks: number of blocks.
        num_heads: attention heads; divides `hidden_size`.
        activation: activation of the perceptrons, elementwise.
        context_size: size C of the context's last axis; None for a network without context.
        start: `P` numbers, the parameters of each value at the start of training; zeros if None.
        policy: dtypes, as for `MLP`.
        name: name of the module.

    Call:
        x: `[..., p, T]`. Returns `[..., p, T, P]`. With a context, use `network(context)`.

    Raises:
        ValueError: a size is not a positive integer, `num_heads` does not divide `hidden_size`, or
            a context is missing, unexpected or of the wrong size.

    Reference:
        Zhai et al., "Normalizing Flows are Capable Generative Models", 2024, section 3.

    Example:
        >>> import haiku as hk, jax, jax.numpy as jnp
        >>> network = hk.transform(
        ...     lambda x: CausalTransformer(6, 4, num_params=2, hidden_size=8)(x))
        >>> params = network.init(jax.random.key(0), jnp.zeros((4, 6)))
        >>> network.apply(params, None, jnp.zeros((10, 4, 6))).shape
        (10, 4, 6, 2)
    """

    def __init__(
        self,
        num_tokens: int,
        token_size: int,
        num_params: int,
        hidden_size: int,
        num_blocks: int = 2,
        num_heads: int = 4,
        activation: Activation = jax.nn.gelu,
        *,
        context_size: int | None = None,
        start: Sequence[float] | None = None,
        policy: jmp.Policy | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._num_tokens = check_positive_int("num_tokens", num_tokens)
        self._token_size = check_positive_int("token_size", token_size)
        self._num_params = check_positive_int("num_params", num_params)
        self._hidden_size = check_positive_int("hidden_size", hidden_size)
        self._num_blocks = check_positive_int("num_blocks", num_blocks)
        self._num_heads = check_positive_int("num_heads", num_heads)
        if hidden_size % num_heads:
            raise ValueError(
                f"`num_heads` must divide `hidden_size`, {hidden_size}; got {num_heads=}."
            )
        self._activation = activation
        if context_size is not None:
            check_positive_int("context_size", context_size)
        self._context_size = context_size
        self._start = start
        self._policy = policy

    def network(
        self, context: Float[Array, "... C"] | None = None, dtype: DTypeLike = jnp.float32
    ) -> Transformer:
        """Return a pure conditioner with this module's parameters and the context bound.

        Call it outside of `jax.lax` loops; the result works inside them.

        Args:
            context: `[..., C]` or None.
            dtype: dtype of parameters that do not exist yet, unless a policy sets it.
        """
        size = None if context is None else context.shape[-1]
        if size != self._context_size:
            raise ValueError(
                f"`context` must have a last axis of size context_size={self._context_size}, None "
                f"meaning no context; got {'none' if context is None else context.shape}."
            )
        if self._policy is not None:
            dtype = self._policy.param_dtype
        hidden, token = self._hidden_size, self._token_size
        out = token * self._num_params
        positions = hk.get_parameter(
            "b_positions", (self._num_tokens, hidden), dtype, hk.initializers.RandomNormal(0.02)
        )
        if context is not None:
            with computing(self._policy, hk.Linear):
                shared = hk.Linear(hidden, name="context")(context)[..., None, :]
            shape = (*shared.shape[:-2], *positions.shape)
            positions = jnp.broadcast_to(shared, shape) + jnp.broadcast_to(positions, shape)
        start = starting_at(self._start, (token, self._num_params))
        return Transformer(
            embedding=_weight("w_embedding", token, hidden, dtype),
            positions=positions,
            blocks=tuple(self._block(index, dtype) for index in range(self._num_blocks)),
            norm=_Norms(name="norm")((), hidden, dtype),
            output=(
                hk.get_parameter("w_output", (hidden, out), dtype, jnp.zeros),
                hk.get_parameter("b_output", (out,), dtype, start),
            ),
            num_heads=self._num_heads,
            activation=self._activation,
            policy=self._policy,
        )

    def __call__(self, x: Float[Array, "... p T"]) -> Float[Array, "... p T P"]:
        """Return the parameters of every token in one pass."""
        return self.network(dtype=x.dtype)(x)

    @hk.transparent
    def _block(self, index: int, dtype: DTypeLike) -> AttentionBlock:
        size, wide = self._hidden_size, 4 * self._hidden_size
        # Each block adds two terms, whose sum starts at a variance of about one.
        scale = 1 / (2 * self._num_blocks)
        return AttentionBlock(
            norms=_Norms(name=f"norms_{index}")((2,), size, dtype),
            queries_keys_values=_weight(f"w_attention_{index}", size, 3 * size, dtype),
            attended=_weight(f"w_attended_{index}", size, size, dtype, scale),
            hidden=(
                _weight(f"w_hidden_{index}", size, wide, dtype),
                hk.get_parameter(f"b_hidden_{index}", (wide,), dtype, jnp.zeros),
            ),
            out=(
                _weight(f"w_out_{index}", wide, size, dtype, scale),
                hk.get_parameter(f"b_out_{index}", (size,), dtype, jnp.zeros),
            ),
        )


def _weight(name: str, fan_in: int, size: int, dtype: DTypeLike, scale: float = 1.0) -> jax.Array:
    init = hk.initializers.VarianceScaling(scale)
    return hk.get_parameter(name, (fan_in, size), dtype, init)


# A separate module: only matrices in modules with nothing but weights and biases decay.
class _Norms(hk.Module):
    """Scales, which start at one, and offsets, which start at zero."""

    def __call__(self, shape: Shape, size: int, dtype: DTypeLike) -> jax.Array:
        def init(shape, dtype):
            return jnp.zeros(shape, dtype).at[..., 0, :].set(1)

        return hk.get_parameter("scale_offset", (*shape, 2, size), dtype, init)
