"""From a flow built in Haiku to pure functions of its parameters."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows._checks import check_float_array
from distrax_flows._chunks import Chunks, cut
from distrax_flows._types import Shape
from distrax_flows.distribution import FlowDistribution

__all__ = ["Flow", "Params", "State", "StatefulFlow", "transform", "transform_with_state"]

Params: TypeAlias = Any
State: TypeAlias = Any

MakeFlow: TypeAlias = Callable[..., distrax.Transformed]


def transform(make: MakeFlow) -> "Flow":
    """Turns a function that builds a flow into a `Flow` of pure functions.

    Args:
        make: builds a `distrax.Transformed` over vector events, using Haiku modules, such as
            `lambda: flows.maf(2)`. For a conditional flow it takes an argument named `context`:
            `lambda context: flows.maf(2, context=context)`.

    Returns:
        The flow.

    Raises:
        TypeError: `make` is not callable, or needs arguments besides `context`.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.realnvp(2, num_layers=4))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 2)))
        >>> print(f"{flow.log_prob(params, jnp.zeros(2)):.4f}")
        -1.8379
    """
    call = _Call(make, ("context",))
    transformed = hk.without_apply_rng(hk.transform(call))
    return Flow(call, transformed.init, transformed.apply)


def transform_with_state(make: MakeFlow) -> "StatefulFlow":
    """Turns a function that builds a flow with Haiku state into pure functions.

    Args:
        make: as in `transform`; layers such as `modules.BatchNormLayer` may keep state. It takes an
            argument named `is_training`, a bool, if the flow differs in training:
            `lambda is_training: flows.maf(2, between=...)`.

    Returns:
        The flow.

    Raises:
        TypeError: `make` is not callable, or needs arguments besides `context` and `is_training`.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> def make(is_training):
        ...     batch_norm = dxf.modules.BatchNormLayer(is_training)
        ...     mix = dxf.modules.compose(batch_norm, lambda x: dxf.Reverse())
        ...     return dxf.flows.realnvp(2, num_layers=2, between=mix)
        >>> flow = dxf.transform_with_state(make)
        >>> x = jax.random.normal(jax.random.key(0), (100, 2))
        >>> params, state = flow.init(jax.random.key(1), x)
        >>> log_prob, state = flow.log_prob(params, state, x, is_training=True)
        >>> flow.evaluation.sample((params, state), jax.random.key(2), (10,)).shape
        (10, 2)
    """
    call = _Call(make, ("context", "is_training"))
    transformed = hk.without_apply_rng(hk.transform_with_state(call))
    return StatefulFlow(call, transformed.init, transformed.apply)


class _Call:
    """Builds a flow and calls one of its methods: what Haiku transforms."""

    def __init__(self, make: MakeFlow, known: Sequence[str]):
        if not callable(make):
            raise TypeError(
                "`make` must be a function that builds a flow, such as `lambda: flows.maf(2)`; "
                f"got {make!r}."
            )
        arguments = inspect.signature(make).parameters
        needed = [a.name for a in arguments.values() if a.default is a.empty and a.kind in _NAMED]
        if set(needed) - set(known):
            raise TypeError(
                f"`make` must need no argument, or one named {' or '.join(map(repr, known))}; it "
                f"needs {needed}. Close over the others."
            )
        self._make = make
        self._takes = tuple(name for name in known if name in arguments)
        self._needs_context = "context" in needed

    def __call__(self, method: str, context: jax.Array | None, is_training: bool, *args) -> Any:
        given = {"context": context, "is_training": is_training}
        flow = self._make(**{name: given[name] for name in self._takes})
        if not isinstance(flow, distrax.Transformed):
            raise TypeError(
                "`make` must return a `distrax.Transformed`, as the builders of "
                f"`distrax_flows.flows` do; got {type(flow).__name__}."
            )
        return _METHODS[method](flow, *args)

    def check_context(self, context):
        if context is None:
            if self._needs_context:
                raise ValueError(
                    "`context` must be given: this flow was built as a function of it."
                )
            return None
        context = check_float_array("context", context, min_ndim=1)
        if "context" not in self._takes:
            raise ValueError(
                "`context` must be None: this flow was built without one; got "
                f"context.shape={context.shape}. Build it as a function of the context, "
                "`transform(lambda context: flows.maf(2, context=context))`."
            )
        return context

    def check_event(self, x, context, name="x"):
        x = check_float_array(name, x, min_ndim=1)
        context = self.check_context(context)
        if context is not None:
            try:
                batch_shape = jnp.broadcast_shapes(x.shape[:-1], context.shape[:-1])
            except ValueError:
                raise ValueError(
                    f"`{name}` and `context` must have batch axes that broadcast; got "
                    f"{name}.shape={x.shape} and context.shape={context.shape}."
                ) from None
            # A coupling joins dimensions it leaves alone with ones that met the context.
            x = jnp.broadcast_to(x, batch_shape + x.shape[-1:])
        return x, context


# Kinds of arguments that a call must give if they have no default.
_NAMED = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)


class Flow:
    """A normalizing flow as pure functions of its parameters; see `transform`.

    Shapes. Data `[..., D]`, contexts `[..., C]`; batch axes of data and context broadcast.
    Samples have `sample_shape + context_batch_shape + (D,)`, every row with noise of its own.

    Memory. Given a `batch_size`, a method runs on that many rows at a time, and needs the memory of
    those, besides its inputs and outputs; so do its gradients, which then evaluate the flow once
    more. Values are the same up to rounding. Draws are others than without it: they depend on the
    key and on `batch_size`. One that holds all rows changes nothing.

    All methods are jit-compiled, differentiable in parameters and inputs, and free of side
    effects; they need no Haiku transform around them. A `Flow` is static under jit and hashes by
    identity: make it once.
    """

    def __init__(self, call: _Call, init: Callable, apply: Callable):
        self._call = call
        self._init = jax.jit(init, static_argnums=(1, 3))
        self._apply = jax.jit(apply, static_argnums=(1, 3, 5))
        self._evaluate_chunks = jax.jit(
            functools.partial(_evaluate_chunks, apply), static_argnums=(1, 4)
        )
        self._draw_chunks = jax.jit(functools.partial(_draw_chunks, apply), static_argnums=(1, 4))

    def init(
        self,
        key: jax.Array,
        x: Float[Array, "... D"],
        context: Float[Array, "... C"] | None = None,
    ) -> Params:
        """Makes the parameters; layers that initialise themselves on data do so on `x`.

        Args:
            key: random key.
            x: `[..., D]`, data.
            context: `[..., C]` or None.

        Returns:
            A pytree, `{module name: {parameter name: array}}`.
        """
        x, context = self._call.check_event(x, context)
        return self._init(key, "log_prob", context, False, x)

    def log_prob(
        self,
        params: Params,
        x: Float[Array, "... D"],
        context: Float[Array, "... C"] | None = None,
        *,
        batch_size: int | None = None,
    ) -> Float[Array, "..."]:
        """Log-density of `x`, in nats."""
        x, context = self._call.check_event(x, context)
        return self._evaluate("log_prob", params, x, context, batch_size)

    def sample(
        self,
        params: Params,
        key: jax.Array,
        sample_shape: int | Sequence[int] = (),
        context: Float[Array, "... C"] | None = None,
        *,
        batch_size: int | None = None,
    ) -> Float[Array, "... D"]:
        """Draws of shape `sample_shape + context_batch_shape + (D,)`."""
        return self._draw("sample", params, key, sample_shape, context, batch_size)

    def sample_and_log_prob(
        self,
        params: Params,
        key: jax.Array,
        sample_shape: int | Sequence[int] = (),
        context: Float[Array, "... C"] | None = None,
        *,
        batch_size: int | None = None,
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Draws, and their log-densities, from one run of the flow's forward direction."""
        return self._draw("sample_and_log_prob", params, key, sample_shape, context, batch_size)

    def forward(
        self,
        params: Params,
        z: Float[Array, "... D"],
        context: Float[Array, "... C"] | None = None,
        *,
        batch_size: int | None = None,
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """From base to data: the value and the log-det."""
        z, context = self._call.check_event(z, context, "z")
        return self._evaluate("forward", params, z, context, batch_size)

    def inverse(
        self,
        params: Params,
        x: Float[Array, "... D"],
        context: Float[Array, "... C"] | None = None,
        *,
        batch_size: int | None = None,
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """From data to base: the value and the log-det."""
        x, context = self._call.check_event(x, context)
        return self._evaluate("inverse", params, x, context, batch_size)

    def distribution(
        self, params: Params, context: Float[Array, "... C"] | None = None
    ) -> FlowDistribution:
        """The flow with its parameters, and context, bound: a `distrax.Distribution`."""
        return FlowDistribution(self, params, self._call.check_context(context))

    def _evaluate(self, method: str, params: Params, x, context, batch_size: int | None) -> Any:
        chunks = cut(x.shape[:-1], batch_size)
        if chunks is None:
            return self._apply(params, method, context, False, x)
        return self._evaluate_chunks(params, method, context, x, chunks)

    def _draw(
        self, method: str, params: Params, key, sample_shape, context, batch_size: int | None
    ) -> Any:
        context = self._call.check_context(context)
        sample_shape = _as_shape(sample_shape)
        context_shape = () if context is None else context.shape[:-1]
        chunks = cut(sample_shape + context_shape, batch_size)
        if chunks is None:
            return self._apply(params, method, context, False, key, sample_shape)
        return self._draw_chunks(params, method, context, key, chunks)


class StatefulFlow:
    """A normalizing flow with Haiku state, as pure functions; see `transform_with_state`.

    Parameters are trained; state, such as the running statistics of batch normalisation, changes
    when the density is evaluated in training. Shapes, compilation and hashing are as in `Flow`.
    """

    def __init__(self, call: _Call, init: Callable, apply: Callable):
        self._call = call
        self._init = jax.jit(init, static_argnums=(1, 3))
        self._apply = jax.jit(apply, static_argnums=(2, 4))
        self._evaluation = Flow(call, init, lambda variables, *args: apply(*variables, *args)[0])

    @property
    def evaluation(self) -> Flow:
        """The flow in evaluation mode: a `Flow` whose parameters are pairs `(params, state)`.

        It samples, inverts and makes distributions, and leaves the state as it is.
        """
        return self._evaluation

    def init(
        self,
        key: jax.Array,
        x: Float[Array, "... D"],
        context: Float[Array, "... C"] | None = None,
    ) -> tuple[Params, State]:
        """Makes parameters and state; layers that initialise themselves on data do so on `x`."""
        return self._evaluation.init(key, x, context)

    def log_prob(
        self,
        params: Params,
        state: State,
        x: Float[Array, "... D"],
        context: Float[Array, "... C"] | None = None,
        *,
        is_training: bool = False,
    ) -> tuple[Float[Array, "..."], State]:
        """Log-density of `x`, in nats, and the new state."""
        x, context = self._call.check_event(x, context)
        return self._apply(params, state, "log_prob", context, is_training, x)

    def inverse(
        self,
        params: Params,
        state: State,
        x: Float[Array, "... D"],
        context: Float[Array, "... C"] | None = None,
        *,
        is_training: bool = False,
    ) -> tuple[tuple[Float[Array, "... D"], Float[Array, "..."]], State]:
        """From data to base: the value and the log-det; and the new state."""
        x, context = self._call.check_event(x, context)
        return self._apply(params, state, "inverse", context, is_training, x)


def _evaluate_chunks(apply: Callable, params: Params, method: str, context, x, chunks: Chunks):
    def evaluate(x, context):
        return apply(params, method, context, False, x)

    return chunks.map(evaluate, chunks.split(x), context)


def _draw_chunks(apply: Callable, params: Params, method: str, context, key, chunks: Chunks):
    def draw(key, context):
        # Rows of contexts have a draw each.
        per_row = context is not None and context.ndim > 1
        sample_shape = () if per_row else (chunks.batch_size,)
        return apply(params, method, context, False, key, sample_shape)

    return chunks.map(draw, jax.random.split(key, chunks.num_chunks), context)


def _log_prob(flow: distrax.Transformed, x):
    return flow.log_prob(_event(flow, x, "x"))


def _forward(flow: distrax.Transformed, z):
    return flow.bijector.forward_and_log_det(_event(flow, z, "z"))


def _inverse(flow: distrax.Transformed, x):
    return flow.bijector.inverse_and_log_det(_event(flow, x, "x"))


# distrax's own sampling maps the bijector over samples one by one, by vmap; the bijectors here
# take any batch, and a batched matrix product is faster than a mapped one.
def _sample(flow: distrax.Transformed, key, sample_shape):
    z = flow.distribution.sample(seed=key, sample_shape=sample_shape)
    return flow.bijector.forward(z)


def _sample_and_log_prob(flow: distrax.Transformed, key, sample_shape):
    z, log_prob = flow.distribution.sample_and_log_prob(seed=key, sample_shape=sample_shape)
    x, log_det = flow.bijector.forward_and_log_det(z)
    return x, jnp.subtract(log_prob, log_det)


_METHODS = {
    "log_prob": _log_prob,
    "forward": _forward,
    "inverse": _inverse,
    "sample": _sample,
    "sample_and_log_prob": _sample_and_log_prob,
}


def _event(flow: distrax.Transformed, x, name: str):
    event_shape = flow.distribution.event_shape
    if x.shape[-1:] != event_shape:
        raise ValueError(
            f"`{name}` must have a last axis of size {event_shape[0]}, the event size; got "
            f"{name}.shape={x.shape}."
        )
    return x


def _as_shape(sample_shape: int | Sequence[int]) -> Shape:
    if isinstance(sample_shape, Sequence):
        return tuple(int(size) for size in sample_shape)
    return (int(sample_shape),)
