"""Fitting flows to data."""

import functools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, Unpack

import jax
import jax.numpy as jnp
from jaxtyping import Shaped

from distrax_flows._core.arrays import as_array
from distrax_flows._core.checks import check_positive, check_positive_int
from distrax_flows._core.keys import as_keys
from distrax_flows._core.options import takes
from distrax_flows._core.types import ArrayLike, Shape
from distrax_flows.functional._chunks import cut
from distrax_flows.functional.flow import Flow, Params, StatefulFlow, events_of
from distrax_flows.training._batches import Batches, each_key, of_fit, split_keys, table_batches
from distrax_flows.training._data import (
    Batch,
    check_columns_vary,
    check_data,
    fill,
    shared_size,
)
from distrax_flows.training._loop import chunk_size
from distrax_flows.training._outliers import warn_of_outliers
from distrax_flows.training._placement import Placement, placement_on
from distrax_flows.training._run import TrainingOptions, run
from distrax_flows.training._streams import DataFn, is_stream, stream_batches
from distrax_flows.training._support import check_support
from distrax_flows.training._validation import divide, held_out_data
from distrax_flows.training.objectives import (
    MaximumLikelihood,
    Objective,
    evaluation_of,
    row_losses,
)
from distrax_flows.training.results import Fit

__all__ = ["fit"]

_MAX_INIT_ROWS = 2**14  # most rows for data-dependent initialisation
_EVALUATION_ROWS = 2**13  # rows evaluated together, at most
_MIN_EVALUATION_ROWS = 2**8


