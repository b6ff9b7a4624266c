"""Fitting flows to a density known up to its normaliser."""

import dataclasses
import functools
import time
from collections.abc import Iterator
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Shaped

from distrax_flows._core.checks import check_positive_int
from distrax_flows._core.keys import as_keys
from distrax_flows._core.mesh import check_rows
from distrax_flows._core.options import takes
from distrax_flows._core.types import ArrayLike, Shape
from distrax_flows.diagnostics._ends import warn_of_ends
from distrax_flows.functional._log_density import LogDensityFn, check_log_density
from distrax_flows.functional.flow import Flow, Params, events_of
from distrax_flows.training._batches import Batches, each_key, of_fit, split_keys, table_batches
from distrax_flows.training._data import (
    as_parts,
    check_columns_vary,
    check_context,
    check_data,
    scale_weights,
)
from distrax_flows.training._density_objective import DensityBatch, DensityObjective
from distrax_flows.training._fab import FAB
from distrax_flows.training._placement import here, placement_on
from distrax_flows.training._run import TrainingOptions, run
from distrax_flows.training._streams import DataFn, is_stream, stream_batches
from distrax_flows.training._support import check_support
from distrax_flows.training.divergences import Divergence, ReverseKL
from distrax_flows.training.results import Fit

__all__ = ["fit_to_density"]

_END_SAMPLES = 4_000  # samples used to find where the flow ends
_INIT_SAMPLES = 1024  # samples of the base for data-dependent initialisation


