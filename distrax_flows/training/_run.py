"""A fit from start to end, with its checkpoints, its bar, and its interruptions."""

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypedDict

import jax
import numpy as np
import optax

from distrax_flows._checks import check_choice
from distrax_flows._versions import source_of
from distrax_flows.flow import Params, State
from distrax_flows.training._batches import Batches
from distrax_flows.training._checkpoints import CheckpointError, Checkpoints
from distrax_flows.training._loop import Loop, Progress
from distrax_flows.training._placement import Placement
from distrax_flows.training._progress_bar import progress_bar
from distrax_flows.training._settings import settings_of
from distrax_flows.training._steps import Objective, Steps
from distrax_flows.training.optimizers import cosine_adam
from distrax_flows.training.results import Fit, FitInterrupted, NonFiniteError

__all__ = ["TrainingOptions", "check_options", "run"]


class TrainingOptions(TypedDict, total=False):
    """Keyword arguments that all fits share; the package's docstring describes them."""

    optimizer: optax.GradientTransformation | None
    ema_decay: float | None
    eval_every: int | None
    non_finite: str
    checkpoint_dir: str | os.PathLike | None
    resume: bool | int
    checkpoint_seconds: float
    max_to_keep: int
    on_save_error: str
    callback: Callable[[int, Params], None] | None
    progress: bool | None


def check_options(options: Mapping[str, Any]) -> None:
    """Raises for names that are none of `TrainingOptions`."""
    unknown = sorted(options.keys() - TrainingOptions.__annotations__.keys())
    if unknown:
        raise TypeError(
            f"Keyword arguments must be of this function or of `TrainingOptions`; got {unknown}. "
            f"The latter are {sorted(TrainingOptions.__annotations__)}."
        )


def run(
    objective: Objective,
    batches: Batches,
    params: Params,
    flow_state: State,
    *,
    started: float,
    num_steps: int,
    shape: tuple[int, ...],
    settings: Mapping[str, Any],
    placement: Placement,
    validate: Callable[[Params], jax.Array] | None = None,
    patience: int | None = None,
    optimizer: optax.GradientTransformation | None = None,
    ema_decay: float | None = None,
    eval_every: int | None = None,
    non_finite: str = "raise",
    checkpoint_dir: str | os.PathLike | None = None,
    resume: bool | int = False,
    checkpoint_seconds: float = 60.0,
    max_to_keep: int = 3,
    on_save_error: str = "raise",
    callback: Callable[[int, Params], None] | None = None,
    progress: bool | None = None,
) -> Fit:
    """Minimises an objective. The options from `optimizer` on are `TrainingOptions`.

    `params` and `flow_state` are where to start, `started` is when all this began, by
    `time.perf_counter`, and `shape` is `()`, or `(E,)` for several fits at once. `settings`, which
    become JSON, are what a fit that goes on with this one must have in common with it. `validate`
    and `patience` are as in `Loop`, `placement` as in `Steps`.
    """
    if ema_decay is not None and not 0 < ema_decay < 1:
        raise ValueError(f"`ema_decay` must be between 0 and 1; got {ema_decay=}.")
    check_choice("non_finite", non_finite, ("raise", "skip"))
    if checkpoint_dir is None and resume is not False:
        raise ValueError("`resume` needs a `checkpoint_dir` to go on from; got none.")
    optimizer = optimizer or cosine_adam(num_steps)
    steps = Steps(objective, optimizer, ema_decay, non_finite == "skip", placement)
    loop = Loop(steps, batches, num_steps, shape, eval_every, validate, patience)
    now = loop.start(params, flow_state)
    with contextlib.ExitStack() as stack:
        keeper = None
        if checkpoint_dir is not None:
            keeper = Checkpoints(
                Path(checkpoint_dir),
                _settings(loop, now, settings),
                seconds=checkpoint_seconds,
                max_to_keep=max_to_keep,
                on_error=on_save_error,
            )
            now = _resumed(loop, stack.enter_context(keeper), now, resume)
        if jax.process_index() > 0:
            progress = False
        bar = stack.enter_context(progress_bar(num_steps, int(now.step), progress))
        first = int(now.step)

        def content(now: Progress) -> Callable[[], Progress]:
            return lambda: loop.to_keep(now, first)

        try:
            if callback is not None:
                callback(first, steps.result(now.state))
            while not loop.is_over(now):
                done = int(now.step)
                # One assignment: an interrupt leaves the progress before the chunk, or after it.
                now = loop.evaluate(loop.advance(now, started))
                if keeper is not None:
                    keeper.save(int(now.step), content(now))
                _show(bar, now, done)
                if callback is not None and loop.is_due(now):
                    callback(int(now.step), steps.result(now.state))
                started = time.perf_counter()
            if keeper is not None:
                keeper.save(int(now.step), content(now), at_once=True)
                keeper.finish()
        except CheckpointError as error:
            error.fit = loop.fit(now, first)
            raise
        except (Exception, KeyboardInterrupt) as error:
            unsaved = _save_after(error, keeper, int(now.step), content(now))
            if isinstance(error, KeyboardInterrupt):
                message = f"Interrupted after {now.step} of {num_steps} steps."
                raise FitInterrupted(message + unsaved, loop.fit(now, first)) from None
            if unsaved:
                error.add_note(unsaved)
            raise
    return loop.fit(now, first)


