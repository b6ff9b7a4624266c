"""Regression with a gap in its inputs, and the posterior that NUTS samples."""

import functools
import time
from typing import Any, NamedTuple

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from blackjax.diagnostics import potential_scale_reduction
from jaxtyping import Array, Float

from experiments._common import num_parameters
from experiments._table import Row, as_row, cells_of
from experiments.mnf.networks import log_prior, make_layers, make_regression
from experiments.mnf.settings import Settings
from experiments.mnf.training import Data, train

NOISE = 0.1  # standard deviation
GAP = (-0.7, 0.7)
REACH = 2.0  # inputs lie between minus this and this
GRID = np.linspace(-2.5, 2.5, 101, dtype=np.float32)
NETWORKS = ("ensemble", "mean-field", "MNF")
REFERENCE = "NUTS"
LEVELS = (0.05, 0.5, 0.95)

NUM_ROWS = 40
_NUM_TEST = 300
_NUM_SAMPLES = 500  # of a variational posterior
_LEARNING_RATE = 1e-2


class Curves(NamedTuple):
    """The posterior of the function on `GRID`."""

    mean: np.ndarray  # `[G]`
    scale: np.ndarray  # `[G]`, standard deviations
    quantiles: np.ndarray  # `[L, G]`, at `LEVELS`


def true_function(x: np.ndarray) -> np.ndarray:
    """`sin(2 x) + x / 2`."""
    return np.sin(2 * x) + 0.5 * x


def draw_rows(seed: int, num: int, *, in_gap: bool = False) -> Data:
    """Inputs, uniform on `+-REACH` outside of the gap or inside of it, and noisy responses."""
    rng = np.random.default_rng(seed)
    low, high = (0.0, GAP[1]) if in_gap else (GAP[1], REACH)
    x = rng.choice([-1.0, 1.0], (num, 1)) * rng.uniform(low, high, (num, 1))
    y = true_function(x) + NOISE * rng.normal(size=x.shape)
    return Data(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32))


def identities(settings: Settings) -> list[Row]:
    """The cells that identify each row: NUTS first, then the networks."""
    size = cells_of(settings, "regression_units prior_scale")
    first = as_row(part="regression", network=REFERENCE, seed=settings.seeds[0])
    rows = [first | size | cells_of(settings, "num_chains num_warmup num_draws")]
    for network in settings.networks:
        if network in NETWORKS:
            for seed in settings.seeds:
                row = as_row(part="regression", network=network, seed=seed)
                members = settings.num_members if network == "ensemble" else None
                steps = as_row(regression_steps=settings.regression_steps, num_members=members)
                rows.append(row | size | steps)
    return rows


def fit(row: Row, settings: Settings, reference: Curves | None) -> tuple[Row, dict]:
    """Samples or trains a network and scores it.

    Args:
        row: the cells that identify it.
        settings: settings.
        reference: curves of NUTS; None for NUTS itself.

    Returns:
        Its other cells, and its curves as `{"curves": {name: array}}`.
    """
    key = jax.random.key(int(row["seed"]))
    tests = draw_rows(1, _NUM_TEST), draw_rows(2, _NUM_TEST, in_gap=True)
    x = jnp.concatenate([jnp.asarray(GRID)[:, None], *(test.x for test in tests)])
    run = _sample if row["network"] == REFERENCE else _train
    cells, outputs = run(row["network"], settings, key, x)
    on_grid, *at_tests = np.split(outputs, [len(GRID), len(GRID) + _NUM_TEST], axis=1)
    curves = Curves(on_grid.mean(axis=0), on_grid.std(axis=0), np.quantile(on_grid, LEVELS, axis=0))
    names = ("nll_data", "nll_gap")
    for name, test, at_test in zip(names, tests, at_tests, strict=True):
        cells[name] = f"{_nll(at_test, np.asarray(test.y)[:, 0]):.4f}"
    width = curves.quantiles[2] - curves.quantiles[0]
    inside, between = np.abs(GRID) < GAP[1], np.abs(GRID) <= REACH
    cells["width_gap"] = f"{width[inside].mean():.4f}"
    cells["width_data"] = f"{width[between & ~inside].mean():.4f}"
    if reference is not None:
        for name in ("mean", "scale"):
            error = (getattr(curves, name) - getattr(reference, name))[between]
            cells[f"{name}_distance"] = f"{np.sqrt(np.mean(error**2)):.4f}"
    return cells, {"curves": curves._asdict()}


