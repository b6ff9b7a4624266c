"""Classification of images, and what networks believe about images that are none of their kind."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, Int

from experiments._table import Row, as_row, cells_of
from experiments.mnf.images import draw_patches, load, rotate
from experiments.mnf.networks import make_classifier, make_layers
from experiments.mnf.settings import Settings
from experiments.mnf.training import Data, Trained, train

ANGLES = tuple(range(0, 181, 15))  # degrees
BINS = np.linspace(0, 1, 11)  # of confidence
QUANTILES = np.linspace(0, 1, 101)

_BATCH = 500  # images that are predicted at once
_NUM_ROTATED = 150  # test images that are rotated, or all if they are fewer

_load = functools.cache(load)


def identities(settings: Settings) -> list[Row]:
    """The cells that identify each fit."""
    return [
        as_row(dataset=settings.dataset, network=network, seed=seed)
        | as_row(num_members=settings.num_members if network == "ensemble" else None)
        | as_row(dropout_rate=settings.dropout_rate if network == "dropout" else None)
        | cells_of(settings, "channels hidden_size num_steps batch_size learning_rate prior_scale")
        for network in settings.networks
        for seed in settings.seeds
    ]


def fit(row: Row, settings: Settings) -> tuple[Row, dict]:
    """Trains a network and scores it.

    Returns:
        Its other cells, and what pictures show as `{"curves": {name: array}}`: `error` and
        `entropy` by angle, and quantiles of the entropy of test images and of patches.
    """
    images = _load(settings.dataset, settings.data_dir)
    train_key, key = jax.random.split(jax.random.key(int(row["seed"])))
    options = {"dropout_rate": settings.dropout_rate, "num_members": settings.num_members}
    layers = make_layers(row["network"], settings.prior_scale, True, **options)
    num_classes = int(images.train_y.max()) + 1
    trained = train(
        make_classifier(layers, settings.channels, settings.hidden_size, num_classes),
        layers,
        Data(jnp.asarray(images.train_x), jnp.asarray(images.train_y, jnp.int32)),
        optax.softmax_cross_entropy_with_integer_labels,
        train_key,
        num_steps=settings.num_steps,
        learning_rate=settings.learning_rate,
        prior_scale=settings.prior_scale,
        batch_size=settings.batch_size,
    )
    few_x, few_y = images.test_x[:_NUM_ROTATED], images.test_y[:_NUM_ROTATED]
    parts = [images.test_x, draw_patches(images, settings.num_patches, seed=0)]
    parts += [rotate(few_x, angle) for angle in ANGLES]
    ends = np.cumsum([len(part) for part in parts])[:-1]
    predicted = _probabilities(trained, key, np.concatenate(parts), settings.num_samples)
    test, patches, *rotated = np.split(predicted, ends)
    confidence, accuracy, weight = reliability(test, images.test_y)
    filled = weight > 0
    cells = trained.cells | {
        "error": f"{error(test, images.test_y):.5f}",
        "nll": f"{-np.log(test[np.arange(len(test)), images.test_y]).mean():.5f}",
        "ece": f"{np.sum((weight * np.abs(confidence - accuracy))[filled]):.5f}",
        "entropy": f"{entropy(test).mean():.4f}",
        "entropy_rotated": f"{entropy(rotated[ANGLES.index(90)]).mean():.4f}",
        "entropy_patches": f"{entropy(patches).mean():.4f}",
        "auroc_patches": f"{auroc(entropy(test), entropy(patches)):.4f}",
    }
    curves = {
        "error": np.array([error(p, few_y) for p in rotated]),
        "entropy": np.array([entropy(p).mean() for p in rotated]),
        "entropy_test": np.quantile(entropy(test), QUANTILES),
        "entropy_patches": np.quantile(entropy(patches), QUANTILES),
    }
    return cells, {"curves": curves}


def error(probabilities: Float[np.ndarray, "N K"], y: Int[np.ndarray, " N"]) -> float:
    """Share of images whose most probable class is wrong."""
    return float(np.mean(probabilities.argmax(axis=-1) != y))


def entropy(probabilities: Float[np.ndarray, "N K"]) -> Float[np.ndarray, " N"]:
    """Entropy of each prediction, in nats."""
    return -np.sum(probabilities * np.log(probabilities), axis=-1)


def reliability(
    probabilities: Float[np.ndarray, "N K"], y: Int[np.ndarray, " N"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean confidence, accuracy and share of the images of each of the `BINS`; NaN in empty ones.

    The expected calibration error (Guo et al., "On Calibration of Modern Neural Networks", 2017,
    eq. 3) is the mean over images of the absolute difference of the first two.
    """
    confidence = probabilities.max(axis=-1)
    is_right = probabilities.argmax(axis=-1) == y
    place = np.clip(np.digitize(confidence, BINS) - 1, 0, len(BINS) - 2)
    counts = np.bincount(place, minlength=len(BINS) - 1)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(place, of, len(BINS) - 1) / counts for of in (confidence, is_right)]
    return means[0], means[1], counts / len(y)


def auroc(low: Float[np.ndarray, " N"], high: Float[np.ndarray, " M"]) -> float:
    """Probability that a value of `high` exceeds one of `low`; ties count half."""
    low = np.sort(low)
    below, upto = (np.searchsorted(low, high, side) for side in ("left", "right"))
    return float(np.mean(below + upto) / (2 * len(low)))


def _probabilities(
    trained: Trained, key: jax.Array, x: np.ndarray, num_samples: int
) -> Float[np.ndarray, "N K"]:
    """Probabilities of the classes, averaged over samples; never zero, for their logarithms."""

    @jax.jit
    def log_probabilities(key, x):
        log_each = jax.nn.log_softmax(trained.predict(key, x, num_samples))
        return jax.nn.logsumexp(log_each, axis=0) - jnp.log(len(log_each))

    # All batches have one size, so that it compiles once.
    padded = np.resize(x, (-(-len(x) // _BATCH) * _BATCH, *x.shape[1:]))
    batches = padded.reshape(-1, _BATCH, *x.shape[1:])
    log_each = [
        log_probabilities(jax.random.fold_in(key, i), batch) for i, batch in enumerate(batches)
    ]
    return np.maximum(np.exp(np.concatenate(log_each)[: len(x)].astype(float)), 1e-30)
