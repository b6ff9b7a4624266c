"""Fits to a set: found from a run before, or done, scored and kept."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import distrax_flows as dxf
from experiments._common import device_name, num_parameters
from experiments._results import Results, Row
from experiments.tabular.datasets import Splits
from experiments.tabular.gaussian import Gaussian, blocks, fit_gaussian
from experiments.tabular.recipes import FLOWS, Recipe, recipe_for
from experiments.tabular.settings import Settings

GAUSSIAN = "gaussian"

# The columns that say which fit a row is of. The Gaussian has no recipe: its row lacks that.
IDENTITY = ("flow", "dataset", "seed", "num_train", *Recipe._fields)
COLUMNS = (
    *IDENTITY,
    "ridge",
    "num_params",
    "best_step",
    "train",
    "validation",
    "test",
    "test_stderr",
    "num_test",
    "train_seconds",
    "compile_seconds",
    "jax_version",
    "device",
)

_MAX_ROWS = 50_000  # to validate on; and of those that train, to evaluate


class Model(NamedTuple):
    """A flow and how to train it: made once, so that its fits share what JAX compiles."""

    name: str
    recipe: Recipe
    flow: dxf.Flow
    optimizer: optax.GradientTransformation


class Finished(NamedTuple):
    """A fit that is done.

    Attributes:
        row: of the table.
        sample: from a number to as many draws, the same ones each time.
    """

    row: Row
    sample: Callable[[int], np.ndarray]


def make_models(splits: Splits, settings: Settings) -> list[Model]:
    """The flows of the settings, for data like these."""
    return [_make_model(name, splits, settings) for name in settings.flows]


def finished_flow(
    model: Model, splits: Splits, seed: int, settings: Settings, results: Results
) -> Finished:
    """The fit of a flow, of a run before if there is one."""
    identity = _identify(model.name, splits, seed) | {
        name: " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        for name, value in model.recipe._asdict().items()
    }
    found = results.get(identity)
    if found is None:
        fit = _fit(model, splits, seed, settings)
        history = fit.history
        best = int(np.argmin(history.validation_loss))
        row = identity | {
            "num_params": str(num_parameters(fit.params)),
            "best_step": str(history.evaluated_steps[best]),
            "train_seconds": f"{history.train_seconds:.2f}",
            "compile_seconds": f"{history.compile_seconds:.2f}",
        }
        row |= _score(lambda x: np.asarray(model.flow.log_prob(fit.params, jnp.asarray(x))), splits)
        found = row, fit.params
        results.add(*found)
    row, params = found
    return Finished(
        row, lambda num: np.asarray(model.flow.sample(params, jax.random.key(0), (num,)))
    )


def finished_gaussian(splits: Splits, seed: int, results: Results) -> Finished:
    """The Gaussian, of a run before if there is one."""
    identity = _identify(GAUSSIAN, splits, seed) | dict.fromkeys(Recipe._fields, "")
    found = results.get(identity)
    if found is None:
        gaussian = fit_gaussian(splits.train, _some_of(splits.validation))
        row = dict.fromkeys(COLUMNS, "") | identity | {"ridge": str(gaussian.ridge)}
        row |= _score(gaussian.log_prob, splits)
        found = row, {GAUSSIAN: gaussian._asdict()}
        results.add(*found)
    row, params = found
    return Finished(row, lambda num: Gaussian(**params[GAUSSIAN]).sample(0, num))


def mean_and_stderr(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """The mean of independent values, and its standard error: NaN if there is but one."""
    values = np.asarray(values, float)
    stderr = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return float(values.mean()), float(stderr)


def _make_model(name: str, splits: Splits, settings: Settings) -> Model:
    num_rows, event_size = splits.train.shape
    recipe = settings.adapt(recipe_for(splits.name, name, num_rows))
    flow = dxf.transform(
        lambda: FLOWS[name](
            event_size,
            num_bins=recipe.num_bins,
            num_layers=recipe.num_layers,
            hidden_sizes=recipe.hidden_sizes,
            standardize=True,
        )
    )
    return Model(name, recipe, flow, recipe.optimizer())


def _identify(name: str, splits: Splits, seed: int) -> Row:
    num_train = str(len(splits.train))
    return {"flow": name, "dataset": splits.name, "seed": str(seed), "num_train": num_train}


def _fit(model: Model, splits: Splits, seed: int, settings: Settings) -> dxf.Fit:
    recipe, folder = model.recipe, settings.checkpoints
    if folder is not None:
        folder = folder / f"{splits.name}-{model.name}-{seed}"
    return dxf.fit(
        model.flow,
        splits.train,  # pyright: ignore[reportArgumentType]
        key=jax.random.key(seed),
        num_steps=recipe.num_steps,
        batch_size=min(recipe.batch_size, len(splits.train)),
        validation=_some_of(splits.validation),  # pyright: ignore[reportArgumentType]
        patience=recipe.patience,
        eval_every=recipe.eval_every,
        ema_decay=recipe.ema_decay,
        optimizer=model.optimizer,
        checkpoint_dir=folder,
        resume=folder is not None,
    )


def _score(log_prob: Callable[[np.ndarray], np.ndarray], splits: Splits) -> Row:
    """Mean log-likelihoods of the rows: of a memory map, some at a time."""

    def each(x: np.ndarray) -> np.ndarray:
        return np.concatenate([log_prob(block) for block in blocks(x)], dtype=float)

    test, stderr = mean_and_stderr(each(splits.test))
    return {
        "train": f"{each(_some_of(splits.train)).mean():.4f}",
        "validation": f"{each(_some_of(splits.validation)).mean():.4f}",
        "test": f"{test:.4f}",
        "test_stderr": f"{stderr:.4f}",
        "num_test": str(len(splits.test)),
        "jax_version": jax.__version__,
        "device": device_name(),
    }


def _some_of(x: np.ndarray) -> np.ndarray:
    """Every row, or of many rows every n-th; still a memory map if `x` is one."""
    return x[:: -(-len(x) // _MAX_ROWS)]
