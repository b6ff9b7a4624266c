"""Conversion of a flow built in Haiku into pure functions of its parameters."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from distrax_flows._core.arrays import as_floats
from distrax_flows._core.checks import check_float_array
from distrax_flows._core.keys import MissingKeyError
from distrax_flows._core.types import Shape
from distrax_flows.flows._transformed import Transformed
from distrax_flows.functional._events import Events
from distrax_flows.functional._trace import trace
from distrax_flows.functional.flow import Flow, StatefulFlow

__all__ = ["Call", "evaluation", "transform", "transform_with_state"]

MakeFlow: TypeAlias = Callable[..., distrax.Transformed]


def transform(make: MakeFlow) -> Flow:
    """Turn a function that builds a flow into a `Flow` of pure functions.

    Args:
        make: function that builds a `distrax.Transformed` from Haiku modules, such as
            `lambda: flows.maf(2)`. For a conditional flow it takes an argument named `context`:
            `lambda context: flows.maf(2, context=context)`. `functools.partial(flows.maf, 2)` works
            for both: the flow is conditional if it is given a context.

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
    transformed = hk.transform(call)
    return Flow(call, transformed.init, transformed.apply, (transform, make))


def transform_with_state(make: MakeFlow) -> StatefulFlow:
    """Turn a function that builds a flow with Haiku state into a `StatefulFlow` of pure functions.

    Args:
        make: as in `transform`; layers such as `modules.BatchNormLayer` may keep state. If the flow
            differs in training, it takes an argument named `is_training`, a bool:
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
    transformed = hk.transform_with_state(call)

    def evaluate(variables, *args):
        return transformed.apply(*variables, *args)[0]

    in_evaluation = Flow(call, transformed.init, evaluate, (evaluation, make))
    builder = (transform_with_state, make)
    return StatefulFlow(call, transformed.apply, in_evaluation, builder)


def evaluation(make: MakeFlow) -> Flow:
    """Return `transform_with_state(make).evaluation`, under a name that pickles."""
    return transform_with_state(make).evaluation


class Call:
    """The function that Haiku transforms: it builds a flow and calls one of its methods."""

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
        self.needs_context = "context" in needed
        self._events: Events | None = None

    def __call__(self, method: str, context: jax.Array | None, is_training: bool, *args) -> Any:
        """Call a method of the flow, such as "log_prob", inside a Haiku transform."""
        drawing = _Drawing()
        with hk.intercept_methods(drawing.intercept):
            try:
                return _METHODS[method](self._build(context, is_training), *args)
            except ValueError as error:
                # Haiku has no public name for this error.
                if type(error).__name__ != "MissingRNGError":
                    raise
                raise MissingKeyError(
                    f"`key` must be given to `{method}`: {drawing.module or 'a layer'} of this "
                    f"flow needs random numbers, `flow.{method}(..., key=jax.random.key(0))`."
                ) from None

    def events(self, context: Any) -> Events:
        """Return what is known about events without running a layer.

        It is the same for all contexts, so any context will do to build the flow.

        Raises:
            ValueError: the flow needs a context, has seen none yet, and cannot be built with one of
                size 1.
        """
        if self._events is not None:
            return self._events
        some = None
        if context is not None or self.needs_context:
            shape = (1,) if context is None else np.shape(context)
            if 0 in shape[:-1]:  # layers may compute statistics of its rows
                shape = shape[-1:]
            some = jax.ShapeDtypeStruct(shape, jnp.result_type(float))
        found = []

        def build(context):
            flow = self._build(context, False)
            base_shape = tuple(flow.distribution.event_shape)
            is_discrete, supports = False, ()
            if isinstance(flow, Transformed):
                is_discrete, supports = flow.is_discrete, flow.supports
            found.append(Events(_event_shape(flow), base_shape, is_discrete, supports))

        try:
            jax.eval_shape(hk.transform_with_state(build).init, jax.random.key(0), some)
        except Exception as error:
            if some is not None and context is None:
                raise ValueError(
                    "`event_shape` of this flow is not known before it was called with a "
                    f"context: with one of size 1 it could not be built ({error})."
                ) from error
            raise
        self._events = found[0]
        return found[0]

    def _build(self, context: jax.Array | None, is_training: bool) -> distrax.Transformed:
        given = {"context": context, "is_training": is_training}
        flow = self._make(**{name: given[name] for name in self._takes})
        if not isinstance(flow, distrax.Transformed):
            raise TypeError(
                "`make` must return a `distrax.Transformed`, as the builders of "
                f"`distrax_flows.flows` do; got {type(flow).__name__}."
            )
        return flow

    def check_context(self, context: Any) -> jax.Array | None:
        """Return the context as an array, or raise unless the flow takes it as it is."""
        if context is None:
            if self.needs_context:
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
        """Return both as arrays, `x` with their joint batch shape, or raise.

        `x` is an event of the data, or of the base if `name` is "z".
        """
        context = self.check_context(context)
        events = self.events(context)
        event_shape = events.base_shape if name == "z" else events.shape
        integers = None if name == "z" else events.integers
        x = check_float_array(name, as_floats(name, x, integers))
        batch_ndims = x.ndim - len(event_shape)
        if batch_ndims < 0 or x.shape[batch_ndims:] != event_shape:
            raise ValueError(
                f"`{name}` must have shape [..., {', '.join(map(str, event_shape))}], that of "
                f"events being {event_shape}; got {name}.shape={x.shape}."
            )
        if context is not None:
            try:
                batch_shape = jnp.broadcast_shapes(x.shape[:batch_ndims], context.shape[:-1])
            except ValueError:
                raise ValueError(
                    f"`{name}` and `context` must have batch axes that broadcast; got "
                    f"{name}.shape={x.shape} and context.shape={context.shape}."
                ) from None
            # A coupling joins dimensions that it leaves unchanged with ones that saw the context.
            x = jnp.broadcast_to(x, batch_shape + event_shape)
        return x, context


# Kinds of parameters that a call must fill if they have no default.
_NAMED = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)


class _Drawing:
    """Interceptor that finds the innermost module in which an error was raised."""

    def __init__(self):
        self.module = ""

    def intercept(self, method: Callable, args: Any, kwargs: Any, context: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except Exception:
            self.module = self.module or f"`{context.module.module_name}`"
            raise


def _event_shape(flow: distrax.Transformed) -> Shape:
    """Return the event shape of a flow; distrax would run the bijector to find it."""
    if isinstance(flow, Transformed):
        return flow.event_shape
    if flow.bijector.event_ndims_in != flow.bijector.event_ndims_out:
        raise ValueError(
            "`make` must return a `distrax_flows.flows.Transformed` where the bijector changes the "
            "rank of events, for that knows its `event_shape`; got a `distrax.Transformed` of "
            f"{flow.bijector.name}."
        )
    return tuple(flow.distribution.event_shape)


def _log_prob(flow: distrax.Transformed, x):
    return flow.log_prob(x)


def _forward(flow: distrax.Transformed, z):
    return flow.bijector.forward_and_log_det(z)


def _inverse(flow: distrax.Transformed, x):
    return flow.bijector.inverse_and_log_det(x)


def _log_prob_base(flow: distrax.Transformed, z):
    return flow.distribution.log_prob(z)


def _sample_base(flow: distrax.Transformed, key, sample_shape):
    return flow.distribution.sample(seed=key, sample_shape=sample_shape)


def _drawing_layers(sample: Callable) -> Callable:
    """Give layers that use random numbers a key of their own, besides that of the base."""

    @functools.wraps(sample)
    def with_key(flow, key, sample_shape):
        if hk.running_init():
            return sample(flow, key, sample_shape)
        with hk.with_rng(jax.random.fold_in(key, 1)):
            return sample(flow, key, sample_shape)

    return with_key


# distrax's own sampling maps the bijector over single samples, by vmap. Bijectors here take any
# batch, and a batched matrix product is faster than a mapped one.
@_drawing_layers
def _sample(flow: distrax.Transformed, key, sample_shape):
    return flow.bijector.forward(_sample_base(flow, key, sample_shape))


@_drawing_layers
def _sample_and_log_prob(flow: distrax.Transformed, key, sample_shape):
    z, log_prob = flow.distribution.sample_and_log_prob(seed=key, sample_shape=sample_shape)
    x, log_det = flow.bijector.forward_and_log_det(z)
    return x, jnp.subtract(log_prob, log_det)


def _trace(flow: distrax.Transformed, x, inverse: bool):
    return trace(flow.bijector, x, inverse=inverse)


_METHODS = {
    "log_prob": _log_prob,
    "log_prob_base": _log_prob_base,
    "forward": _forward,
    "inverse": _inverse,
    "sample": _sample,
    "sample_base": _sample_base,
    "sample_and_log_prob": _sample_and_log_prob,
    "trace": _trace,
}
