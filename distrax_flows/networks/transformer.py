"""Causal transformers over arrays: autoregressive conditioners of sequences of vectors."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jmp
import numpy as np
from jaxtyping import Array, Float

from distrax_flows._core.numerics import vary_like
from distrax_flows._core.types import Activation, DecideFn, Shape

__all__ = ["AttentionBlock", "Transformer"]

_EPSILON = 1e-5  # added to variances


class AttentionBlock(NamedTuple):
    """Weights of a block: attention, then a perceptron, each after a normalisation.

    Attributes:
        norms: `[2, 2, E]`, scale and offset of each normalisation.
        queries_keys_values: `[E, 3 E]`.
        attended: `[E, E]`, applied to what attention returns.
        hidden: `[E, M]` and `[M]`, the perceptron's first layer.
        out: `[M, E]` and `[E]`, its second.
    """

    norms: Float[Array, "2 2 E"]
    queries_keys_values: Float[Array, "E F"]
    attended: Float[Array, "E E"]
    hidden: tuple[Float[Array, "E M"], Float[Array, " M"]]
    out: tuple[Float[Array, "M E"], Float[Array, " E"]]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["embedding", "positions", "blocks", "norm", "output"],
    meta_fields=["num_heads", "activation", "policy"],
)
@dataclasses.dataclass(frozen=True)
class Transformer:
    """Causal transformer: the parameters of token t depend only on the tokens before t.

    For tokens `x_t` of p values, t = 0..T-1, and causal attention between rows of h,

        h_t = x_{t-1} W + b_t,   x_{-1} = 0
        h <- h + attention(norm(h)),   h <- h + MLP(norm(h))     for each block
        params_t = norm(h_t) V + c.

    `distrax_flows.modules.CausalTransformer` makes the weights; use this class directly to bring
    your own. It is a pytree whose leaves are the weights.

    Tokens are the last axis, so that their values are batch axes of a scalar flow over T
    dimensions: `distrax.Block(MaskedAutoregressive(transformer, ...), 1)` transforms `[..., p, T]`.

    `unfold` keeps the keys and values of earlier tokens. So T steps together take the arithmetic of
    one evaluation.

    Args:
        embedding: `[p, E]`.
        positions: `[..., T, E]`, the offsets `b_t`, with what a context adds; batch axes broadcast.
        blocks: the blocks.
        norm: `[2, E]`, scale and offset of the last normalisation.
        output: `[E, p P]` and `[p P]`.
        num_heads: attention heads; divides E.
        activation: activation of the perceptrons, elementwise.
        policy: the dtypes of products and activations, and of the returned parameters; those of
            the arrays if None.

    Reference:
        Zhai et al., "Normalizing Flows are Capable Generative Models", 2024, section 3.
    """

    embedding: Float[Array, "p E"]
    positions: Float[Array, "... T E"]
    blocks: tuple[AttentionBlock, ...]
    norm: Float[Array, "2 E"]
    output: tuple[Float[Array, "E F"], Float[Array, " F"]]
    num_heads: int
    activation: Activation
    policy: jmp.Policy | None = None

    def __call__(self, x: Float[Array, "... p T"]) -> Float[Array, "... p T P"]:
        """Return the parameters of every token in one pass."""
        shape = (self.embedding.shape[0], self.positions.shape[-2])
        if x.shape[-2:] != shape:
            raise ValueError(
                f"`x` must have shape [..., {shape[0]}, {shape[1]}], values by tokens; got "
                f"x.shape={x.shape}."
            )
        if self.policy is not None:
            network, x = self.policy.cast_to_compute((self._without_policy, x))
            return self.policy.cast_to_output(network(x))
        tokens = jnp.swapaxes(x, -1, -2)
        nothing = jnp.zeros_like(tokens[..., :1, :])
        earlier = jnp.concatenate([nothing, tokens[..., :-1, :]], axis=-2)
        causal = np.tri(shape[1], dtype=bool)

        def attend(_, queries, keys, values):
            return _attention(queries, keys, values, causal)

        params = self._network(earlier, self.positions, attend)
        return jnp.moveaxis(params, -3, -2)

    def unfold(
        self, decide: DecideFn, inputs: Any, batch_shape: Shape
    ) -> tuple[Float[Array, "T ..."], Any]:
        """See `AutoregressiveConditioner`; the last axis of `batch_shape` is that of the values."""
        if self.policy is not None:
            policy = self.policy
            network = policy.cast_to_compute(self._without_policy)

            def decide_uncast(params, inputs):
                return decide(policy.cast_to_output(params), inputs)

            return network.unfold(decide_uncast, inputs, batch_shape)
        num_tokens, size = self.positions.shape[-2:]
        dtype = self.positions.dtype
        head_size = size // self.num_heads
        cache = jnp.zeros((*batch_shape[:-1], self.num_heads, num_tokens, head_size), dtype)
        caches = [(cache, cache)] * len(self.blocks)
        token = jnp.zeros(batch_shape, dtype)

        def step(carry, of_step):
            caches, token = carry
            t, position, inputs = of_step
            known = jnp.arange(num_tokens) <= t
            updated = list(caches)

            def attend(block, query, key, value):
                keys, values = (
                    jax.lax.dynamic_update_slice_in_dim(array, new, t, axis=-2)
                    for array, new in zip(caches[block], (key, value), strict=True)
                )
                updated[block] = keys, values
                return _attention(query, keys, values, known[None])

            params = self._network(token[..., None, :], position[..., None, :], attend)
            x, out = decide(params[..., 0, :, :], inputs)
            return (updated, x.astype(dtype)), (x, out)

        start = vary_like((caches, token), inputs, self)
        of_steps = jnp.arange(num_tokens), jnp.moveaxis(self.positions, -2, 0), inputs
        _, results = jax.lax.scan(step, start, of_steps)
        return results

    def _network(
        self,
        earlier: jax.Array,
        positions: jax.Array,
        attend: Callable[[int, jax.Array, jax.Array, jax.Array], jax.Array],
    ) -> jax.Array:
        """Return parameters `[..., t, p, P]` of tokens, given those before each, `[..., t, p]`."""
        hidden = _plus(earlier @ self.embedding, positions)
        for index, block in enumerate(self.blocks):
            projected = _normalized(hidden, block.norms[0]) @ block.queries_keys_values
            queries, keys, values = map(self._heads, jnp.split(projected, 3, axis=-1))
            attended = jnp.swapaxes(attend(index, queries, keys, values), -2, -3)
            hidden += attended.reshape(hidden.shape) @ block.attended
            inner = _affine(_normalized(hidden, block.norms[1]), *block.hidden)
            hidden += _affine(self.activation(inner), *block.out)
        params = _affine(_normalized(hidden, self.norm), *self.output)
        return params.reshape(*params.shape[:-1], self.embedding.shape[0], -1)

    def _heads(self, x: jax.Array) -> jax.Array:
        """Divide features among heads, `[..., t, E]` to `[..., heads, t, E / heads]`."""
        return jnp.swapaxes(x.reshape(*x.shape[:-1], self.num_heads, -1), -2, -3)

    @property
    def _without_policy(self) -> "Transformer":
        return dataclasses.replace(self, policy=None)


def _attention(queries, keys, values, mask):
    """Attend from queries `[..., q, d]` to the keys `[..., k, d]` that the mask `[q, k]` allows."""
    scores = queries @ jnp.swapaxes(keys, -1, -2) / math.sqrt(queries.shape[-1])
    # Softmax sums many terms, too many for half precision.
    wide = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
    mask = jnp.broadcast_to(mask, wide.shape)
    return jax.nn.softmax(wide, axis=-1, where=mask).astype(scores.dtype) @ values


def _normalized(x, norm):
    mean = jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.var(x, axis=-1, keepdims=True)
    scale, offset = (jnp.broadcast_to(row, x.shape) for row in norm)
    return scale * (x - mean) * jax.lax.rsqrt(variance + _EPSILON) + offset


def _affine(x, weight, bias):
    return _plus(x @ weight, bias)


def _plus(x, offset):
    shape = jnp.broadcast_shapes(x.shape, offset.shape)
    return jnp.broadcast_to(x, shape) + jnp.broadcast_to(offset, shape)
