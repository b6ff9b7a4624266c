"""Maximum likelihood, in chunks of compiled steps."""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from distrax_flows._checks import check_positive_int
from distrax_flows.flow import Flow, Params, State, StatefulFlow
from distrax_flows.training._batches import DataFn, array_batches, function_batches

__all__ = ["Fit", "History", "fit"]

_MAX_CHUNK = 250  # steps between looks at the loss
_MAX_CHUNK_BYTES = 2**26  # of batches, which are drawn a chunk at a time
_MAX_INIT_ROWS = 2**14  # rows that a data-dependent initialisation sees


class History(NamedTuple):
    """What happened during a fit.

    Attributes:
        loss: `[num_steps]`, mean negative log-likelihood of each batch, in nats.
        train_seconds: wall time of the steps, drawing of batches included; start-up and callbacks
            are not.
        compile_seconds: start-up: by how much the first chunk of steps, initialisation included,
            took longer than the others; mostly tracing and compiling. Unknown, and counted as
            training, if there was one chunk only.
    """

    loss: np.ndarray
    train_seconds: float
    compile_seconds: float


class Fit(NamedTuple):
    """Result of `fit`.

    Attributes:
        params: the fitted parameters; their moving average if one was asked for. For a
            `StatefulFlow`, the pair `(params, state)`.
        history: what happened.
    """

    params: Params
    history: History


def fit(
    flow: Flow | StatefulFlow,
    data: Float[Array, "N D"] | DataFn,
    *,
    key: jax.Array,
    num_steps: int = 5_000,
    batch_size: int = 128,
    context: Float[Array, "N C"] | None = None,
    optimizer: optax.GradientTransformation | None = None,
    ema_decay: float | None = None,
    params: Params | None = None,
    callback: Callable[[int, Params], None] | None = None,
    progress: bool | None = None,
) -> Fit:
    """Fits a flow by maximum likelihood.

    Minimises the mean of `-flow.log_prob(params, x)` over batches. Chunks of up to 250 steps run
    in one compiled `lax.scan`; a second fit of the same flow, sizes and optimizer reuses it,
    whatever its data. Deterministic in `key` on one device.

    Data are not standardised here: build the flow with `standardize=True` for that, so that its
    densities stay in the units of the data.

    Args:
        flow: the flow. One with state is trained in training mode; its parameters, here and in
            the result, are pairs `(params, state)`, as its `evaluation` takes them.
        data: `[N, D]`, every row once per epoch, in an order drawn per epoch; or a function
            `key -> [batch_size, D]` that draws a fresh batch (`key -> (x, context)` for a
            conditional flow) and that JAX can trace.
        key: random key, of initialisation, the order of the data and fresh draws.
        num_steps: number of gradient steps.
        batch_size: rows of a batch of an array. A function draws as many as it likes.
        context: `[N, C]`, the context of each row where `data` is an array.
        optimizer: any optax optimizer; by default Adam with a learning rate from 1e-3 to zero by
            a cosine, gradients clipped to a global norm of 0.5. It is compiled in: make your own
            once, not per fit.
        ema_decay: if given, the result is the exponential moving average of the parameters, with
            this decay per step, corrected for its start at zero.
        params: parameters to start from, instead of `flow.init`.
        callback: called as `callback(steps_done, params)` before the first and after each chunk.
        progress: whether to show a tqdm bar with the loss (needs tqdm); None shows it on a
            terminal only.

    Returns:
        The parameters and the history.

    Raises:
        TypeError: `data` or `context` is not floating.
        ValueError: `data` has another rank than 2, values that are not finite, or fewer rows than
            a batch; `context` has other rows, or is given beside a function; a count is not a
            positive integer.
        FloatingPointError: the loss is no longer finite.

    Example:
        >>> import distrax_flows as dxf, jax
        >>> flow = dxf.transform(lambda: dxf.flows.realnvp(2, num_layers=2, hidden_sizes=(8,)))
        >>> data = 3 + jax.random.normal(jax.random.key(0), (1000, 2))
        >>> fitted = dxf.fit(flow, data, key=jax.random.key(1), num_steps=500)
        >>> bool(fitted.history.loss[-1] < fitted.history.loss[0])
        True
    """
    num_steps = check_positive_int("num_steps", num_steps)
    batch_size = check_positive_int("batch_size", batch_size)
    if ema_decay is not None and not 0 < ema_decay < 1:
        raise ValueError(f"`ema_decay` must be between 0 and 1; got {ema_decay=}.")
    clock = time.perf_counter()
    init_key, data_key = jax.random.split(key)
    num_rows = _MAX_INIT_ROWS
    if not callable(data):
        batches = array_batches(data, context, data_key, batch_size)
        num_rows = min(num_rows, len(data))
    elif context is None:
        batches = function_batches(data, data_key)
    else:
        raise ValueError("`context` must be None where `data` is a function: let it return both.")
    optimizer = optimizer or _default_optimizer(num_steps)
    chunk = _chunk_size(num_steps, batches.step_bytes)
    if params is None:
        rows = [array.reshape(-1, array.shape[-1])[:num_rows] for array in batches.take(0, chunk)]
        params = flow.init(init_key, *rows)
    state = _start(flow, params, optimizer, ema_decay)
    losses, seconds = [], []
    if callback is not None:
        callback(0, _result(flow, state, ema_decay))
    with _progress_bar(num_steps, progress) as bar:
        for start in range(0, num_steps, chunk):
            batch = batches.take(start, min(chunk, num_steps - start))
            state, loss = _train(flow, optimizer, ema_decay, state, batch)
            losses.append(np.asarray(loss))
            seconds.append(time.perf_counter() - clock)
            _check_loss(losses[-1], start)
            bar.update(len(losses[-1]))
            bar.set_postfix(loss=f"{losses[-1].mean():.4f}")
            if callback is not None:
                callback(start + len(losses[-1]), _result(flow, state, ema_decay))
            clock = time.perf_counter()
    return Fit(_result(flow, state, ema_decay), _history(losses, np.array(seconds)))