@takes(TrainingOptions)
def fit(
    flow: Flow | StatefulFlow,
    data: Shaped[ArrayLike, "N ..."] | DataFn | Iterator[Any],
    *,
    key: jax.Array | int,
    num_steps: int | None = None,
    num_epochs: float | None = None,
    batch_size: int = 128,
    context: Shaped[ArrayLike, "N C"] | None = None,
    weights: Shaped[ArrayLike, " N"] | None = None,
    validation: float | Shaped[ArrayLike, "V ..."] | tuple | None = None,
    patience: int | None = None,
    params: Params | None = None,
    objective: Objective | None = None,
    mesh: jax.sharding.Mesh | None = None,
    **options: Unpack[TrainingOptions],
) -> Fit:
    """Fit a flow to data, by maximum likelihood unless another objective is given.

    Minimises the mean of `-weight * flow.log_prob(params, x, context)` over batches, or another
    objective. Chunks of up to 250 steps run in one compiled `lax.scan`; a second fit of the same
    flow, `batch_size`, objective and optimizer reuses it, even for other data. With another number
    of rows, up to 131,072, only the initialisation compiles again; with `params`, nothing does.
    Deterministic in `key` on one device, bit for bit. Each step has its own random key, for layers
    and objectives that use random numbers.

    `fit` does not standardise data: build the flow with `standardize=True`, so that its densities
    stay in the units of the data.

    To fit an ensemble at once, give an array of keys, `jax.random.split(key, E)`. Each fit has its
    own initialisation, order of the data and samples. Parameters and losses have the axis `[E]`
    first, and `jax.vmap(flow.log_prob, (0, None))(fit.params, x)` is `[E, N]`.

    Args:
        flow: the flow. A flow with state is trained in training mode; its parameters, here and in
            the result, are pairs `(params, state)`, as its `evaluation` takes them.
        data: `[N, *event_shape]`, every row once per epoch, in a new order each epoch. A memory
            map (`np.load(path, mmap_mode="r")`) stays on disk, except the rows of a chunk of steps.
            Or a function `key -> [batch_size, *event_shape]` that JAX can trace and that samples a
            fresh batch; or an iterator of such batches, all of one size. Both may return
            `(x, context)` or `(x, context, weights)` instead of `x`; `context` may then be None,
            and weights are used unchanged. Arrays may be of any kind and byte order that converts
            to floats; half precision is widened.
        key: random key, or an integer seed, for initialisation, the order of the data and the
            steps; or `[E]` keys.
        num_steps: number of gradient steps; 5,000 unless `num_epochs` is given.
        num_epochs: number of passes over the arrays, instead of `num_steps`.
        batch_size: rows per batch of an array; a function may return any number.
        context: `[N, C]`, the context of each row if `data` is an array; may be integers.
        weights: `[N]`, the weight of each row if `data` is an array; only their ratios matter, at
            any scale.
        validation: data whose loss is evaluated every `eval_every` steps: an array
            `[V, *event_shape]`, or `(x, context)` or `(x, context, weights)`; or the fraction of
            the rows of `data` to hold out, at random. The result then has the parameters with the
            best loss. Held in memory, even if `data` is a memory map.
        patience: number of evaluations in a row without a better validation loss after which the
            fit ends.
        params: parameters to start from, instead of `flow.init`.
        objective: the objective to minimise, any function `(flow, params, batch, key) -> loss` (see
            `training.Objective`); maximum likelihood if None.
        mesh: devices to compute on, `jax.make_mesh((8,), ("data",))`: rows of batches are divided
            over the axis "data". Parameters are replicated across devices; if there is an axis
            "model", wide ones are divided over it. Losses equal those of one device, up to
            rounding.
        **options: those of `TrainingOptions`.

    Returns:
        The parameters and the history.

    Raises:
        TypeError: an array cannot be converted to floats, or holds integers and the flow does not
            take them, as `flows.dequantized` does.
        ValueError: data that no flow can fit: non-finite values, constant columns, columns
            that rounding to float32 merges, rows outside the flow's support, fewer rows than a
            batch, events of the wrong shape, a context with another number of rows; or an argument
            out of range, or an objective that does not return a loss.
        NonFiniteError: a loss or a gradient is NaN or infinite.
        CheckpointError: a checkpoint cannot be written, cannot be read, or belongs to another fit.
        FitInterrupted: after Ctrl-C; the error's `fit` has the parameters reached.

    Warns:
        UserWarning: a few rows set the scale of standardised data.

    Example:
        >>> import distrax_flows as dxf, jax
        >>> flow = dxf.transform(lambda: dxf.flows.realnvp(2, num_layers=2, hidden_sizes=(8,)))
        >>> data = 3 + jax.random.normal(jax.random.key(0), (1000, 2))
        >>> fitted = dxf.fit(flow, data, key=jax.random.key(1), num_steps=500, validation=0.1)
        >>> bool(fitted.history.loss[-1] < fitted.history.loss[0])
        True
    """
    started = time.perf_counter()
    placement = placement_on(mesh)
    batch_size = check_positive_int("batch_size", batch_size)
    if patience is not None:
        check_positive_int("patience", patience)
        if validation is None:
            raise ValueError("`patience` needs `validation` data to look at; got none.")
    objective = MaximumLikelihood() if objective is None else objective
    keys = as_keys(key)
    init_keys, data_keys = split_keys(keys)
    some = None  # context of a batch
    if context is not None:
        shape = as_array("context", context).shape
        some = jax.ShapeDtypeStruct((batch_size, *shape[1:]), jnp.float32)
    events = events_of(flow, some)
    table, names = None, Batch("data", "context", "weights")
    if is_stream(data):
        _check_absent(context=context, weights=weights, num_epochs=num_epochs)
        subset, held_out = None, held_out_data(validation, events)
        batches = stream_batches(data, data_keys, events)
    else:
        table = check_data(Batch(data, context, weights), names, events)
        if not events.is_discrete:
            check_columns_vary("data", table.x)
        table, subset, held_out = divide(table, validation, keys, events)
        batches = table_batches(table, data_keys, batch_size, subset)
    num_steps = _num_steps(num_steps, num_epochs, batches, batch_size)
    if params is None:
        chunk = chunk_size(num_steps, options.get("eval_every"), batches)
        params = _init(flow, init_keys, batches, chunk, events.shape)
    if table is not None:
        one = of_fit(params, keys)
        warn_of_outliers(one[0] if isinstance(flow, StatefulFlow) else one, table, names)
        if isinstance(objective, MaximumLikelihood):
            check_support(evaluation_of(flow), one, table, jax.random.key(0))
    step_keys = each_key(lambda key: jax.random.fold_in(key, 3), keys)(keys)
    validate = None
    if held_out is not None:
        validate = _validation(flow, objective, keys.shape, placement, held_out, step_keys)
    return run(
        objective,
        flow,
        batches,
        params,
        started=started,
        num_steps=num_steps,
        keys=step_keys,
        settings={
            "key": jax.random.key_data(keys).tolist(),
            "batch_size": batch_size,
            "num_rows": batches.num_rows,
        },
        placement=placement,
        validate=validate,
        patience=patience,
        options=options,
    )


