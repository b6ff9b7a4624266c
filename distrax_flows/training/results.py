"""What a fit returns, and what it raises when it cannot go on."""

from typing import NamedTuple

import jax
import numpy as np

from distrax_flows.flow import Params

__all__ = ["Fit", "FitInterrupted", "History", "NonFiniteError"]


class History(NamedTuple):
    """What happened during a fit. Of several fits at once, `[E]`, arrays have that axis first.

    Attributes:
        loss: `[steps]`, loss of each step, in nats; not finite where the step was left out.
        grad_norm: `[steps]`, global norm of its gradient, before any clipping.
        seconds: `[steps]`, wall time of each step: that of its chunk, divided by the steps of it.
            Drawing of batches is included; start-up of this process, callbacks, validation and
            checkpoints are not.
        evaluated_steps: `[evaluations]`, the number of steps done at each evaluation.
        validation_loss: `[evaluations]`, mean negative log-likelihood of the validation data at
            each, in nats; empty without such data.
        compile_seconds: start-up: by how much the first chunk of steps, initialisation included,
            took longer than the others; mostly tracing and compiling. NaN where there was one
            chunk only: then it is not known, and counted as training.
        stopped_early: whether `patience` ended the fit.
    """

    loss: np.ndarray
    grad_norm: np.ndarray
    seconds: np.ndarray
    evaluated_steps: np.ndarray
    validation_loss: np.ndarray
    compile_seconds: float
    stopped_early: bool

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
            text.append(f"{self.num_skipped} steps left out")
        return f"History({', '.join(text)}, {self.train_seconds:.1f} s)"

    @property
    def train_seconds(self) -> float:
        """Wall time of all steps."""
        return float(self.seconds.sum())

    @property
    def num_skipped(self) -> int:
        """Number of steps left out, as their loss or gradient was not finite."""
        return int(np.sum(~np.isfinite(self.loss) | ~np.isfinite(self.grad_norm)))


class Fit(NamedTuple):
    """Result of a fit.

    Attributes:
        params: the fitted parameters: those of the best validation loss if there were validation
            data, else the last ones; their moving average if one was asked for. For a
            `StatefulFlow`, the pair `(params, state)`. Of several fits at once, every leaf has
            their axis first.
        history: what happened.
    """

    params: Params
    history: History

    def __repr__(self) -> str:
        size = sum(leaf.size for leaf in jax.tree.leaves(self.params))
        return f"Fit({size:,} parameters, {self.history})"


class FitInterrupted(KeyboardInterrupt):
    """Ctrl-C ended a fit; `fit` holds what it had reached."""

    def __init__(self, message: str, fit: Fit):
        super().__init__(message)
        self.fit = fit


class NonFiniteError(FloatingPointError):
    """A loss or a gradient is NaN or infinite; `fit` holds what was reached before."""

    def __init__(self, message: str, fit: Fit):
        super().__init__(message)
        self.fit = fit


def _range(values: np.ndarray) -> str:
    """One number, or the least and the greatest of several."""
    low, high = np.min(values), np.max(values)
    return f"{low:.4f}" if values.ndim == 0 else f"{low:.4f} to {high:.4f}"
