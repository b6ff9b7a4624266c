"""Maximum likelihood."""

import functools
import math
import time
from collections.abc import Iterator
from typing import Any, Unpack

import jax
from jaxtyping import Array, Float

from distrax_flows._checks import check_positive, check_positive_int
from distrax_flows._keys import as_keys
from distrax_flows.flow import Flow, Params, StatefulFlow
from distrax_flows.training._batches import (
    Batches,
    each_key,
    split_keys,
    table_batches,
)
from distrax_flows.training._data import (
    Batch,
    check_columns_vary,
    check_data,
)
from distrax_flows.training._loop import chunk_size
from distrax_flows.training._objectives import MaximumLikelihood, evaluation_of, mean_loss
from distrax_flows.training._outliers import warn_of_outliers
from distrax_flows.training._placement import placement_on
from distrax_flows.training._run import TrainingOptions, check_options, run
from distrax_flows.training._streams import DataFn, is_stream, stream_batches
from distrax_flows.training._support import check_support
from distrax_flows.training._validation import divide, held_out_data
from distrax_flows.training.results import Fit

__all__ = ["fit"]

_MAX_INIT_ROWS = 2**14  # rows that a data-dependent initialisation sees
_EVALUATION_ROWS = 2**13  # rows whose density is evaluated together