def _validation(
    flow: Flow | StatefulFlow,
    objective: Objective,
    shape: Shape,
    placement: Placement,
    data: Batch,
    keys: jax.Array,
) -> Callable[[Params], jax.Array]:
    """Return a function from parameters to the loss of validation data."""
    num_rows, batch_size = len(data.x), _EVALUATION_ROWS
    if placement.mesh is not None:
        # Rows are divided over devices; don't also split them into chunks.
        data, batch_size = placement.data(data), None
        num_rows = len(data.x)
    elif isinstance(objective, MaximumLikelihood):
        # Other objectives may compare the rows of a batch with each other: they get only real rows.
        chunks = math.ceil(num_rows / batch_size)
        size = shared_size(num_rows, _MIN_EVALUATION_ROWS) if chunks == 1 else chunks * batch_size
        data = jax.tree.map(functools.partial(fill, num_rows=size), data)
    data = jax.tree.map(jnp.asarray, data)
    return functools.partial(_validate, flow, objective, shape, batch_size, data, num_rows, keys)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _validate(
    flow: Flow | StatefulFlow,
    objective: Objective,
    shape: Shape,
    batch_size: int | None,
    data: Batch,
    num_rows: jax.Array | int,
    keys: jax.Array,
    params: Params,
):
    """Return the loss of the first `num_rows` rows of `data`, one per fit.

    The key is the same every time.
    """

    def loss(params, key):
        of_rows = functools.partial(row_losses, objective, evaluation_of(flow), params)
        chunks = cut(data.x.shape[:1], batch_size)
        if chunks is None or not jax.eval_shape(of_rows, data, key).ndim:
            losses = of_rows(data, key)
        else:
            rows = jax.tree.map(lambda table: chunks.split(table, table.ndim - 1), data)
            chunk_keys = jax.random.split(key, chunks.num_chunks)
            losses = chunks.map(lambda chunk, _: of_rows(*chunk), (rows, chunk_keys), None)
        if not losses.ndim:
            return losses
        return jnp.sum(jnp.where(jnp.arange(len(losses)) < num_rows, losses, 0)) / num_rows

    return (jax.vmap(loss) if shape else loss)(params, keys)


def _num_steps(
    num_steps: int | None, num_epochs: float | None, batches: Batches, batch_size: int
) -> int:
    if num_epochs is None:
        return 5_000 if num_steps is None else check_positive_int("num_steps", num_steps)
    if num_steps is not None or batches.num_rows is None:
        raise ValueError(
            "`num_epochs` must be None beside `num_steps`, and where `data` is a function or an "
            f"iterator; got {num_epochs=}, {num_steps=}. Give `num_steps` alone."
        )
    return math.ceil(check_positive("num_epochs", num_epochs) * batches.num_rows / batch_size)


def _init(
    flow: Flow | StatefulFlow, keys: jax.Array, batches: Batches, chunk: int, event_shape: Shape
) -> Params:
    """Return parameters initialised on the first batches: of a chunk, or more if needed."""
    limit = min(batches.num_rows or _MAX_INIT_ROWS, _MAX_INIT_ROWS)
    first = batches.take(0, chunk)
    batch_size = first.x.shape[keys.ndim + 1]
    if batches.repeatable and chunk * batch_size < limit:
        first = batches.take(0, math.ceil(limit / batch_size))

    def rows(leaf, row_shape):
        leaf = leaf.reshape(*keys.shape, -1, *row_shape)
        return jax.lax.slice_in_dim(leaf, 0, min(limit, leaf.shape[keys.ndim]), axis=keys.ndim)

    x = rows(first.x, event_shape)
    context = None if first.context is None else rows(first.context, first.context.shape[-1:])
    return each_key(flow.init, keys)(keys, x, context)


def _check_absent(**arguments: Any) -> None:
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(
                f"`{name}` must be None where `data` is a function or an iterator: let it give "
                "`(x, context, weights)`, and give `num_steps`."
            )
