"""The table of the experiment."""

from pathlib import Path

from experiments._results import Results

COLUMNS: tuple[str, ...] = (
    "flow",
    "density",
    "seed",
    "num_layers",
    "hidden_sizes",
    "num_params",
    "num_steps",
    "batch_size",
    "kl",
    "kl_stderr",
    "nll",
    "entropy",
    "train_seconds",
    "compile_seconds",
    "jax_version",
    "device",
    "means",
)

# The columns that say which fit a row is of.
_IDENTITY = (
    "flow",
    "density",
    "seed",
    "num_layers",
    "hidden_sizes",
    "num_steps",
    "batch_size",
    "means",
)


def open_results(folder: Path, *, resume: bool) -> Results:
    """The results in that folder."""
    return Results(folder, COLUMNS, _IDENTITY, resume=resume)
