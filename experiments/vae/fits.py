"""Fits of autoencoders, and their scores."""

from typing import Any

import jax
import numpy as np

import distrax_flows as dxf
from experiments._common import cost_cells, machine_cells
from experiments._digits import Splits
from experiments._summary import mean_and_stderr
from experiments._table import Row, as_row, cells_of
from experiments.vae.models import make_autoencoder
from experiments.vae.settings import Settings

# A loss is a sample of a bound: with several of each validation image, their mean is less noisy.
_VALIDATION_SAMPLES = 8


def identities(settings: Settings) -> list[Row]:
    """The cells that identify each fit."""
    others = cells_of(settings, "num_steps batch_size learning_rate weight_decay num_samples")
    return [
        as_row(posterior=name, seed=seed, **sizes(name, settings)) | others
        for seed in settings.seeds
        for name in settings.posteriors
    ]


def sizes(posterior: str, settings: Settings) -> dict[str, Any]:
    """The sizes of an autoencoder, arguments of `make_autoencoder`."""
    own = {"latent_size": settings.latent_size, "hidden_sizes": settings.hidden_sizes}
    if posterior == "gaussian":
        return own | {"num_layers": None, "flow_hidden_sizes": None}
    # A planar layer bends the latent space along a single direction.
    num_layers = settings.num_layers * (4 if posterior == "planar" else 1)
    return own | {"num_layers": num_layers, "flow_hidden_sizes": settings.flow_hidden_sizes}


def fit(row: Row, splits: Splits, settings: Settings) -> tuple[Row, Any]:
    """Fits an autoencoder; returns its scores and cost, and its parameters."""
    name, key, folder = row["posterior"], jax.random.key(int(row["seed"])), settings.checkpoints
    if folder is not None:
        folder = folder / f"{name}-{row['seed']}"
    model = make_autoencoder(name, **sizes(name, settings))
    fitted = dxf.fit(
        model,
        splits.train,  # pyright: ignore[reportArgumentType]
        key=key,
        num_steps=settings.num_steps,
        batch_size=settings.batch_size,
        validation=np.repeat(splits.validation, _VALIDATION_SAMPLES, axis=0),  # pyright: ignore[reportArgumentType]
        patience=settings.patience,
        eval_every=settings.eval_every,
        ema_decay=settings.ema_decay,
        optimizer=dxf.training.cosine_adam(
            settings.num_steps,
            settings.learning_rate,
            weight_decay=settings.weight_decay,
            clip_norm=10.0,  # of sums over 64 pixels
        ),
        checkpoint_dir=folder,
        resume=folder is not None,
    )
    best = int(np.argmin(fitted.history.validation_loss))
    cells = {"best_step": str(fitted.history.evaluated_steps[best])}
    test_key, train_key = jax.random.split(jax.random.fold_in(key, 1))
    cells |= _score(model, fitted.params, splits.test, test_key, settings, "")
    some = splits.train[: len(splits.test)]
    cells |= _score(model, fitted.params, some, train_key, settings, "train_")
    return cells | cost_cells(fitted) | machine_cells(), fitted.params


def _score(
    model: dxf.Flow, params: Any, x: np.ndarray, key: jax.Array, settings: Settings, prefix: str
) -> Row:
    """Bounds of the log-likelihood of images: means, and standard errors over the images."""
    bounds = dxf.diagnostics.likelihood_bounds(
        model,
        params,
        x,  # pyright: ignore[reportArgumentType]
        key=key,
        num_samples=settings.num_samples,
    )
    cells: Row = {}
    for name, bound in bounds._asdict().items():
        mean, stderr = mean_and_stderr(np.asarray(bound))
        cells |= {f"{prefix}{name}": f"{mean:.4f}", f"{prefix}{name}_stderr": f"{stderr:.4f}"}
    return cells
