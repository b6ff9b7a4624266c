"""The run of a fit: options, checkpoints, progress bar, interruptions."""

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import haiku as hk
import jax
import numpy as np
import optax

from distrax_flows._core.checks import check_choice
from distrax_flows._core.options import Option, resolve
from distrax_flows._core.versions import source_of
from distrax_flows.functional.flow import Flow, Params, StatefulFlow
from distrax_flows.modules import is_fixed
from distrax_flows.training._batches import Batches
from distrax_flows.training._checkpoints import CheckpointError, Checkpoints
from distrax_flows.training._loop import Loop, Progress
from distrax_flows.training._placement import Placement
from distrax_flows.training._progress_bar import progress_bar
from distrax_flows.training._settings import settings_of
from distrax_flows.training._steps import Steps
from distrax_flows.training._trainable import TrainableFn, trained_names
from distrax_flows.training.objectives import Objective
from distrax_flows.training.optimizers import cosine_adam
from distrax_flows.training.results import Fit, FitInterrupted, NonFiniteError

__all__ = ["TrainingOptions", "run"]


class TrainingOptions(TypedDict, total=False):
    """Keyword arguments that `fit` and `fit_to_density` share."""

    optimizer: Annotated[
        optax.GradientTransformation | None,
        Option(
            None,
            "any optax optimizer; `training.cosine_adam(num_steps)` if None. It is compiled in: "
            "create your own once, not per fit. One that uses the loss "
            "(`optax.contrib.reduce_on_plateau`) gets it. It sees only the trained parameters.",
        ),
    ]
    trainable: Annotated[
        TrainableFn | Mapping[str, Mapping[str, bool]] | None,
        Option(
            None,
            "which parameters are trained: a function `(module_name, name, value) -> bool`, or a "
            "dictionary of booleans with the structure of the parameters; all if None. The others "
            "stay unchanged, to the bit. So do those of `modules.is_fixed`, in any case.",
        ),
    ]
    ema_decay: Annotated[
        float | None,
        Option(
            None,
            "if given, the exponential moving average of the parameters, with this decay per step "
            "and bias-corrected, is validated and returned.",
        ),
    ]
    eval_every: Annotated[
        int | None,
        Option(
            None,
            "steps between evaluations, that is, validation and the callback. If None, 250, or "
            "fewer if batches are large or the number of steps requires it.",
        ),
    ]
    non_finite: Annotated[
        Literal["raise", "skip"],
        Option(
            "raise",
            'what to do if a loss or a gradient is NaN or infinite. "raise": make no update with '
            "it, and raise a `NonFiniteError` that names the step, the rows, and the first layer "
            'with such values. "skip": skip the step and count it (`history.num_skipped`); if at '
            "the end of a chunk of steps the last hundred were skipped, raise all the same.",
        ),
    ]
    checkpoint_dir: Annotated[
        str | os.PathLike | None,
        Option(
            None,
            "a folder for checkpoints, by Orbax. They hold everything needed to continue: "
            "parameters, optimizer, averages, state, step, best parameters, and history. Written "
            "during the fit, at its end, after Ctrl-C, and after an error.",
        ),
    ]
    resume: Annotated[
        bool | int,
        Option(
            False,
            "whether to continue from the last checkpoint in that folder, if there is one; or the "
            "step of the checkpoint to continue from (later ones are then deleted). The fit ends "
            "with the bits of an uninterrupted one, on the same machine and with the same "
            "versions. All arguments must be those of the first call; data are not compared. The "
            "number of steps may differ if `eval_every` is given; `eval_every` should divide the "
            "first number, and the optimizer should not depend on the number of steps.",
        ),
    ]
    checkpoint_seconds: Annotated[
        float,
        Option(60.0, "least time between checkpoints, in seconds; 0 writes one per chunk."),
    ]
    max_to_keep: Annotated[int, Option(3, "number of checkpoints kept; older ones are deleted.")]
    on_save_error: Annotated[
        Literal["raise", "warn"],
        Option(
            "raise",
            'what to do if a checkpoint cannot be written, such as on a full disk: "raise", or '
            '"warn" and continue. Older checkpoints stay complete in any case.',
        ),
    ]
    callback: Annotated[
        Callable[[int, Params], None] | None,
        Option(
            None,
            "called as `callback(steps_done, params)` before the first step and at each "
            "evaluation.",
        ),
    ]
    progress: Annotated[
        bool | None,
        Option(
            None,
            "whether to show a tqdm bar with the loss; None shows it on a terminal or in a "
            "notebook.",
        ),
    ]