def _settings(loop: Loop, start: Progress, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What goes into a checkpoint beside the progress; see `settings_of`."""
    decay = loop.steps.ema_decay
    own = {
        "ema_decay": None if decay is None else float(decay),
        "eval_every": loop.period,
        "chunk": loop.chunk,
    }
    make = loop.steps.objective.flow.builder[1]
    return settings_of(
        {"state": start.state, "best": start.best},
        fixed={**settings, **own},
        free={"num_steps": loop.num_steps, "flow": source_of(make)},
    )


def _save_after(
    error: BaseException, keeper: Checkpoints | None, step: int, content: Callable[[], Any]
) -> str:
    """Saves what an error ended; returns why that was not possible, if so."""
    if keeper is None:
        return ""
    # Of several processes, only a lost number ends all of them together.
    if jax.process_count() > 1 and not isinstance(error, NonFiniteError):
        keeper.abandon()
        return ""
    try:
        keeper.save(step, content, at_once=True)
        keeper.finish()
    except CheckpointError as failure:
        return f" {failure}"
    return ""


def _resumed(loop: Loop, keeper: Checkpoints, start: Progress, resume: bool | int) -> Progress:
    """The progress to go on from: `start`, or that of a checkpoint."""
    steps = keeper.steps()
    if resume is False:
        if steps:
            raise ValueError(
                f"`checkpoint_dir` must hold no checkpoints; got one with steps {steps}. "
                "`resume=True` goes on from the last; or choose another folder."
            )
        return start
    if resume is True:
        if not steps:
            return start
        resume = steps[-1]
    elif resume not in steps:
        raise ValueError(
            f"`resume` must be True or one of the steps {steps}, of which there are checkpoints; "
            f"got {resume=}."
        )
    saved = keeper.settings_of(resume)
    like = start._replace(records=loop.room(saved["free"]["num_steps"]))
    progress = keeper.restore(resume, like)
    room = loop.room(max(loop.num_steps, int(progress.step)))
    for old, new in zip(progress.records, room, strict=True):
        size = min(old.shape[-1], new.shape[-1])
        new[..., :size] = old[..., :size]
    return progress._replace(records=room)


def _show(bar: Any, now: Progress, done: int) -> None:
    loss = now.records.loss[..., done : int(now.step)]
    finite = loss[np.isfinite(loss)]
    bar.update(loss.shape[-1])
    skipped = {"skipped": loss.size - finite.size} if finite.size < loss.size else {}
    bar.set_postfix(loss=f"{finite.mean():.4f}" if finite.size else "nan", **skipped)