class _State(NamedTuple):
    params: Params
    flow: State  # of a StatefulFlow, else None
    optimizer: Any
    average: Any


def _start(flow, params, optimizer, ema_decay) -> _State:
    flow_state = None
    if isinstance(flow, StatefulFlow):
        params, flow_state = params
    average = None if ema_decay is None else optax.ema(ema_decay).init(params)
    return _State(params, flow_state, optimizer.init(params), average)


def _loss(params, flow_state, flow, batch):
    if isinstance(flow, StatefulFlow):
        log_prob, flow_state = flow.log_prob(params, flow_state, *batch, is_training=True)
    else:
        log_prob = flow.log_prob(params, *batch)
    return -jnp.mean(log_prob), flow_state


@functools.partial(jax.jit, static_argnames=("flow", "optimizer", "ema_decay"))
def _train(flow, optimizer, ema_decay, state, batches):
    """One step per batch; returns the state and the losses."""

    def step(state: _State, batch):
        (loss, flow_state), grads = jax.value_and_grad(_loss, has_aux=True)(
            state.params, state.flow, flow, batch
        )
        updates, optimizer_state = optimizer.update(grads, state.optimizer, state.params)
        params, average = optax.apply_updates(state.params, updates), state.average
        if ema_decay is not None:
            _, average = optax.ema(ema_decay).update(params, average)
        return _State(params, flow_state, optimizer_state, average), loss

    return jax.lax.scan(step, state, batches)


def _result(flow, state: _State, ema_decay: float | None) -> Params:
    params = state.params
    if ema_decay is not None and state.average.count > 0:
        params = optax.tree.bias_correction(state.average.ema, ema_decay, state.average.count)
    return (params, state.flow) if isinstance(flow, StatefulFlow) else params


# Cached, as the optimizer is static in `_train`: a new one would compile anew.
@functools.lru_cache(maxsize=64)
def _default_optimizer(num_steps: int) -> optax.GradientTransformation:
    schedule = optax.cosine_decay_schedule(1e-3, num_steps)
    return optax.chain(optax.clip_by_global_norm(0.5), optax.adam(schedule))


def _chunk_size(num_steps: int, step_bytes: int) -> int:
    """Steps per chunk: few enough for memory, and a divisor if a fair one exists.

    A last chunk of another length would be compiled anew.
    """
    most = min(num_steps, _MAX_CHUNK, max(1, _MAX_CHUNK_BYTES // step_bytes))
    divisor = next(size for size in range(most, 0, -1) if num_steps % size == 0)
    return divisor if 4 * divisor >= most else most


def _check_loss(loss: np.ndarray, start: int) -> None:
    bad = np.flatnonzero(~np.isfinite(loss))
    if bad.size:
        raise FloatingPointError(
            f"The loss is {loss[bad[0]]} at step {start + bad[0]}. Lower the learning rate, or "
            "check the data for values far outside the range of the rest."
        )


def _history(losses: list[np.ndarray], seconds: np.ndarray) -> History:
    sizes = np.array([len(loss) for loss in losses])
    # The first chunk compiled one size, the last perhaps another: neither tells the usual pace.
    full = np.flatnonzero(sizes == sizes[0])[1:]
    compile_seconds = 0.0
    if full.size:
        compile_seconds = max(0.0, float(seconds[0] - np.median(seconds[full])))
    train_seconds = float(seconds.sum()) - compile_seconds
    return History(np.concatenate(losses), train_seconds, compile_seconds)


class _NoBar:
    def update(self, n):
        pass

    def set_postfix(self, **values):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


def _progress_bar(total: int, progress: bool | None):
    if progress is False:
        return _NoBar()
    try:
        import tqdm
    except ImportError:
        if progress:
            raise ImportError(
                "`progress=True` needs tqdm: `pip install tqdm`, or `distrax_flows[experiments]`."
            ) from None
        return _NoBar()
    # leave=None: under a bar of the caller's, this one goes when done.
    disable = None if progress is None else False
    return tqdm.tqdm(total=total, unit="step", leave=None, disable=disable)
