"""From a flow built in Haiku to pure functions of its parameters."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import distrax
import haiku as hk
import jax
import jax.numpy as jnp

from distrax_flows._arrays import as_floats
from distrax_flows._checks import check_float_array
from distrax_flows._trace import trace
from distrax_flows.flow import Flow, StatefulFlow

__all__ = ["Call", "evaluation", "transform", "transform_with_state"]

MakeFlow: TypeAlias = Callable[..., distrax.Transformed]


def transform(make: MakeFlow) -> Flow:
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
    call = Call(make, ("context",))
    transformed = hk.without_apply_rng(hk.transform(call))
    return Flow(call, transformed.init, transformed.apply, (transform, make))


def transform_with_state(make: MakeFlow) -> StatefulFlow:
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
    call = Call(make, ("context", "is_training"))
    transformed = hk.without_apply_rng(hk.transform_with_state(call))

    def evaluate(variables, *args):
        return transformed.apply(*variables, *args)[0]

    in_evaluation = Flow(call, transformed.init, evaluate, (evaluation, make))
    builder = (transform_with_state, make)
    return StatefulFlow(call, transformed.init, transformed.apply, in_evaluation, builder)


def evaluation(make: MakeFlow) -> Flow:
    """`transform_with_state(make).evaluation`, by a name that pickles."""
    return transform_with_state(make).evaluation


class Call:
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
        """Result of a method, such as "log_prob", of the flow; inside a Haiku transform."""
        given = {"context": context, "is_training": is_training}
        flow = self._make(**{name: given[name] for name in self._takes})
        if not isinstance(flow, distrax.Transformed):
            raise TypeError(
                "`make` must return a `distrax.Transformed`, as the builders of "
                f"`distrax_flows.flows` do; got {type(flow).__name__}."
            )
        return _METHODS[method](flow, *args)

    def check_context(self, context: Any) -> jax.Array | None:
        """Returns the context as an array, or raises unless the flow takes it as it is."""
        if context is None:
            if self._needs_context:
                raise ValueError(
                    "`context` must be given: this flow was built as a function of it."
                )
            return None
        context = as_floats("context", context, integers=jnp.result_type(jnp.float32))
        context = check_float_array("context", context, min_ndim=1)
        if "context" not in self._takes:
            raise ValueError(
                "`context` must be None: this flow was built without one; got "
                f"context.shape={context.shape}. Build it as a function of the context, "
                "`transform(lambda context: flows.maf(2, context=context))`."
            )
        return context

    def check_event(
        self, x: Any, context: Any, name: str = "x"
    ) -> tuple[jax.Array, jax.Array | None]:
        """Returns both as arrays, `x` of the batch shape of both, or raises."""
        x = check_float_array(name, as_floats(name, x), min_ndim=1)
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


def _log_prob(flow: distrax.Transformed, x):
    return flow.log_prob(_event(flow, x, "x"))


def _forward(flow: distrax.Transformed, z):
    return flow.bijector.forward_and_log_det(_event(flow, z, "z"))


def _inverse(flow: distrax.Transformed, x):
    return flow.bijector.inverse_and_log_det(_event(flow, x, "x"))


def _sample_base(flow: distrax.Transformed, key, sample_shape):
    return flow.distribution.sample(seed=key, sample_shape=sample_shape)


# distrax's own sampling maps the bijector over samples one by one, by vmap; the bijectors here
# take any batch, and a batched matrix product is faster than a mapped one.
def _sample(flow: distrax.Transformed, key, sample_shape):
    return flow.bijector.forward(_sample_base(flow, key, sample_shape))


def _sample_and_log_prob(flow: distrax.Transformed, key, sample_shape):
    z, log_prob = flow.distribution.sample_and_log_prob(seed=key, sample_shape=sample_shape)
    x, log_det = flow.bijector.forward_and_log_det(z)
    return x, jnp.subtract(log_prob, log_det)


def _trace(flow: distrax.Transformed, x, inverse: bool):
    return trace(flow.bijector, _event(flow, x, "x" if inverse else "z"), inverse=inverse)


_METHODS = {
    "log_prob": _log_prob,
    "forward": _forward,
    "inverse": _inverse,
    "sample": _sample,
    "sample_base": _sample_base,
    "sample_and_log_prob": _sample_and_log_prob,
    "trace": _trace,
}


def _event(flow: distrax.Transformed, x, name: str):
    event_shape = flow.distribution.event_shape
    if x.shape[-1:] != event_shape:
        raise ValueError(
            f"`{name}` must have a last axis of size {event_shape[0]}, the event size; got "
            f"{name}.shape={x.shape}."
        )
    return x
