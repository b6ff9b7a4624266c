"""Flows as pure functions of their parameters."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.keys import MissingKeyError, as_key, as_optional_key
from distrax_flows._core.mesh import check_mesh, check_rows, rows_sharding, with_automatic_axes
from distrax_flows._core.types import ArrayLike, Shape
from distrax_flows.functional._chunks import Chunks, cut
from distrax_flows.functional._events import Events
from distrax_flows.functional._trace import LayerTrace
from distrax_flows.functional.distribution import FlowDistribution

if TYPE_CHECKING:
    from distrax_flows.functional._transform import Call

__all__ = ["Flow", "Params", "State", "StatefulFlow", "events_of"]

Params: TypeAlias = Any
State: TypeAlias = Any

# Rebuilds a flow: a function such as `distrax_flows.transform`, and its argument.
Builder: TypeAlias = tuple[Callable, Callable]


# Arguments of `apply`: parameters, key, method, context, is_training, and those of the method.
_STATIC = (2, 4, 6)


class _Built:
    """Mixin that remembers how an object was built, and pickles it that way."""

    _builder: Builder

    @property
    def builder(self) -> Builder:
        """Pair `(build, make)` such that `build(make)` is this flow again."""
        return self._builder

    def __repr__(self) -> str:
        make = self._builder[1]
        return f"{type(self).__name__}({getattr(make, '__qualname__', repr(make))})"

    def __reduce__(self):
        build, make = self._builder
        return build, (make,)


class Flow(_Built):
    """A normalizing flow as pure functions of its parameters; see `transform`.

    Shapes. Data are `[..., *event_shape]`, contexts `[..., C]`; batch axes of data and context
    broadcast. Samples have `sample_shape + context_batch_shape + event_shape`; each row gets its
    own noise. Values of the base have the base's event shape, usually the same.

    Keys. Layers may use random numbers, from `hk.next_rng_key`. Then every method needs a `key`,
    and raises without one; `sample` always has one. Results are a function of the key. Flows
    without such layers ignore it.

    Memory. With a `batch_size`, a method runs on that many rows at a time, and needs memory only
    for those, besides its inputs and outputs. So do its gradients, which then evaluate the flow
    once more. Values are the same up to rounding. Samples differ: they depend on the key and on
    `batch_size`. A `batch_size` that holds all rows changes nothing.

    Devices. With a `mesh`, `jax.make_mesh((8,), ("data",))`, samples are computed on all of its
    devices, and stay divided over them along their first axis. They equal those of one device, up
    to rounding. All methods work inside `jax.shard_map`. Arrays may also be placed on a mesh with
    explicit axes; inside your own `jit` with such arrays, set the mesh with `jax.set_mesh`.

    All methods are jit-compiled, differentiable in parameters and inputs, and free of side effects;
    they need no Haiku transform around them. A `Flow` is static under jit and hashes by identity:
    create it once. It pickles if the function that builds it does.
    """

    def __init__(self, call: "Call", init: Callable, apply: Callable, builder: Builder):
        self._call = call
        self._builder = builder
        self._init = jax.jit(init, static_argnums=(1, 3, 5))
        self._apply_uncompiled = apply
        self._apply = jax.jit(apply, static_argnums=_STATIC)
        self._apply_on: dict[jax.sharding.Mesh, Callable] = {}
        self._evaluate_chunks = jax.jit(
            functools.partial(_evaluate_chunks, apply), static_argnums=(2, 5, 6)
        )
        self._draw_chunks = jax.jit(functools.partial(_draw_chunks, apply), static_argnums=(1, 4))

    @property
    def event_shape(self) -> Shape:
        """Shape of one event of the data, `(D,)` for vectors; runs no layer.

        Raises:
            ValueError: a conditional flow that cannot be built with a context of size 1 has not
                seen a context yet.
        """
        return self._call.events(None).shape

    @property
    def is_discrete(self) -> bool:
        """Whether events are integers with probabilities, as in `flows.dequantized`."""
        return self._call.events(None).is_discrete

    @property
    def needs_context(self) -> bool:
        """Whether every method must be given a context."""
        return self._call.needs_context

    def draws_random_numbers(
        self, params: Params, context: Shaped[ArrayLike, "... C"] | None = None
    ) -> bool:
        """Return whether layers use random numbers, so that every method needs a key.

        Args:
            params: the parameters.
            context: `[..., C]` or None.
        """
        events = self._call.events(context)
        x = jax.ShapeDtypeStruct(events.shape, jnp.result_type(float))
        try:
            jax.eval_shape(lambda x: self.log_prob(params, x, context), x)
        except MissingKeyError:
            return True
        return False

    def init(
        self,
        key: jax.Array | int,
        x: Shaped[ArrayLike, "..."],
        context: Shaped[ArrayLike, "... C"] | None = None,
    ) -> Params:
        """Return initial parameters; data-dependent layers initialise themselves on `x`.

        Args:
            key: random key, or an integer seed: `0` stands for `jax.random.key(0)`, here and for
                every other `key`.
            x: `[..., *event_shape]`, data.
            context: `[..., C]` or None.

        Returns:
            A pytree, `{module name: {parameter name: array}}`.
        """
        x, context = self._call.check_event(x, context)
        return self._init(as_key(key), "log_prob", context, False, x)

    def init_without_data(
        self,
        key: jax.Array | int,
        sample_shape: int | Sequence[int] = (),
        context: Shaped[ArrayLike, "... C"] | None = None,
    ) -> Params:
        """Return initial parameters without data.

        Data-dependent layers initialise themselves on samples of the base, of shape `sample_shape`,
        which they then leave nearly unchanged.

        Args:
            key: random key or integer seed.
            sample_shape: sizes of the leading axes of the samples, or one size.
            context: `[..., C]` or None.
        """
        init_key, sample_key = jax.random.split(as_key(key))
        context = self._call.check_context(context)
        shape = _as_shape(sample_shape)
        return self._init(init_key, "sample", context, False, sample_key, shape)

    def log_prob(
        self,
        params: Params,
        x: Shaped[ArrayLike, "..."],
        context: Shaped[ArrayLike, "... C"] | None = None,
        *,
        key: jax.Array | int | None = None,
        batch_size: int | None = None,
    ) -> Float[Array, "..."]:
        """Return the log-density of `x`, in nats.

        Args:
            params: the parameters.
            x: `[..., *event_shape]`, data.
            context: `[..., C]` or None.
            key: random key or integer seed, for flows whose layers use random numbers.
            batch_size: rows evaluated at a time; all at once if None.
        """
        x, context = self._call.check_event(x, context)
        return self._evaluate("log_prob", params, key, x, context, batch_size)

    def sample(
        self,
        params: Params,
        key: jax.Array | int,
        sample_shape: int | Sequence[int] = (),
        context: Shaped[ArrayLike, "... C"] | None = None,
        *,
        batch_size: int | None = None,
        mesh: jax.sharding.Mesh | None = None,
    ) -> Float[Array, "..."]:
        """Return samples of shape `sample_shape + context_batch_shape + event_shape`.

        Args:
            params: the parameters.
            key: random key or integer seed.
            sample_shape: sizes of the leading axes of the samples, or one size.
            context: `[..., C]` or None.
            batch_size: samples computed at a time; all at once if None.
            mesh: devices to compute on; one device if None.
        """
        return self._draw("sample", params, key, sample_shape, context, batch_size, mesh)

    def sample_and_log_prob(
        self,
        params: Params,
        key: jax.Array | int,
        sample_shape: int | Sequence[int] = (),
        context: Shaped[ArrayLike, "... C"] | None = None,
        *,
        batch_size: int | None = None,
        mesh: jax.sharding.Mesh | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Return samples and their log-densities, from one run of the flow's forward direction.

        Args:
            params: the parameters.
            key: random key or integer seed.
            sample_shape: sizes of the leading axes of the samples, or one size.
            context: `[..., C]` or None.
            batch_size: samples computed at a time; all at once if None.
            mesh: devices to compute on; one device if None.
        """
        return self._draw(
            "sample_and_log_prob", params, key, sample_shape, context, batch_size, mesh
        )

    def sample_base(
        self,
        params: Params,
        key: jax.Array | int,
        sample_shape: int | Sequence[int] = (),
        context: Shaped[ArrayLike, "... C"] | None = None,
    ) -> Float[Array, "..."]:
        """Return samples of the base; `forward` maps them to those of `sample` with the same key.

        This does not hold if layers use random numbers, which differ between methods.

        Args:
            params: the parameters.
            key: random key or integer seed.
            sample_shape: sizes of the leading axes of the samples, or one size.
            context: `[..., C]` or None.
        """
        return self._draw("sample_base", params, key, sample_shape, context, None, None)

    def log_prob_base(
        self,
        params: Params,
        z: Shaped[ArrayLike, "..."],
        context: Shaped[ArrayLike, "... C"] | None = None,
    ) -> Float[Array, "..."]:
        """Return the log-density of `z` under the base, in nats; runs no layer.

        Args:
            params: the parameters.
            z: values of the base, `[..., *base_event_shape]`.
            context: `[..., C]` or None.
        """
        z, context = self._call.check_event(z, context, "z")
        return self._evaluate("log_prob_base", params, None, z, context, None)

    def forward(
        self,
        params: Params,
        z: Shaped[ArrayLike, "..."],
        context: Shaped[ArrayLike, "... C"] | None = None,
        *,
        key: jax.Array | int | None = None,
        batch_size: int | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Map from base to data; return the value and the log-det.

        Args:
            params: the parameters.
            z: values of the base, `[..., *base_event_shape]`.
            context: `[..., C]` or None.
            key: random key or integer seed, for flows whose layers use random numbers.
            batch_size: rows evaluated at a time; all at once if None.
        """
        z, context = self._call.check_event(z, context, "z")
        return self._evaluate("forward", params, key, z, context, batch_size)

    def inverse(
        self,
        params: Params,
        x: Shaped[ArrayLike, "..."],
        context: Shaped[ArrayLike, "... C"] | None = None,
        *,
        key: jax.Array | int | None = None,
        batch_size: int | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Map from data to base; return the value and the log-det.

        Args:
            params: the parameters.
            x: `[..., *event_shape]`, data.
            context: `[..., C]` or None.
            key: random key or integer seed, for flows whose layers use random numbers.
            batch_size: rows evaluated at a time; all at once if None.
        """
        x, context = self._call.check_event(x, context)
        return self._evaluate("inverse", params, key, x, context, batch_size)

    def trace(
        self,
        params: Params,
        x: Shaped[ArrayLike, "..."],
        context: Shaped[ArrayLike, "... C"] | None = None,
        *,
        inverse: bool = True,
        key: jax.Array | int | None = None,
    ) -> list[LayerTrace]:
        """Return input, output and log-det of each layer, from data to base; not compiled.

        Shows the stages of a flow, or where values go wrong.

        Args:
            params: the parameters.
            x: `[..., *event_shape]`, data.
            context: `[..., C]` or None.
            inverse: whether to go from data to base; if False, `x` is an event of the base, and is
                mapped to data.
            key: random key or integer seed, for flows whose layers use random numbers.

        Example:
            >>> import distrax_flows as dxf, jax, jax.numpy as jnp
            >>> flow = dxf.transform(lambda: dxf.flows.maf(2, num_layers=2, standardize=True))
            >>> x = 100 + jax.random.normal(jax.random.key(0), (1000, 2))
            >>> for layer in flow.trace(flow.init(jax.random.key(1), x), x):
            ...     print(f"{layer.name}: {layer.x.mean():.0f} to {abs(layer.y.mean()):.0f}")
            Chain[0] > Chain[0] > ActNorm: 100 to 0
            Chain[0] > Chain[1] > ScanChain[1] > Layer: 0 to 0
            Chain[0] > Chain[1] > ScanChain[0] > Layer: 0 to 0
        """
        x, context = self._call.check_event(x, context, "x" if inverse else "z")
        key = as_optional_key(key)
        return self._apply_uncompiled(params, key, "trace", context, False, x, inverse)

    def distribution(
        self,
        params: Params,
        context: Shaped[ArrayLike, "... C"] | None = None,
        *,
        key: jax.Array | int | None = None,
    ) -> FlowDistribution:
        """Return a `distrax.Distribution`: the flow with its parameters and context bound.

        Args:
            params: the parameters.
            context: `[..., C]` or None.
            key: random key or integer seed, for flows whose layers use random numbers.
        """
        key = as_optional_key(key)
        return FlowDistribution(self, params, self._call.check_context(context), key)

    def _evaluate(self, method: str, params: Params, key, x, context, batch_size) -> Any:
        params, key = with_automatic_axes(params), as_optional_key(key)
        events = self._call.events(context)
        event_ndims = len(events.shape if method in ("log_prob", "inverse") else events.base_shape)
        chunks = cut(x.shape[: x.ndim - event_ndims], batch_size)
        if chunks is None:
            return self._apply(params, key, method, context, False, x)
        return self._evaluate_chunks(params, key, method, context, x, chunks, event_ndims)

    def _draw(
        self, method: str, params: Params, key, sample_shape, context, batch_size, mesh
    ) -> Any:
        params, key = with_automatic_axes(params), as_key(key)
        context = self._call.check_context(context)
        sample_shape = _as_shape(sample_shape)
        context_shape = () if context is None else context.shape[:-1]
        if mesh is not None:
            if batch_size is not None or not sample_shape:
                raise ValueError(
                    "`mesh` divides the first axis of `sample_shape`, and does not go together "
                    f"with a batch size; got {sample_shape=}, {batch_size=}. Draw in parts, with a "
                    "key for each."
                )
            mesh = check_mesh(mesh)
            check_rows("sample_shape[0]", sample_shape[0], mesh)
            if mesh not in self._apply_on:
                self._apply_on[mesh] = jax.jit(
                    self._apply_uncompiled,
                    static_argnums=_STATIC,
                    out_shardings=rows_sharding(mesh),
                )
            return self._apply_on[mesh](params, None, method, context, False, key, sample_shape)
        chunks = cut(sample_shape + context_shape, batch_size)
        if chunks is None:
            return self._apply(params, None, method, context, False, key, sample_shape)
        return self._draw_chunks(params, method, context, key, chunks)


class StatefulFlow(_Built):
    """A normalizing flow with Haiku state, as pure functions; see `transform_with_state`.

    Parameters are trained; state, such as the running statistics of batch normalisation, changes
    when the density is evaluated in training. Shapes, compilation and hashing are as in `Flow`.
    """

    def __init__(self, call: "Call", apply: Callable, evaluation: Flow, builder: Builder):
        self._call = call
        self._builder = builder
        self._apply = jax.jit(apply, static_argnums=(3, 5))
        self._evaluation = evaluation

    @property
    def event_shape(self) -> Shape:
        """Shape of one event of the data; see `Flow.event_shape`."""
        return self._evaluation.event_shape

    @property
    def is_discrete(self) -> bool:
        """Whether events are integers; see `Flow.is_discrete`."""
        return self._evaluation.is_discrete

    @property
    def evaluation(self) -> Flow:
        """Flow in evaluation mode: a `Flow` whose parameters are pairs `(params, state)`.

        It samples, inverts and returns distributions, and never changes the state.
        """
        return self._evaluation

    def init(
        self,
        key: jax.Array | int,
        x: Shaped[ArrayLike, "..."],
        context: Shaped[ArrayLike, "... C"] | None = None,
    ) -> tuple[Params, State]:
        """Return initial parameters and state; data-dependent layers initialise on `x`.

        Args:
            key: random key or integer seed.
            x: `[..., *event_shape]`, data.
            context: `[..., C]` or None.
        """
        return self._evaluation.init(key, x, context)

    def log_prob(
        self,
        params: Params,
        state: State,
        x: Shaped[ArrayLike, "..."],
        context: Shaped[ArrayLike, "... C"] | None = None,
        *,
        is_training: bool = False,
        key: jax.Array | int | None = None,
    ) -> tuple[Float[Array, "..."], State]:
        """Return the log-density of `x`, in nats, and the new state.

        Args:
            params: the parameters.
            state: the state.
            x: `[..., *event_shape]`, data.
            context: `[..., C]` or None.
            is_training: whether to use training mode; only training changes the state.
            key: random key or integer seed, for flows whose layers use random numbers.
        """
        x, context = self._call.check_event(x, context)
        key = as_optional_key(key)
        return self._apply(params, state, key, "log_prob", context, is_training, x)

    def inverse(
        self,
        params: Params,
        state: State,
        x: Shaped[ArrayLike, "..."],
        context: Shaped[ArrayLike, "... C"] | None = None,
        *,
        is_training: bool = False,
        key: jax.Array | int | None = None,
    ) -> tuple[tuple[Float[Array, "..."], Float[Array, "..."]], State]:
        """Map from data to base; return the pair of value and log-det, and the new state.

        Args:
            params: the parameters.
            state: the state.
            x: `[..., *event_shape]`, data.
            context: `[..., C]` or None.
            is_training: whether to use training mode; only training changes the state.
            key: random key or integer seed, for flows whose layers use random numbers.
        """
        x, context = self._call.check_event(x, context)
        key = as_optional_key(key)
        return self._apply(params, state, key, "inverse", context, is_training, x)


def _evaluate_chunks(
    apply: Callable, params: Params, key, method: str, context, x, chunks: Chunks, event_ndims: int
):
    def evaluate(rows, context):
        x, key = rows
        return apply(params, key, method, context, False, x)

    keys = None if key is None else jax.random.split(key, chunks.num_chunks)
    return chunks.map(evaluate, (chunks.split(x, event_ndims), keys), context)


def _draw_chunks(apply: Callable, params: Params, method: str, context, key, chunks: Chunks):
    def draw(key, context):
        # One sample per row of the context.
        per_row = context is not None and context.ndim > 1
        sample_shape = () if per_row else (chunks.batch_size,)
        return apply(params, None, method, context, False, key, sample_shape)

    return chunks.map(draw, jax.random.split(key, chunks.num_chunks), context)


def events_of(flow: Flow | StatefulFlow, context: Any = None) -> Events:
    """Return what is known about a flow's events; some flows can only be built with a context."""
    return flow._call.events(context)


def _as_shape(sample_shape: int | Sequence[int]) -> Shape:
    if isinstance(sample_shape, Sequence):
        return tuple(int(size) for size in sample_shape)
    return (int(sample_shape),)
