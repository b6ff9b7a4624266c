"""Fitting flows: to data by maximum likelihood, to an unnormalised density by reverse KL.

Keyword arguments that all fits share:

* `optimizer`: any optax optimizer; `cosine_adam(num_steps)` by default. It is compiled in: make
  your own once, not per fit. One that takes the loss (`optax.contrib.reduce_on_plateau`) gets it.
  It sees the parameters to train, without the fixed ones (`modules.is_fixed`), such as statistics
  of standardised data: no weight decay moves those.
* `ema_decay`: if given, the result, and what is validated, is the exponential moving average of
  the parameters, with this decay per step, corrected for its start at zero.
* `eval_every`: steps between evaluations: validation, and the callback. 250 by default, or fewer
  where batches are large or the number of steps asks for it.
* `non_finite`: what to do with a loss or a gradient that is NaN or infinite. "raise", the default:
  no update is made with it, and a `NonFiniteError` says which step, which rows, and which layer was
  the first to give such values. "skip": the step is left out and counted (`history.num_skipped`);
  if the last hundred before a look at the loss were, that is an error all the same.
* `checkpoint_dir`: a folder for checkpoints, by Orbax. They hold all that is needed to go on:
  parameters, optimizer, averages, state, step, the best so far, and the history; and what the fit
  must have in common with one that goes on with it. Written while the fit goes on, and again at its
  end, after Ctrl-C, and after an error.
* `resume`: whether to go on from the last checkpoint in that folder, if there is one, or the step
  of a checkpoint to go on from (later ones are then deleted). The fit ends with the very bits with
  which it would have ended undisturbed, on the same machine and with the same versions. All
  arguments must be those of the first call; data are not compared. The number of steps may be
  another, if `eval_every` is given; it should divide the first number, and the optimizer should
  not depend on it, or the fit is not that of so many steps at once.
* `checkpoint_seconds`: least time between two checkpoints; 60 by default, 0 for one per chunk of
  steps.
* `max_to_keep`: older checkpoints are deleted; 3 by default.
* `on_save_error`: what to do when a checkpoint cannot be written, as on a full disk: "raise", the
  default, or "warn" and go on. Older checkpoints stay whole in any case.
* `callback`: called as `callback(steps_done, params)` before the first step and at each evaluation.
* `progress`: whether to show a tqdm bar with the loss (needs tqdm); None, the default, shows it on
  a terminal and in a notebook.
"""

from distrax_flows.training._checkpoints import CheckpointError
from distrax_flows.training.evidence import Evidence, evidence
from distrax_flows.training.fit import fit
from distrax_flows.training.fit_to_density import fit_to_density
from distrax_flows.training.optimizers import cosine_adam
from distrax_flows.training.results import Fit, FitInterrupted, History, NonFiniteError

__all__ = [
    "CheckpointError",
    "Evidence",
    "Fit",
    "FitInterrupted",
    "History",
    "NonFiniteError",
    "cosine_adam",
    "evidence",
    "fit",
    "fit_to_density",
]
