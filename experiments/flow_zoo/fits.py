"""The fits of the zoo: found from a run before or done and scored; then timed."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import distrax_flows as dxf
from experiments._common import device_name, num_parameters, score
from experiments._results import Results, Row
from experiments.benchmarks._timing import milliseconds
from experiments.flow_zoo.settings import Settings
from experiments.flow_zoo.zoo import ZOO, make_optimizer
from experiments.toy_densities.target import Target

COLUMNS = (
    "flow",
    "density",
    "seed",
    "num_layers",
    "hidden_sizes",
    "learning_rate",
    "num_params",
    "num_steps",
    "batch_size",
    "kl",
    "kl_stderr",
    "nll",
    "entropy",
    "disagreement",
    "train_seconds",
    "compile_seconds",
    "log_prob_ms",
    "sample_ms",
    "jax_version",
    "device",
)

# The columns that say which fit a row is of.
IDENTITY = (
    "flow",
    "density",
    "seed",
    "num_layers",
    "hidden_sizes",
    "learning_rate",
    "num_steps",
    "batch_size",
)

_NUM_TIMED = 10_000  # rows; the size of the batches of scores and pictures, to compile once


class Model(NamedTuple):
    """A flow and its optimizer: made once, so that all its fits share what JAX compiles."""

    name: str
    flow: dxf.Flow
    optimizer: optax.GradientTransformation


class Finished(NamedTuple):
    """A fit that is done: of which flow to what, its row of the table, and its parameters."""

    model: Model
    target: Target
    row: Row
    params: Any

    def on_grid(self) -> np.ndarray:
        """Its density, in the window of the target."""
        flow = self.model.flow
        return self.target.on_grid(lambda points: flow.log_prob(self.params, points))


def make_model(name: str, settings: Settings) -> Model:
    """The flow of that name, of the sizes in the settings."""
    entry = ZOO[name]
    flow = dxf.transform(
        lambda: entry.build(
            2,
            num_layers=entry.layers(settings.num_layers),
            hidden_sizes=settings.hidden_sizes,
            standardize=True,
        )
    )
    return Model(name, flow, make_optimizer(entry.learning_rate, settings.num_steps))


def finished_fit(model: Model, target: Target, settings: Settings, results: Results) -> Finished:
    """The fit of a run before if there is one, else a new one."""
    entry = ZOO[model.name]
    identity = {
        "flow": model.name,
        "density": target.name,
        "seed": str(settings.seed),
        "num_layers": str(entry.layers(settings.num_layers)),
        "hidden_sizes": " ".join(map(str, settings.hidden_sizes)),
        "learning_rate": str(entry.learning_rate),
        "num_steps": str(settings.num_steps),
        "batch_size": str(settings.batch_size),
    }
    found = results.get(identity)
    if found is not None:
        return Finished(model, target, *found)
    train_key, score_key = jax.random.split(jax.random.key(settings.seed))
    fit = dxf.fit(
        model.flow,
        target.draw,
        key=train_key,
        num_steps=settings.num_steps,
        optimizer=model.optimizer,
    )
    row = identity | _score(model.flow, fit, target, score_key, settings.num_draws)
    results.add(row, fit.params)
    return Finished(model, target, row, fit.params)


def timed_fits(fits: Sequence[Finished], repeats: int, results: Results) -> list[Finished]:
    """The fits with the times of `log_prob` and `sample` in their rows.

    All are timed in turn and anew, with nothing beside: those of a run before, too.
    """
    functions = {}
    for fit in fits:
        flow, params, name = fit.model.flow, fit.params, _name(fit)
        x, key = fit.target.x[:_NUM_TIMED], jax.random.key(0)
        functions[f"{name} log_prob"] = functools.partial(flow.log_prob, params, x)
        functions[f"{name} sample"] = functools.partial(flow.sample, params, key, (_NUM_TIMED,))
    times = milliseconds(functions, repeats)
    timed = []
    for fit in fits:
        row = fit.row | {
            f"{method}_ms": f"{np.median(times[f'{_name(fit)} {method}']):.2f}"
            for method in ("log_prob", "sample")
        }
        results.add(row, fit.params)
        timed.append(fit._replace(row=row))
    return timed


def _name(fit: Finished) -> str:
    return f"{fit.model.name} on {fit.target.name}"


def _score(flow: dxf.Flow, fit: dxf.Fit, target: Target, key: jax.Array, num_draws: int) -> Row:
    """The columns that say how good a fit is, and what it cost."""
    x = target.density.sample(seed=key, sample_shape=(num_draws,))
    scored = score(target.log_prob, lambda batch: flow.log_prob(fit.params, batch), x)
    # Both directions of the flow must give the same density: one samples, the other evaluates.
    draws, log_prob = flow.sample_and_log_prob(fit.params, key, (_NUM_TIMED,))
    disagreement = jnp.max(jnp.abs(flow.log_prob(fit.params, draws) - log_prob))
    return {
        "num_params": str(num_parameters(fit.params)),
        "kl": f"{scored.kl:.6f}",
        "kl_stderr": f"{scored.kl_stderr:.6f}",
        "nll": f"{scored.nll:.6f}",
        "entropy": f"{target.density.entropy():.6f}",
        "disagreement": f"{disagreement:.1e}",
        "train_seconds": f"{fit.history.train_seconds:.2f}",
        "compile_seconds": f"{fit.history.compile_seconds:.2f}",
        "jax_version": jax.__version__,
        "device": device_name(),
    }
