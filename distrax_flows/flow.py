"""Flows as pure functions of their parameters."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
from jaxtyping import Array, Float

from distrax_flows._chunks import Chunks, cut
from distrax_flows._keys import as_key
from distrax_flows._mesh import check_mesh, check_rows, rows_sharding, with_automatic_axes
from distrax_flows._trace import LayerTrace
from distrax_flows._types import Shape
from distrax_flows.distribution import FlowDistribution

if TYPE_CHECKING:
    from distrax_flows.transform import Call

__all__ = ["Flow", "Params", "State", "StatefulFlow"]

Params: TypeAlias = Any
State: TypeAlias = Any

# What makes a flow anew: a function of `distrax_flows.transform`, and its argument.
Builder: TypeAlias = tuple[Callable, Callable]


class _Built:
    """What knows how it was made, and pickles by that."""

    _builder: Builder

    @property
    def builder(self) -> Builder:
        """`(build, make)`, with which `build(make)` is this flow again."""
        return self._builder

    def __repr__(self) -> str:
        make = self._builder[1]
        return f"{type(self).__name__}({getattr(make, '__qualname__', repr(make))})"

    def __reduce__(self):
        build, make = self._builder
        return build, (make,)


class Flow(_Built):
    """A normalizing flow as pure functions of its parameters; see `transform`.

    Shapes. Data `[..., D]`, contexts `[..., C]`; batch axes of data and context broadcast.
    Samples have `sample_shape + context_batch_shape + (D,)`, every row with noise of its own.

    Memory. Given a `batch_size`, a method runs on that many rows at a time, and needs the memory of
    those, besides its inputs and outputs; so do its gradients, which then evaluate the flow once
    more. Values are the same up to rounding. Draws are others than without it: they depend on the
    key and on `batch_size`. One that holds all rows changes nothing.

    Devices. Given a `mesh`, `jax.make_mesh((8,), ("data",))`, samples are made on all of its
    devices, and lie there, divided along their first axis. They are those of one device, up to
    rounding. All methods work inside of `jax.shard_map`. Arrays may lie on a mesh with explicit
    axes, too; inside of your own `jit` with such arrays, choose the mesh by `jax.set_mesh`.

    All methods are jit-compiled, differentiable in parameters and inputs, and free of side
    effects; they need no Haiku transform around them. A `Flow` is static under jit and hashes by
    identity: make it once. It pickles if the function that builds it does.
    """

    def __init__(self, call: "Call", init: Callable, apply: Callable, builder: Builder):
        self._call = call
        self._builder = builder
        self._init = jax.jit(init, static_argnums=(1, 3, 5))
        self._apply_uncompiled = apply
        self._apply = jax.jit(apply, static_argnums=(1, 3, 5))
        self._apply_on: dict[jax.sharding.Mesh, Callable] = {}
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
            key: random key, or an integer seed: `0` stands for `jax.random.key(0)`, here and
                wherever a key is asked for.
            x: `[..., D]`, data.
            context: `[..., C]` or None.

        Returns:
            A pytree, `{module name: {parameter name: array}}`.
        """
        x, context = self._call.check_event(x, context)
        return self._init(as_key(key), "log_prob", context, False, x)

    def init_without_data(
        self,
        key: jax.Array,
        sample_shape: int | Sequence[int] = (),
        context: Float[Array, "... C"] | None = None,
    ) -> Params:
        """Makes the parameters where there are no data.

        Layers that initialise themselves on data do so on draws from the base, of `sample_shape`:
        they then leave these about as they are.
        """
        init_key, sample_key = jax.random.split(as_key(key))
        context = self._call.check_context(context)
        shape = _as_shape(sample_shape)
        return self._init(init_key, "sample", context, False, sample_key, shape)

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
        mesh: jax.sharding.Mesh | None = None,
    ) -> Float[Array, "... D"]:
        """Draws of shape `sample_shape + context_batch_shape + (D,)`."""
        return self._draw("sample", params, key, sample_shape, context, batch_size, mesh)

    def sample_and_log_prob(
        self,
        params: Params,
        key: jax.Array,
        sample_shape: int | Sequence[int] = (),
        context: Float[Array, "... C"] | None = None,
        *,
        batch_size: int | None = None,
        mesh: jax.sharding.Mesh | None = None,
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Draws, and their log-densities, from one run of the flow's forward direction."""
        return self._draw(
            "sample_and_log_prob", params, key, sample_shape, context, batch_size, mesh
        )

    def sample_base(
        self,
        params: Params,
        key: jax.Array,
        sample_shape: int | Sequence[int] = (),
        context: Float[Array, "... C"] | None = None,
    ) -> Float[Array, "... D"]:
        """Draws of the base: `forward` of them are those of `sample`, given the same key."""
        return self._draw("sample_base", params, key, sample_shape, context, None, None)

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

    def trace(
        self,
        params: Params,
        x: Float[Array, "... D"],
        context: Float[Array, "... C"] | None = None,
        *,
        inverse: bool = True,
    ) -> list[LayerTrace]:
        """What each layer makes of `x`, on its way from data to base; not compiled.

        To see where values go astray, or to picture the stages of a flow. With `inverse=False`,
        `x` is taken to be of the base, and goes from there to data.

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
        x, context = self._call.check_event(x, context)
        return self._apply_uncompiled(params, "trace", context, False, x, inverse)

    def distribution(
        self, params: Params, context: Float[Array, "... C"] | None = None
    ) -> FlowDistribution:
        """The flow with its parameters, and context, bound: a `distrax.Distribution`."""
        return FlowDistribution(self, params, self._call.check_context(context))

    def _evaluate(self, method: str, params: Params, x, context, batch_size: int | None) -> Any:
        params = with_automatic_axes(params)
        chunks = cut(x.shape[:-1], batch_size)
        if chunks is None:
            return self._apply(params, method, context, False, x)
        return self._evaluate_chunks(params, method, context, x, chunks)

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
                    static_argnums=(1, 3, 5),
                    out_shardings=rows_sharding(mesh),
                )
            return self._apply_on[mesh](params, method, context, False, key, sample_shape)
        chunks = cut(sample_shape + context_shape, batch_size)
        if chunks is None:
            return self._apply(params, method, context, False, key, sample_shape)
        return self._draw_chunks(params, method, context, key, chunks)


class StatefulFlow(_Built):
    """A normalizing flow with Haiku state, as pure functions; see `transform_with_state`.

    Parameters are trained; state, such as the running statistics of batch normalisation, changes
    when the density is evaluated in training. Shapes, compilation and hashing are as in `Flow`.
    """

    def __init__(
        self, call: "Call", init: Callable, apply: Callable, evaluation: Flow, builder: Builder
    ):
        self._call = call
        self._builder = builder
        self._init = jax.jit(init, static_argnums=(1, 3))
        self._apply = jax.jit(apply, static_argnums=(2, 4))
        self._evaluation = evaluation

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


def _as_shape(sample_shape: int | Sequence[int]) -> Shape:
    if isinstance(sample_shape, Sequence):
        return tuple(int(size) for size in sample_shape)
    return (int(sample_shape),)
