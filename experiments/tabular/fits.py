"""Fits to a data set, and their scores."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import distrax_flows as dxf
from experiments._common import cost_cells, machine_cells
from experiments._summary import mean_and_stderr
from experiments._table import Finished, Row, as_row
from experiments.tabular.datasets import Splits, load
from experiments.tabular.gaussian import Gaussian, blocks, fit_gaussian
from experiments.tabular.maf_sets import MAF_SETS
from experiments.tabular.recipes import FLOWS, Recipe, recipe_for
from experiments.tabular.settings import Settings

GAUSSIAN = "gaussian"

_MAX_ROWS = 50_000  # of the validation rows, and of the training rows that are scored


def load_splits(name: str, seed: int, settings: Settings) -> Splits:
    """The data of that name or file; the split of the five sets is always the same."""
    return _load(name, settings.data_dir, 0 if name in MAF_SETS else seed)


_load = functools.lru_cache(maxsize=1)(load)


def identities(splits: Splits, settings: Settings) -> list[Row]:
    """The cells that identify each fit to data like these. The Gaussian has no recipe."""
    recipes = {GAUSSIAN: dict.fromkeys(Recipe._fields)}
    recipes |= {flow: recipe_of(flow, splits, settings)._asdict() for flow in settings.flows}
    num_train = len(splits.train)
    return [
        as_row(flow=flow, dataset=splits.name, seed=seed, num_train=num_train, **recipe)
        for seed in settings.seeds
        for flow, recipe in recipes.items()
    ]


def recipe_of(flow: str, splits: Splits, settings: Settings) -> Recipe:
    """The recipe of a flow on these data."""
    return settings.adapt(recipe_for(splits.name, flow, len(splits.train)))


def fit(flow: str, splits: Splits, seed: int, settings: Settings) -> tuple[Row, Any]:
    """Fits a flow, or the Gaussian; returns its scores and cost, and its parameters."""
    if flow == GAUSSIAN:
        gaussian = fit_gaussian(splits.train, _some_of(splits.validation))
        cells = {"ridge": str(gaussian.ridge)} | _score(gaussian.log_prob, splits)
        return cells, {GAUSSIAN: gaussian._asdict()}
    recipe, folder = recipe_of(flow, splits, settings), settings.checkpoints
    if folder is not None:
        folder = folder / f"{splits.name}-{flow}-{seed}"
    model = make_flow(flow, splits.train.shape[1], recipe)
    fitted = dxf.fit(
        model,
        splits.train,  # pyright: ignore[reportArgumentType]
        key=jax.random.key(seed),
        num_steps=recipe.num_steps,
        batch_size=min(recipe.batch_size, len(splits.train)),
        validation=_some_of(splits.validation),  # pyright: ignore[reportArgumentType]
        patience=recipe.patience,
        eval_every=recipe.eval_every,
        ema_decay=recipe.ema_decay,
        optimizer=dxf.training.cosine_adam(
            recipe.num_steps, recipe.learning_rate, weight_decay=recipe.weight_decay
        ),
        checkpoint_dir=folder,
        resume=folder is not None,
    )
    best = int(np.argmin(fitted.history.validation_loss))
    cells = {"best_step": str(fitted.history.evaluated_steps[best])} | cost_cells(fitted)
    cells |= _score(lambda x: np.asarray(model.log_prob(fitted.params, jnp.asarray(x))), splits)
    return cells, fitted.params


# Cached, so that all fits of a flow share compiled code.
@functools.cache
def make_flow(name: str, event_size: int, recipe: Recipe) -> dxf.Flow:
    """The flow of that name."""
    return dxf.transform(
        lambda: FLOWS[name](
            event_size,
            num_bins=recipe.num_bins,
            num_layers=recipe.num_layers,
            hidden_sizes=recipe.hidden_sizes,
            standardize=True,
        )
    )


def as_sampler(fit: Finished, splits: Splits, settings: Settings) -> Finished:
    """The row of a fit, and a function that returns `num` samples, always the same."""
    row, params = fit
    if row["flow"] == GAUSSIAN:
        return Finished(row, functools.partial(Gaussian(**params[GAUSSIAN]).sample, 0))
    recipe = recipe_of(row["flow"], splits, settings)
    flow = make_flow(row["flow"], splits.train.shape[1], recipe)
    key = jax.random.key(0)
    return Finished(row, lambda num: np.asarray(flow.sample(params, key, (num,))))


def _score(log_prob: Callable[[np.ndarray], np.ndarray], splits: Splits) -> Row:
    """Mean log-likelihoods of the rows, computed in blocks."""

    def each(x: np.ndarray) -> np.ndarray:
        return np.concatenate([log_prob(block) for block in blocks(x)], dtype=float)

    test, stderr = mean_and_stderr(each(splits.test))
    return {
        "train": f"{each(_some_of(splits.train)).mean():.4f}",
        "validation": f"{each(_some_of(splits.validation)).mean():.4f}",
        "test": f"{test:.4f}",
        "test_stderr": f"{stderr:.4f}",
        "num_test": str(len(splits.test)),
    } | machine_cells()


def _some_of(x: np.ndarray) -> np.ndarray:
    """All rows, or every n-th of many; still a memory map if `x` is one."""
    return x[:: -(-len(x) // _MAX_ROWS)]
