"""Where a fit stands, and how it comes further: chunks of steps, and evaluations between them."""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from distrax_flows._checks import check_positive_int
from distrax_flows.flow import Params, State
from distrax_flows.training._batches import Batches
from distrax_flows.training._placement import here
from distrax_flows.training._steps import Steps, TrainState
from distrax_flows.training.results import Fit, History, NonFiniteError

__all__ = ["Loop", "Progress", "chunk_size"]

_MAX_CHUNK = 250  # steps between looks at the loss
_MAX_CHUNK_BYTES = 2**26  # of batches, which are drawn a chunk at a time
_MAX_SKIPPED = 100  # steps in a row


class Best(NamedTuple):
    """The parameters of the best validation loss so far, and how many have followed it."""

    params: Params
    loss: jax.Array
    misses: jax.Array


class Records(NamedTuple):
    """What becomes the history; room for all steps, filled with NaN."""

    loss: np.ndarray
    grad_norm: np.ndarray
    seconds: np.ndarray
    validation_loss: np.ndarray


class Progress(NamedTuple):
    """Where a fit stands: all that is needed to go on with it, as a pytree of arrays."""

    step: np.ndarray
    state: TrainState
    best: Best | None
    records: Records


def chunk_size(num_steps: int, eval_every: int | None, batches: Batches) -> int:
    """Steps compiled as one: few enough for memory, and a divisor if a fair one exists.

    A last chunk of another length would be compiled anew.
    """
    if eval_every is not None:
        check_positive_int("eval_every", eval_every)
    total = eval_every or num_steps
    most = min(total, num_steps, _MAX_CHUNK, max(1, _MAX_CHUNK_BYTES // batches.step_bytes))
    divisor = next(size for size in range(most, 0, -1) if total % size == 0)
    return divisor if 4 * divisor >= most else most


@dataclasses.dataclass(frozen=True)
class Loop:
    """How a fit comes from its start to its end.

    Chunks of steps and evaluations lie at fixed steps, whatever happens in between: an interrupted
    fit runs the very same compiled chunks as one that was not.

    Attributes:
        steps: how steps are made.
        batches: what of.
        num_steps: how many.
        shape: `()`, or `(E,)`, the axis of several fits at once.
        eval_every: steps between evaluations; None means after each chunk.
        validate: from parameters to a validation loss; or None.
        patience: how many evaluations in a row may bring no improvement; or None.
    """

    steps: Steps
    batches: Batches
    num_steps: int
    shape: tuple[int, ...]
    eval_every: int | None
    validate: Callable[[Params], jax.Array] | None
    patience: int | None

    @property
    def chunk(self) -> int:
        """Steps compiled as one."""
        return chunk_size(self.num_steps, self.eval_every, self.batches)

    @property
    def period(self) -> int:
        """Steps between evaluations."""
        return self.eval_every or self.chunk

    def start(self, params: Params, flow_state: State) -> Progress:
        """The progress before the first step."""
        state = self.steps.start(params, flow_state, self.shape)
        best = None
        if self.validate is not None:
            best = self.steps.placement.state(
                Best(
                    self.steps.result(state),
                    jnp.full(self.shape, jnp.inf),
                    jnp.zeros(self.shape, jnp.int32),
                )
            )
        return Progress(np.zeros((), np.int32), state, best, self.room(self.num_steps))

    def room(self, num_steps: int) -> Records:
        """Records of that many steps, empty."""
        steps = np.full((*self.shape, num_steps), np.nan, np.float32)
        evaluations = 0 if self.validate is None else -(-num_steps // self.period)
        return Records(
            loss=steps,
            grad_norm=steps.copy(),
            seconds=np.full(num_steps, np.nan),
            validation_loss=np.full((*self.shape, evaluations), np.nan, np.float32),
        )

    def advance(self, progress: Progress, started: float) -> Progress:
        """After the next chunk of steps, which counts as begun at `started`.

        Raises:
            NonFiniteError: a loss or gradient is not finite, and steps are not to be left out; or
                too many of them were.
        """
        start = int(progress.step)
        n = min(self.chunk, self.period - start % self.period, self.num_steps - start)
        batches = self.steps.placement.batches(self.batches.take(start, n), len(self.shape) + 1)
        state, loss, norm = self.steps.take(progress.state, batches)
        records = progress.records
        records.loss[..., start : start + n] = loss
        records.grad_norm[..., start : start + n] = norm
        records.seconds[start : start + n] = (time.perf_counter() - started) / n
        done = progress._replace(step=np.asarray(start + n, np.int32), state=state)
        self._check_finite(progress, done, batches)
        return done

    def is_due(self, progress: Progress) -> bool:
        """Whether an evaluation is."""
        return int(progress.step) % self.period == 0 or int(progress.step) == self.num_steps

    def evaluate(self, progress: Progress) -> Progress:
        """After an evaluation, if one is due and there is anything to evaluate."""
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
        # A fit that is over stays as it is while others beside it go on.
        better = (loss < best.loss) & ~self._has_lost_patience(best)
        best = Best(
            params=jax.tree.map(functools.partial(_where, better), params, best.params),
            loss=jnp.where(better, loss, best.loss),
            misses=jnp.where(better, 0, best.misses + 1),
        )
        return progress._replace(best=best)

    def is_over(self, progress: Progress) -> bool:
        """Whether no step is to follow."""
        return bool(progress.step >= self.num_steps) or self._stopped_early(progress)

    def fit(self, progress: Progress, first: int) -> Fit:
        """What a user gets; `first` is the step at which this process began."""
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
        )
        result = progress.best.params if progress.best else self.steps.result(progress.state)
        return Fit(result, history)

    def to_keep(self, progress: Progress, first: int) -> Progress:
        """The progress as a checkpoint holds it: the start-up of this process is no step's."""
        seconds, _ = self._without_startup(progress, first)
        return progress._replace(records=progress.records._replace(seconds=seconds))

    def _without_startup(self, progress: Progress, first: int) -> tuple[np.ndarray, float]:
        """Seconds of each step, and by how much the chunk from step `first` took longer.

        That one compiled, and the last one perhaps another length: neither tells the usual pace.
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

    def _check_finite(self, before: Progress, after: Progress, batches: Any) -> None:
        """Raises if a step from one progress to the other was left out, and may not be."""
        start, stop = int(before.step), int(after.step)
        loss, norm = (record[..., :stop] for record in after.records[:2])
        bad = ~(np.isfinite(loss) & np.isfinite(norm))
        if self.steps.skip:
            lost = bad[..., -_MAX_SKIPPED:].all(axis=-1)
            if stop < _MAX_SKIPPED or not lost.any():
                return
            *fit, step = *np.argwhere(lost)[0], stop - start - 1
        else:
            if not bad[..., start:].any():
                return
            *fit, step = min(map(tuple, np.argwhere(bad[..., start:])), key=lambda at: at[-1])
        batch = jax.tree.map(lambda leaf: leaf[*fit, step], batches)
        params, flow_state = jax.tree.map(lambda leaf: leaf[*fit], after.state[:2])
        batch, params, flow_state = here((batch, params, flow_state))
        loss, norm = loss[*fit, start + step], norm[*fit, start + step]
        lines = [
            f"The loss is {loss} and its gradient has norm {norm} at step {start + step}, "
            f"{self.batches.name(start + step)}{f', of fit {fit[0]}' if fit else ''}.",
            self.steps.objective.explain(params, flow_state, batch),
            f"The last {_MAX_SKIPPED} steps were left out, one after the other."
            if self.steps.skip
            else '`non_finite="skip"` leaves such steps out.',
            f"The error's `fit` has the parameters after {start} steps.",
        ]
        raise NonFiniteError(" ".join(lines), self.fit(before, 0))


def _where(condition: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    """`jnp.where` for a condition on leading axes."""
    shape = condition.shape + (1,) * (new.ndim - condition.ndim)
    return jnp.where(condition.reshape(shape), new, old)
