"""Training progress and the training loop: chunks of steps, evaluations between them."""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from distrax_flows._core.checks import check_positive_int
from distrax_flows.functional.flow import Params, State
from distrax_flows.training._batches import Batches, step_keys
from distrax_flows.training._placement import here
from distrax_flows.training._steps import Steps, TrainState
from distrax_flows.training.objectives import explain
from distrax_flows.training.results import Fit, History, NonFiniteError

__all__ = ["Loop", "Progress", "chunk_size"]

_MAX_CHUNK = 250  # steps between checks of the loss
_MAX_CHUNK_BYTES = 2**26  # for the batches of a chunk, which are in memory together
_MAX_SKIPPED = 100  # steps in a row


class Best(NamedTuple):
    """The best parameters by validation loss so far, and the number of evaluations since."""

    params: Params
    loss: jax.Array
    misses: jax.Array


class Records(NamedTuple):
    """Records that become the history; preallocated for all steps, filled with NaN."""

    loss: np.ndarray
    grad_norm: np.ndarray
    seconds: np.ndarray
    validation_loss: np.ndarray
    extras: dict[str, np.ndarray]


class Progress(NamedTuple):
    """Training progress: everything needed to continue, as a pytree of arrays."""

    step: np.ndarray
    state: TrainState
    best: Best | None
    records: Records