def _nll(outputs: np.ndarray, y: np.ndarray) -> float:
    """Mean of `-log mean_s N(y; f_s, NOISE^2)`."""
    log_each = jax.scipy.stats.norm.logpdf(y, outputs, NOISE)
    return -float(jnp.mean(jax.nn.logsumexp(log_each, axis=0) - np.log(len(outputs))))


def _negative_log_likelihood(
    outputs: Float[Array, "... 1"], y: Float[Array, "... 1"]
) -> Float[Array, "..."]:
    return -jax.scipy.stats.norm.logpdf(y, outputs, NOISE)[..., 0]


def _train(
    name: str, settings: Settings, key: jax.Array, x: jax.Array
) -> tuple[Row, Float[np.ndarray, "S N"]]:
    """Trains a network; returns cells, and samples of its function at `x`."""
    layers = make_layers(name, settings.prior_scale, False, num_members=settings.num_members)
    trained = train(
        make_regression(layers, settings.regression_units),
        layers,
        draw_rows(0, NUM_ROWS),
        _negative_log_likelihood,
        key,
        num_steps=settings.regression_steps,
        learning_rate=_LEARNING_RATE,
        prior_scale=settings.prior_scale,
    )
    return trained.cells, np.asarray(trained.predict(key, x, _NUM_SAMPLES))[..., 0]


def _sample(
    name: str, settings: Settings, key: jax.Array, x: jax.Array
) -> tuple[Row, Float[np.ndarray, "S N"]]:
    """Samples the posterior of the weights by chains of NUTS, which start at samples of the prior.

    Returns:
        Cells, and samples of the function at `x`.
    """
    del name
    layers = make_layers("deterministic", settings.prior_scale, False)
    network, data = make_regression(layers, settings.regression_units), draw_rows(0, NUM_ROWS)

    def log_density(params):
        outputs, _ = network.apply(params, None, data.x)
        likelihood = -_negative_log_likelihood(outputs, data.y).sum()
        return likelihood + log_prior(params, settings.prior_scale)

    def sample_chain(key):
        init_key, warmup_key, sample_key = jax.random.split(key, 3)
        start = network.init(init_key, data.x)
        warmup: Any = blackjax.window_adaptation(blackjax.nuts, log_density)
        (state, adapted), _ = warmup.run(warmup_key, start, settings.num_warmup)
        step: Any = blackjax.nuts(log_density, **adapted).step

        def move(state, key):
            state, info = step(key, state)
            return state, (state.position, info.is_divergent)

        _, (params, diverged) = jax.lax.scan(
            move, state, jax.random.split(sample_key, settings.num_draws)
        )
        return params, diverged

    begin = time.perf_counter()
    sample = jax.jit(jax.vmap(sample_chain))
    params, diverged = jax.block_until_ready(sample(jax.random.split(key, settings.num_chains)))
    seconds = time.perf_counter() - begin
    evaluate = jax.jit(jax.vmap(jax.vmap(functools.partial(network.apply, rng=None, x=x))))
    outputs = np.asarray(evaluate(params)[0])[..., 0]  # `[chains, draws, N]`
    cells = {
        "num_params": str(num_parameters(params) // diverged.size),
        "r_hat": f"{float(np.max(potential_scale_reduction(outputs[..., : len(GRID)]))):.3f}",
        "num_divergent": str(int(diverged.sum())),
        "train_seconds": f"{seconds:.2f}",
    }
    return cells, outputs.reshape(-1, outputs.shape[-1])