@takes(TrainingOptions)
def fit_to_density(
    flow: Flow,
    log_density: LogDensityFn,
    *,
    key: jax.Array | int,
    num_steps: int = 5_000,
    divergence: Divergence = ReverseKL(),  # noqa: B008
    num_samples: int = 256,
    context: Shaped[ArrayLike, "... C"] | None = None,
    annealing: optax.Schedule | None = None,
    data: Shaped[ArrayLike, "N ..."] | DataFn | Iterator[Any] | None = None,
    forward_weight: float = 0.5,
    batch_size: int = 128,
    params: Params | None = None,
    mesh: jax.sharding.Mesh | None = None,
    **options: Unpack[TrainingOptions],
) -> Fit:
    """Fit a flow q to a density p, whose normaliser need not be known.

    Minimises, up to a constant, a divergence over samples of the flow; by default `KL(q || p)`:

        E_{x ~ q}[ log q(x) - beta log p(x) ]

    It needs no data, but it seeks regions where p is large and may miss some of its modes.
    Annealing helps to find them; data from p, if available, keep them; and the divergence
    `training.FAB` covers them.

    Args:
        flow: the flow, without state. Choose one that is fast in both directions, such as
            couplings; with `ReverseKL(path_gradient=False)`, fast sampling is enough, as in
            `flows.iaf`. Give it the support of p, if that is not the whole space: outside it the
            loss is infinite.
        log_density: maps `[..., *event_shape]` to `[...]`, the logarithm of p up to a constant; JAX
            must be able to trace it. With a context, it takes both. It is compiled in: a new
            function, such as a lambda, compiles again.
        key: random key, or an integer seed; or `[E]` keys for several fits at once, as in `fit`.
        num_steps: number of gradient steps.
        divergence: `training.ReverseKL()`, `training.LogVariance()`, `training.FAB()`, or a custom
            `training.Divergence`.
        num_samples: number of samples per step (for each row of the context).
        context: `[..., C]`, or None; every step uses all rows.
        annealing: maps the number of steps done to the inverse temperature beta, such as
            `optax.linear_schedule(0.01, 1.0, 2_000)`; always 1 if None. It should end at 1.
        data: samples of p, as in `fit`, for a mixture of both divergences.
        forward_weight: share of `KL(p || q)`, the loss of `fit`, if there are data; the rest is
            that of the divergence.
        batch_size: rows per batch of data, if they are an array.
        params: parameters to start from, instead of `flow.init_without_data`.
        mesh: devices to compute on, as in `fit`; samples are divided over its axis "data".
        **options: those of `TrainingOptions`.

    Returns:
        The parameters and the history, whose losses are those of the annealed density. `evidence`
        measures how good they are.

    Raises:
        TypeError: `flow` has state, or `log_density` or `divergence` is not a function.
        ValueError: `log_density` returns the wrong shape; the divergence needs gradients of samples
            and the flow has integer dimensions; `annealing` is given with a divergence that has a
            memory, which would hold weights of other temperatures; data that no flow can fit, as in
            `fit`; or an argument out of range.
        NonFiniteError: a loss or a gradient is NaN or infinite, for example because samples leave
            the support of p.
        CheckpointError: a checkpoint cannot be written, cannot be read, or belongs to another fit.
        FitInterrupted: after Ctrl-C; the error's `fit` has the parameters reached.

    Warns:
        UserWarning: samples of the flow end where p continues, such as at the end of a spline.

    Reference:
        Rezende & Mohamed, "Variational Inference with Normalizing Flows", 2015, eq. 20, with its
        annealing.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> def log_density(x):  # a narrow Gaussian around (1, 1), not normalised
        ...     return -50.0 * jnp.sum((x - 1.0) ** 2, axis=-1)
        >>> flow = dxf.transform(lambda: dxf.flows.realnvp(2, num_layers=2, hidden_sizes=(8,)))
        >>> fitted = dxf.fit_to_density(flow, log_density, key=jax.random.key(0), num_steps=3000)
        >>> found = dxf.diagnostics.evidence(
        ...     flow, fitted.params, log_density, key=jax.random.key(1))
        >>> print(f"{found.log_z:.2f}, and {jnp.log(2 * jnp.pi / 100):.2f} is exact")
        -2.77, and -2.77 is exact
    """
    started = time.perf_counter()
    placement = placement_on(mesh)
    if not isinstance(flow, Flow):
        raise TypeError(
            f"`flow` must be a flow without state, of `transform`; got {type(flow).__name__}."
        )
    num_steps = check_positive_int("num_steps", num_steps)
    num_samples = check_positive_int("num_samples", num_samples)
    batch_size = check_positive_int("batch_size", batch_size)
    if placement.mesh is not None:
        check_rows("num_samples", num_samples, placement.mesh)
    if not 0 < forward_weight < 1:
        raise ValueError(
            f"`forward_weight` must be between 0 and 1; got {forward_weight=}. Leave out `data` "
            "for reverse KL alone; `fit` is for data alone."
        )
    if context is not None:
        context = check_context(context)
    keys = as_keys(key)
    init_keys, draw_keys = split_keys(keys)
    if params is None:
        init = functools.partial(_init, flow, context)
        params = each_key(init, keys)(init_keys)
    one = of_fit(params, keys)
    check_log_density(log_density, flow, one, context)
    if not callable(divergence):
        raise TypeError(
            f"`divergence` must be one such as `training.ReverseKL()`; got {divergence!r}."
        )
    _check_gradients(flow, one, divergence, context)
    forward = None
    if data is None:
        forward_weight = 0.0
    else:
        data_keys, draw_keys = split_keys(draw_keys)
        forward = _forward_batches(data, data_keys, batch_size, flow, one)
    objective = DensityObjective(divergence, log_density, num_samples, forward_weight, placement)
    memory = None
    if hasattr(divergence, "start"):
        if annealing is not None:
            raise ValueError(
                f"`annealing` must be None with {divergence!r}, whose memory would hold weights of "
                "other temperatures; it anneals by itself."
            )
        memory_keys, draw_keys = split_keys(draw_keys)
        start = functools.partial(_start, objective, flow, context)
        params = placement.state(params)
        memory = jax.jit(lambda *args: placement.keep_state(each_key(start, keys)(*args)))(
            params, memory_keys
        )
    fitted = run(
        objective,
        flow,
        _density_batches(keys.shape, annealing, context, forward),
        params,
        memory=memory,
        started=started,
        num_steps=num_steps,
        keys=draw_keys,
        settings={
            "key": jax.random.key_data(keys).tolist(),
            "num_samples": num_samples,
            "divergence": _name_of(divergence),
            "forward_weight": float(forward_weight),
            "batch_size": batch_size,
        },
        placement=placement,
        options=options,
    )
    params = here(fitted.params)
    rows = 1 if context is None else context[..., 0].size
    shape = (max(1_000, _END_SAMPLES // rows),)
    for i, end_key in enumerate(draw_keys.reshape(-1)):
        one = of_fit(params, keys, i)
        x = flow.sample(one, end_key, shape, context)
        warn_of_ends(flow, one, log_density, x, context)
    return fitted


def _init(flow: Flow, context: jax.Array | None, key: jax.Array) -> Params:
    return flow.init_without_data(key, _INIT_SAMPLES, context)


def _check_gradients(flow: Flow, params: Params, divergence: Divergence, context: Any) -> None:
    """Raise unless the flow's layers suit the divergence."""
    if isinstance(divergence, ReverseKL | FAB) and events_of(flow, context).has_noise:
        raise ValueError(
            "`flow` must have no dimensions of integers: samples are rounded, which has no "
            "gradient. `training.LogVariance()` needs none of samples."
        )
    if isinstance(divergence, FAB) and flow.draws_random_numbers(params, context):
        raise ValueError(
            "`flow` must have no random layers with `FAB`, which needs exact densities; got a flow "
            "whose `log_prob` needs a key."
        )


def _name_of(divergence: Divergence) -> str:
    """Return a name that is the same in another process."""
    if dataclasses.is_dataclass(divergence):
        return repr(divergence)
    return getattr(divergence, "__qualname__", type(divergence).__qualname__)


def _start(
    objective: DensityObjective, flow: Flow, context: jax.Array | None, params: Params, key: Any
) -> Any:
    return objective.start(flow, params, context, key)


def _forward_batches(
    data: Any, keys: jax.Array, batch_size: int, flow: Flow, params: Params
) -> Batches:
    if is_stream(data):
        return stream_batches(data, keys, events_of(flow))
    table = scale_weights(check_data(*as_parts("data", data), events_of(flow)), "in `data`")
    check_columns_vary("data", table.x)
    check_support(flow, params, table, jax.random.key(0))
    return table_batches(table, keys, batch_size)


def _density_batches(
    shape: Shape,
    annealing: optax.Schedule | None,
    context: jax.Array | None,
    forward: Batches | None,
) -> Batches:
    """Return batches with the inverse temperature of each step, and always the same context."""

    def take(start: int, n: int) -> DensityBatch:
        steps = jnp.arange(start, start + n)
        beta = jnp.ones(n) if annealing is None else jnp.asarray(annealing(steps))
        contexts = None
        if context is not None:
            contexts = jnp.broadcast_to(context, (*shape, n, *context.shape))
        return DensityBatch(
            beta=jnp.broadcast_to(beta, (*shape, n)),
            context=contexts,
            data=None if forward is None else forward.take(start, n),
        )

    spec = DensityBatch(
        beta=jax.ShapeDtypeStruct(shape, jnp.result_type(float)),
        context=None
        if context is None
        else jax.ShapeDtypeStruct(shape + context.shape, context.dtype),
        data=None if forward is None else forward.spec,
    )
    return Batches(take, spec)
