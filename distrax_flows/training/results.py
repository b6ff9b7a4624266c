"""Results of fits, and errors that end them."""

from typing import NamedTuple

import jax
import numpy as np

from distrax_flows._core.types import ArrayLike
from distrax_flows.functional.flow import Params

__all__ = ["Fit", "FitInterrupted", "History", "NonFiniteError"]


class History(NamedTuple):
    """History of a fit. For several fits at once, arrays have their axis, `[E]`, first.

    Attributes:
        loss: `[steps]`, loss of each step, in nats; non-finite if the step was skipped.
        grad_norm: `[steps]`, global norm of its gradient, before any clipping.
        seconds: `[steps]`, wall time of each step: that of its chunk, divided by its number of
            steps. Includes making batches; excludes start-up of this process, callbacks, validation
            and checkpoints.
        evaluated_steps: `[evaluations]`, the number of steps done at each evaluation.
        validation_loss: `[evaluations]`, mean negative log-likelihood of the validation data at
            each evaluation, in nats; empty without such data.
        compile_seconds: start-up time: how much longer the first chunk of steps took than the
            others, including initialisation; mostly tracing and compiling. NaN if there was only
            one chunk: then it is unknown, and counted as training.
        stopped_early: whether `patience` ended the fit.
        extras: `[steps]` each, by name: the extras that a custom objective returned.
    """

    loss: np.ndarray
    grad_norm: np.ndarray
    seconds: np.ndarray
    evaluated_steps: np.ndarray
    validation_loss: np.ndarray
    compile_seconds: float
    stopped_early: bool
    extras: dict[str, np.ndarray]

    def __repr__(self) -> str:
        *fits, steps = self.loss.shape
        text = [f"{steps} steps"]
        if fits:
            text.insert(0, f"{fits[0]} fits")
        if steps:
            text.append(f"last loss {_range(self.loss[..., -1])}")
        if len(self.evaluated_steps) and self.validation_loss.size:
            best = np.fmin.reduce(self.validation_loss, axis=-1)
            text.append(f"best validation loss {_range(best)}")
        if self.num_skipped:
            text.append(f"{self.num_skipped} steps skipped")
        return f"History({', '.join(text)}, {self.train_seconds:.1f} s)"

    @property
    def train_seconds(self) -> float:
        """Wall time of all steps."""
        return float(self.seconds.sum())

    @property
    def num_skipped(self) -> int:
        """Number of steps skipped because of a non-finite loss or gradient."""
        return int(np.sum(~np.isfinite(self.loss) | ~np.isfinite(self.grad_norm)))


class Fit(NamedTuple):
    """Result of a fit.

    Attributes:
        params: the fitted parameters: those with the best validation loss if there were validation
            data, else the last ones; their moving average if `ema_decay` was given. For a
            `StatefulFlow`, the pair `(params, state)`. For several fits at once, every leaf has
            their axis first.
        history: losses, timings and evaluations.
    """

    params: Params
    history: History

    def __repr__(self) -> str:
        size = sum(leaf.size for leaf in jax.tree.leaves(self.params))
        return f"Fit({size:,} parameters, {self.history})"


class FitInterrupted(KeyboardInterrupt):
    """Ctrl-C ended a fit; `fit` holds the result reached.

    Args:
        message: what happened, and how to continue.
        fit: the result reached.
    """

    def __init__(self, message: str, fit: Fit):
        super().__init__(message)
        self.fit = fit


class NonFiniteError(FloatingPointError):
    """A loss or a gradient is NaN or infinite; `fit` holds the result reached before.

    Args:
        message: what became non-finite, and where.
        fit: the result reached before.
    """

    def __init__(self, message: str, fit: Fit):
        super().__init__(message)
        self.fit = fit


def _range(values: ArrayLike) -> str:
    """Format one number, or the range of several."""
    low, high = np.min(values), np.max(values)
    return f"{low:.4f}" if values.ndim == 0 else f"{low:.4f} to {high:.4f}"
