"""From a flow built in Haiku to pure functions of its parameters."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows._checks import check_float_array
from distrax_flows._types import Shape
from distrax_flows.distribution import FlowDistribution

__all__ = ["Flow", "Params", "transform"]

Params: TypeAlias = Any

# Kinds of arguments that a call must give if they have no default.
_NAMED = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)
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
    if not callable(make):
        raise TypeError(
            "`make` must be a function that builds a flow, such as `lambda: flows.maf(2)`; "
            f"got {make!r}."
        )
    return Flow(make)


class Flow:
    """A normalizing flow as pure functions of its parameters; see `transform`.

    Shapes. Data `[..., D]`, contexts `[..., C]`; batch axes of data and context broadcast.
    Samples have `sample_shape + context_batch_shape + (D,)`, every row with noise of its own.

    All methods are jit-compiled, differentiable in parameters and inputs, and free of side
    effects; they need no Haiku transform around them. A `Flow` is static under jit and hashes by
    identity: make it once.
    """

    def __init__(self, make: MakeFlow):
        arguments = inspect.signature(make).parameters
        needed = [a.name for a in arguments.values() if a.default is a.empty and a.kind in _NAMED]
        if set(needed) - {"context"}:
            raise TypeError(
                "`make` must need no argument, or one named `context`; it needs "
                f"{needed}. Close over the others."
            )
        self._takes_context = "context" in arguments
        self._needs_context = "context" in needed

        def call(method: str, context: jax.Array | None, *args: Any) -> Any:
            flow = make(context=context) if self._takes_context else make()
            if not isinstance(flow, distrax.Transformed):
                raise TypeError(
                    "`make` must return a `distrax.Transformed`, as the builders of "
                    f"`distrax_flows.flows` do; got {type(flow).__name__}."
                )
            return _METHODS[method](flow, *args)

        transformed = hk.without_apply_rng(hk.transform(call))
        self._init = jax.jit(transformed.init, static_argnums=1)
        self._apply = jax.jit(transformed.apply, static_argnums=(1, 4))

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
        x, context = self._checked(x, context)
        return self._init(key, "log_prob", context, x)

    def log_prob(
        self,
        params: Params,
        x: Float[Array, "... D"],
        context: Float[Array, "... C"] | None = None,
    ) -> Float[Array, "..."]:
        """Log-density of `x`, in nats."""
        x, context = self._checked(x, context)
        return self._apply(params, "log_prob", context, x)

    def sample(
        self,
        params: Params,
        key: jax.Array,
        sample_shape: int | Sequence[int] = (),
        context: Float[Array, "... C"] | None = None,
    ) -> Float[Array, "... D"]:
        """Draws of shape `sample_shape + context_batch_shape + (D,)`."""
        context = self._checked_context(context)
        return self._apply(params, "sample", context, key, _as_shape(sample_shape))

    def sample_and_log_prob(
        self,
        params: Params,
        key: jax.Array,
        sample_shape: int | Sequence[int] = (),
        context: Float[Array, "... C"] | None = None,
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Draws, and their log-densities, from one run of the flow's forward direction."""
        context = self._checked_context(context)
        return self._apply(params, "sample_and_log_prob", context, key, _as_shape(sample_shape))

    def forward(
        self,
        params: Params,
        z: Float[Array, "... D"],
        context: Float[Array, "... C"] | None = None,
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """From base to data: the value and the log-det."""
        z, context = self._checked(z, context, "z")
        return self._apply(params, "forward", context, z)

    def inverse(
        self,
        params: Params,
        x: Float[Array, "... D"],
        context: Float[Array, "... C"] | None = None,
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """From data to base: the value and the log-det."""
        x, context = self._checked(x, context)
        return self._apply(params, "inverse", context, x)

    def distribution(
        self, params: Params, context: Float[Array, "... C"] | None = None
    ) -> FlowDistribution:
        """The flow with its parameters, and context, bound: a `distrax.Distribution`."""
        return FlowDistribution(self, params, self._checked_context(context))

    def _checked_context(self, context):
        if context is None:
            if self._needs_context:
                raise ValueError(
                    "`context` must be given: this flow was built as a function of it."
                )
            return None
        context = check_float_array("context", context, min_ndim=1)
        if not self._takes_context:
            raise ValueError(
                "`context` must be None: this flow was built without one; got "
                f"context.shape={context.shape}. Build it as a function of the context, "
                "`transform(lambda context: flows.maf(2, context=context))`."
            )
        return context

    def _checked(self, x, context, name="x"):
        x = check_float_array(name, x, min_ndim=1)
        context = self._checked_context(context)
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