def chunk_size(num_steps: int, eval_every: int | None, batches: Batches) -> int:
    """Return the number of steps compiled as one: within memory, and a divisor if practical.

    Without a divisor, a shorter last chunk would be compiled separately.
    """
    if eval_every is not None:
        check_positive_int("eval_every", eval_every)
    total = eval_every or num_steps
    most = min(total, num_steps, _MAX_CHUNK, max(1, _MAX_CHUNK_BYTES // batches.step_bytes))
    divisor = next(size for size in range(most, 0, -1) if total % size == 0)
    return divisor if 4 * divisor >= most else most


@dataclasses.dataclass(frozen=True)
class Loop:
    """The training loop.

    Chunks and evaluations have fixed bounds, whatever happens in between: a resumed fit runs
    exactly the compiled chunks of an uninterrupted one.

    Attributes:
        steps: the training step.
        batches: source of the batches.
        num_steps: number of steps.
        keys: random key from which each step gets its own, `()`; or `(E,)`, for several fits at
            once.
        eval_every: steps between evaluations; None means after each chunk.
        validate: maps parameters to a validation loss; or None.
        patience: number of evaluations in a row without improvement that ends the fit; or None.
    """

    steps: Steps
    batches: Batches
    num_steps: int
    keys: jax.Array
    eval_every: int | None
    validate: Callable[[Params], jax.Array] | None
    patience: int | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the fits: `()`, or `(E,)` for several at once."""
        return self.keys.shape

    @property
    def chunk(self) -> int:
        """Number of steps compiled as one."""
        return chunk_size(self.num_steps, self.eval_every, self.batches)

    @property
    def period(self) -> int:
        """Number of steps between evaluations."""
        return self.eval_every or self.chunk

    def start(self, params: Params, flow_state: State, memory: Any = None) -> Progress:
        """Return the progress before the first step."""
        state = self.steps.start(params, flow_state, memory, self.shape)
        best = None
        if self.validate is not None:
            best = self.steps.placement.state(
                Best(
                    self.steps.result(state),
                    jnp.full(self.shape, jnp.inf),
                    jnp.zeros(self.shape, jnp.int32),
                )
            )
        axis = len(self.shape)

        def one_step(leaf):
            shape = (*leaf.shape[:axis], 1, *leaf.shape[axis:])
            return jax.ShapeDtypeStruct(shape, leaf.dtype)

        batches = jax.tree.map(one_step, self.batches.spec)
        extras = self.steps.records(state, batches, step_keys(self.keys, jnp.arange(1))).extras
        records = self.room(self.num_steps, tuple(extras))
        return Progress(np.zeros((), np.int32), state, best, records)

    def _inputs(self, start: int, n: int) -> tuple[Any, jax.Array]:
        """Return batches and keys of the steps `start .. start + n - 1`."""
        batches = self.batches.take(start, n)
        batches = self.steps.placement.batches(batches, len(self.shape) + 1)
        return batches, step_keys(self.keys, start + jnp.arange(n))

    def room(self, num_steps: int, extras: Iterable[str]) -> Records:
        """Return empty records for a number of steps."""
        steps = np.full((*self.shape, num_steps), np.nan, np.float32)
        evaluations = 0 if self.validate is None else -(-num_steps // self.period)
        return Records(
            loss=steps,
            grad_norm=steps.copy(),
            seconds=np.full(num_steps, np.nan),
            validation_loss=np.full((*self.shape, evaluations), np.nan, np.float32),
            extras={name: steps.copy() for name in extras},
        )

    def advance(self, progress: Progress, started: float) -> Progress:
        """Return the progress after the next chunk of steps, timed from `started`.

        Raises:
            NonFiniteError: a loss or gradient is non-finite, and such steps may not be skipped; or
                too many were skipped.
        """
        start = int(progress.step)
        n = min(self.chunk, self.period - start % self.period, self.num_steps - start)
        batches, keys = self._inputs(start, n)
        state, new = self.steps.take(progress.state, batches, keys)
        records = progress.records
        records.loss[..., start : start + n] = new.loss
        records.grad_norm[..., start : start + n] = new.grad_norm
        for name, extra in new.extras.items():
            records.extras[name][..., start : start + n] = extra
        records.seconds[start : start + n] = (time.perf_counter() - started) / n
        done = progress._replace(step=np.asarray(start + n, np.int32), state=state)
        self._check_finite(progress, done, batches, keys)
        return done

    def is_due(self, progress: Progress) -> bool:
        """Return whether an evaluation is due."""
        return int(progress.step) % self.period == 0 or int(progress.step) == self.num_steps

    def evaluate(self, progress: Progress) -> Progress:
        """Return the progress after an evaluation, if one is due and there are validation data."""
        best = progress.best
        if best is None or self.validate is None or not self.is_due(progress):
            return progress
        params = self.steps.result(progress.state)
        loss = self.validate(params)
        progress.records.validation_loss[..., self._evaluations(progress) - 1] = loss
        if not self.steps.skip and not np.isfinite(loss).all():
            raise NonFiniteError(
                f"The validation loss is {loss} after step {progress.step}: a row has a density of "
                "zero, or the flow a value that is not finite. Lower the learning rate, or give "
                "the flow a base with heavier tails.",
                self.fit(progress, 0),
            )
        # Among several fits, one that is over keeps its best while the others continue.
        better = (loss < best.loss) & ~self._has_lost_patience(best)
        best = Best(
            params=jax.tree.map(functools.partial(_where, better), params, best.params),
            loss=jnp.where(better, loss, best.loss),
            misses=jnp.where(better, 0, best.misses + 1),
        )
        return progress._replace(best=best)

    def is_over(self, progress: Progress) -> bool:
        """Return True once training is finished."""
        return bool(progress.step >= self.num_steps) or self._stopped_early(progress)

    def fit(self, progress: Progress, first: int) -> Fit:
        """Return the result for the user; `first` is the step at which this process began."""
        step = int(progress.step)
        seconds, compile_seconds = self._without_startup(progress, first)
        ends = np.minimum(self.period * (1 + np.arange(self._evaluations(progress))), step)
        history = History(
            loss=progress.records.loss[..., :step],
            grad_norm=progress.records.grad_norm[..., :step],
            seconds=seconds[:step],
            evaluated_steps=ends,
            validation_loss=progress.records.validation_loss[..., : len(ends)],
            compile_seconds=compile_seconds,
            stopped_early=self._stopped_early(progress),
            extras={name: values[..., :step] for name, values in progress.records.extras.items()},
        )
        result = progress.best.params if progress.best else self.steps.result(progress.state)
        return Fit(result, history)

    def to_keep(self, progress: Progress, first: int) -> Progress:
        """Return the progress for a checkpoint: without the start-up time of this process."""
        seconds, _ = self._without_startup(progress, first)
        return progress._replace(records=progress.records._replace(seconds=seconds))

    def _without_startup(self, progress: Progress, first: int) -> tuple[np.ndarray, float]:
        """Return the seconds of each step, and how much longer the chunk from step `first` took.

        That chunk was compiled, and so perhaps was a shorter last one: neither shows the usual
        pace.
        """
        seconds = progress.records.seconds.copy()
        size = self.chunk
        usual = seconds[first + size : first + (int(progress.step) - first) // size * size]
        if not usual.size:
            return seconds, float("nan")
        startup = max(0.0, float(seconds[first : first + size].mean() - np.median(usual))) * size
        seconds[first : first + size] -= startup / size
        return seconds, startup

    def _evaluations(self, progress: Progress) -> int:
        if self.is_due(progress):
            return -(-int(progress.step) // self.period)
        return int(progress.step) // self.period

    def _stopped_early(self, progress: Progress) -> bool:
        return progress.best is not None and bool(self._has_lost_patience(progress.best).all())

    def _has_lost_patience(self, best: Best) -> jax.Array:
        return best.misses >= (np.inf if self.patience is None else self.patience)

    def _check_finite(
        self, before: Progress, after: Progress, batches: Any, keys: jax.Array
    ) -> None:
        """Raise if a step between the two was non-finite and may not be skipped."""
        start, stop = int(before.step), int(after.step)
        loss, norm = (record[..., :stop] for record in after.records[:2])
        bad = ~(np.isfinite(loss) & np.isfinite(norm))
        if self.steps.skip:
            lost = bad[..., -_MAX_SKIPPED:].all(axis=-1)
            if stop < _MAX_SKIPPED or not lost.any():
                return
            fit, step = tuple(np.argwhere(lost)[0].tolist()), stop - start - 1
        else:
            if not bad[..., start:].any():
                return
            *fit, step = min(np.argwhere(bad[..., start:]).tolist(), key=lambda at: at[-1])
        raise NonFiniteError(
            self._explanation(
                after,
                jax.tree.map(lambda leaf: leaf[*fit, step], (batches, keys)),
                tuple(fit),
                start,
                step,
            ),
            self.fit(before, 0),
        )

    def _explanation(
        self, after: Progress, inputs: Any, fit: tuple[int, ...], start: int, step: int
    ) -> str:
        """Explain in sentences why a step of a chunk that began at `start` was non-finite."""
        batch, key = inputs
        state = after.state
        params, flow_state, memory = jax.tree.map(
            lambda leaf: leaf[*fit], (state.params, state.flow, state.memory)
        )
        batch, params, flow_state, memory = here((batch, params, flow_state, memory))
        loss, norm = (record[*fit, start + step] for record in after.records[:2])
        steps = self.steps
        sentences = [
            f"The loss is {loss} and its gradient has norm {norm} at step {start + step}, "
            f"{self.batches.name(start + step)}{f', of fit {fit[0]}' if fit else ''}.",
            explain(
                steps.objective,
                steps.flow,
                steps.variables(params, flow_state),
                steps.with_memory(batch, memory),
                key,
            ),
            f"The last {_MAX_SKIPPED} steps were all skipped."
            if steps.skip
            else '`non_finite="skip"` skips such steps.',
            f"The error's `fit` has the parameters after {start} steps.",
        ]
        return " ".join(filter(None, sentences))


def _where(condition: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    """Return `jnp.where` for a condition on leading axes."""
    shape = condition.shape + (1,) * (new.ndim - condition.ndim)
    return jnp.where(condition.reshape(shape), new, old)