def fit(
    flow: Flow | StatefulFlow,
    data: Float[Array, "N D"] | DataFn | Iterator[Any],
    *,
    key: jax.Array | int,
    num_steps: int | None = None,
    num_epochs: float | None = None,
    batch_size: int = 128,
    context: Float[Array, "N C"] | None = None,
    weights: Float[Array, " N"] | None = None,
    validation: float | Float[Array, "V D"] | tuple | None = None,
    patience: int | None = None,
    params: Params | None = None,
    mesh: jax.sharding.Mesh | None = None,
    **options: Unpack[TrainingOptions],
) -> Fit:
    """Fits a flow by maximum likelihood.

    Minimises the mean of `-weight * flow.log_prob(params, x, context)` over batches. Chunks of up
    to 250 steps run in one compiled `lax.scan`; a second fit of the same flow, sizes and optimizer
    reuses it, whatever its data. Deterministic in `key` on one device, to the bit.

    Data are not standardised here: build the flow with `standardize=True` for that, so that its
    densities stay in the units of the data.

    Several fits at once, an ensemble: give an array of keys, `jax.random.split(key, E)`. Each fit
    has an initialisation, an order of the data and draws of its own; parameters and losses have
    the axis `[E]` first, and `jax.vmap(flow.log_prob, (0, None))(fit.params, x)` is `[E, N]`.

    Args:
        flow: the flow. One with state is trained in training mode; its parameters, here and in
            the result, are pairs `(params, state)`, as its `evaluation` takes them.
        data: `[N, D]`, every row once per epoch, in an order drawn per epoch. A memory map
            (`np.load(path, mmap_mode="r")`) stays on disk, but for the rows of a chunk of steps.
            Or a function `key -> [batch_size, D]` that JAX can trace and that draws a fresh batch;
            or an iterator of such batches, all of one size. Both may give `(x, context)` or
            `(x, context, weights)` in place of `x`; `context` may then be None, and weights are
            taken as they are. Arrays may be of any kind and byte order that converts to floats;
            half precision is widened.
        key: random key, or an integer seed: of initialisation, the order of the data and fresh
            draws; or `[E]` keys.
        num_steps: number of gradient steps; 5,000 unless `num_epochs` is given.
        num_epochs: times that arrays are gone through, in place of `num_steps`.
        batch_size: rows of a batch of an array. A function draws as many as it likes.
        context: `[N, C]`, the context of each row where `data` is an array; may be integers.
        weights: `[N]`, how much each row counts where `data` is an array; only their ratios matter,
            whatever their size.
        validation: data whose loss is evaluated every `eval_every` steps: an array `[V, D]`, or
            `(x, context)` or `(x, context, weights)`; or the fraction of the rows of `data` that
            is drawn to be held out for this. The result is then the parameters of the best loss.
            Held in memory whole, also where `data` are a memory map.
        patience: ends the fit when so many evaluations in a row have brought no better validation
            loss.
        params: parameters to start from, instead of `flow.init`.
        mesh: devices to compute on, `jax.make_mesh((8,), ("data",))`: rows of batches are divided
            over the axis "data". Parameters lie on all devices, or, if there is an axis "model",
            those that are wide are divided over it. Losses are those of one device, to rounding.
        **options: optimizer, averaging, checkpoints, what happens to numbers that are not finite,
            callbacks, the progress bar; `distrax_flows.training` describes them.

    Returns:
        The parameters and the history.

    Raises:
        TypeError: an array cannot be converted to floats, or holds integers.
        ValueError: data that no flow can fit: values that are not finite, constant columns, columns
            that rounding to float32 merges, rows outside of the flow's support, fewer rows than a
            batch, another rank than 2, a context with other rows; or an argument out of range.
        NonFiniteError: a loss or a gradient is not finite.
        CheckpointError: a checkpoint cannot be written, or not be read, or is of another fit.
        FitInterrupted: Ctrl-C; the error's `fit` has the parameters reached.

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
    check_options(options)
    batch_size = check_positive_int("batch_size", batch_size)
    if patience is not None:
        check_positive_int("patience", patience)
        if validation is None:
            raise ValueError("`patience` needs `validation` data to look at; got none.")
    keys = as_keys(key)
    init_keys, data_keys = split_keys(keys)
    table, names = None, Batch("data", "context", "weights")
    if is_stream(data):
        _check_absent(context=context, weights=weights, num_epochs=num_epochs)
        subset, held_out = None, held_out_data(validation)
        batches = stream_batches(data, data_keys)
    else:
        table = check_data(Batch(data, context, weights), names)
        check_columns_vary("data", table.x)
        table, subset, held_out = divide(table, validation, keys)
        batches = table_batches(table, data_keys, batch_size, subset)
    num_steps = _num_steps(num_steps, num_epochs, batches, batch_size)
    chunk = chunk_size(num_steps, options.get("eval_every"), batches)
    if params is None:
        params = _init(flow, init_keys, batches, chunk)
    if table is not None:
        one: Any = jax.tree.map(lambda leaf: leaf[0], params) if keys.ndim else params
        warn_of_outliers(one[0] if isinstance(flow, StatefulFlow) else one, table, names)
        check_support(evaluation_of(flow), one, table)
    flow_state = None
    if isinstance(flow, StatefulFlow):
        params, flow_state = params  # pyright: ignore[reportGeneralTypeIssues]
    validate = None
    if held_out is not None:
        # On a mesh rows are divided once, over devices, not again in time.
        rows = _EVALUATION_ROWS if mesh is None else None
        validate = functools.partial(_validate, flow, keys.shape, rows, placement.data(held_out))
    return run(
        MaximumLikelihood(flow),
        batches,
        params,
        flow_state,
        started=started,
        num_steps=num_steps,
        shape=keys.shape,
        settings={
            "key": jax.random.key_data(keys).tolist(),
            "batch_size": batch_size,
            "num_rows": batches.num_rows,
        },
        placement=placement,
        validate=validate,
        patience=patience,
        **options,
    )


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _validate(
    flow: Flow | StatefulFlow,
    shape: tuple[int, ...],
    batch_size: int | None,
    data: Batch,
    params: Params,
):
    """The loss of validation data; of several fits, one each."""

    def loss(params):
        log_prob = evaluation_of(flow).log_prob(params, data.x, data.context, batch_size=batch_size)
        return mean_loss(log_prob, data.weights)

    return (jax.vmap(loss) if shape else loss)(params)


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


def _init(flow: Flow | StatefulFlow, keys: jax.Array, batches: Batches, chunk: int) -> Params:
    """Parameters, initialised on the rows of the first batches: of a chunk, or more if need be."""
    limit = min(batches.num_rows or _MAX_INIT_ROWS, _MAX_INIT_ROWS)
    first = batches.take(0, chunk)
    batch_size = first.x.shape[-2]
    if batches.repeatable and chunk * batch_size < limit:
        first = batches.take(0, math.ceil(limit / batch_size))

    def rows(leaf):
        return leaf.reshape(*keys.shape, -1, leaf.shape[-1])[..., :limit, :]

    x, context = jax.tree.map(rows, (first.x, first.context))
    return each_key(flow.init, keys)(keys, x, context)


def _check_absent(**arguments: Any) -> None:
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(
                f"`{name}` must be None where `data` is a function or an iterator: let it give "
                "`(x, context, weights)`, and say `num_steps`."
            )