def run(
    objective: Objective,
    flow: Flow | StatefulFlow,
    batches: Batches,
    params: Params,
    *,
    started: float,
    num_steps: int,
    keys: jax.Array,
    settings: Mapping[str, Any],
    placement: Placement,
    options: Mapping[str, Any],
    memory: Any = None,
    validate: Callable[[Params], jax.Array] | None = None,
    patience: int | None = None,
) -> Fit:
    """Minimise an objective.

    `params` are the initial parameters; for a flow with state, the pair of parameters and state.
    `started` is the time of the call, by `time.perf_counter`. Each step gets a key from `keys`,
    `()`, or `(E,)` for several fits at once. `settings`, saved as JSON, are those that a continued
    fit must share. `memory` is the initial memory of an objective that has one. `options` are
    `TrainingOptions`; `validate` and `patience` are as in `Loop`, `placement` as in `Steps`.
    """
    given = resolve(TrainingOptions, options)
    if given.ema_decay is not None and not 0 < given.ema_decay < 1:
        raise ValueError(f"`ema_decay` must be between 0 and 1; got ema_decay={given.ema_decay}.")
    check_choice("non_finite", given.non_finite, ("raise", "skip"))
    if given.checkpoint_dir is None and given.resume is not False:
        raise ValueError("`resume` needs a `checkpoint_dir` to continue from; got none.")
    params, flow_state = params if isinstance(flow, StatefulFlow) else (params, None)
    trained = trained_names(params, given.trainable)
    steps = Steps(
        flow,
        objective,
        given.optimizer or cosine_adam(num_steps),
        given.ema_decay,
        given.non_finite == "skip",
        placement,
        trained,
    )
    loop = Loop(steps, batches, num_steps, keys, given.eval_every, validate, patience)
    now = loop.start(params, flow_state, memory)
    with contextlib.ExitStack() as stack:
        keeper = None
        if given.checkpoint_dir is not None:
            keeper = Checkpoints(
                Path(given.checkpoint_dir),
                _settings(loop, now, settings),
                seconds=given.checkpoint_seconds,
                max_to_keep=given.max_to_keep,
                on_error=given.on_save_error,
            )
            now = _resumed(loop, stack.enter_context(keeper), now, given.resume)
        progress = False if jax.process_index() > 0 else given.progress
        bar = stack.enter_context(progress_bar(num_steps, int(now.step), progress))
        return _train(loop, now, keeper, bar, given.callback, started)


def _train(
    loop: Loop,
    now: Progress,
    keeper: Checkpoints | None,
    bar: Any,
    callback: Callable[[int, Params], None] | None,
    started: float,
) -> Fit:
    """Train from `now` until something ends the fit, and save the progress."""
    first = int(now.step)

    def content(now: Progress) -> Callable[[], Progress]:
        return lambda: loop.to_keep(now, first)

    try:
        if callback is not None:
            callback(first, loop.steps.result(now.state))
        while not loop.is_over(now):
            done = int(now.step)
            # One assignment: an interrupt leaves the progress before or after the chunk.
            now = loop.evaluate(loop.advance(now, started))
            if keeper is not None:
                keeper.save(int(now.step), content(now))
            _show(bar, now, done)
            if callback is not None and loop.is_due(now):
                callback(int(now.step), loop.steps.result(now.state))
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
            message = f"Interrupted after {now.step} of {loop.num_steps} steps."
            raise FitInterrupted(message + unsaved, loop.fit(now, first)) from None
        if unsaved:
            error.add_note(unsaved)
        raise
    return loop.fit(now, first)


def _settings(loop: Loop, start: Progress, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint holds besides the progress; see `settings_of`."""
    steps = loop.steps
    own = {
        "ema_decay": None if steps.ema_decay is None else float(steps.ema_decay),
        "eval_every": loop.period,
        "chunk": loop.chunk,
        "objective": getattr(steps.objective, "__qualname__", type(steps.objective).__qualname__),
        "frozen": [
            f"{module}:{name}"
            for module, name, _ in hk.data_structures.traverse(start.state.params)
            if (module, name) not in steps.trained and not is_fixed(module, name)
        ],
    }
    return settings_of(
        {"state": start.state, "best": start.best},
        fixed={**settings, **own},
        free={"num_steps": loop.num_steps, "flow": source_of(steps.flow.builder[1])},
    )


def _save_after(
    error: BaseException, keeper: Checkpoints | None, step: int, content: Callable[[], Any]
) -> str:
    """Save the progress after an error; return why that failed, or an empty string."""
    if keeper is None:
        return ""
    # Of several processes, only a non-finite loss or gradient ends all of them together.
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
    """Return the progress to continue from: `start`, or that of a checkpoint."""
    steps = keeper.steps()
    if resume is False:
        if steps:
            raise ValueError(
                f"`checkpoint_dir` must hold no checkpoints; got one with steps {steps}. "
                "`resume=True` continues from the last one; or choose another folder."
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
    extras = start.records.extras
    like = start._replace(records=loop.room(saved["free"]["num_steps"], extras))
    progress = keeper.restore(resume, like)
    room = loop.room(max(loop.num_steps, int(progress.step)), extras)
    for old, new in zip(*map(jax.tree.leaves, (progress.records, room)), strict=True):
        size = min(old.shape[-1], new.shape[-1])
        new[..., :size] = old[..., :size]
    return progress._replace(records=room)


def _show(bar: Any, now: Progress, done: int) -> None:
    loss = now.records.loss[..., done : int(now.step)]
    finite = loss[np.isfinite(loss)]
    bar.update(loss.shape[-1])
    skipped = {"skipped": loss.size - finite.size} if finite.size < loss.size else {}
    bar.set_postfix(loss=f"{finite.mean():.4f}" if finite.size else "nan", **skipped)
