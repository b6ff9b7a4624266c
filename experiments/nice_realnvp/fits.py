"""A flow fitted to a density, and its score."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

import distrax_flows as dxf
from distrax_flows import densities
from experiments._common import num_parameters, score
from experiments._results import Row
from experiments.flow_zoo.zoo import make_optimizer
from experiments.nice_realnvp.models import AnyFlow, Model, Size
from experiments.nice_realnvp.settings import Settings

_NUM_INIT = 10_000  # draws that initialise what takes its values from data
_NUDGE = 0.05


class Source(NamedTuple):
    """What is fitted.

    Attributes:
        name: in the table.
        sample: from a key and a number N to N draws, `[N, D]`.
        log_prob: the log-density, compiled.
        entropy: in nats.
    """

    name: str
    sample: Callable[[jax.Array, int], jax.Array]
    log_prob: Callable[[jax.Array], jax.Array]
    entropy: float


class Learner(NamedTuple):
    """A flow and its optimizer: made once, so that all its fits share what JAX compiles.

    Attributes:
        label: name of the flow in pictures.
        flow: the flow.
        optimizer: of its fits.
    """

    label: str
    flow: AnyFlow
    optimizer: optax.GradientTransformation


class Fitted(NamedTuple):
    """A flow before and after training.

    Attributes:
        label: name of the flow in pictures.
        flow: in evaluation mode.
        initial: its parameters before training.
        params: its parameters after training.
        row: of the table.
    """

    label: str
    flow: dxf.Flow
    initial: Any
    params: Any
    row: Row


def once(name: str) -> Source:
    """The density of that name."""
    density = densities.get(name)
    return Source(
        name=name,
        sample=lambda key, num: density.sample(seed=key, sample_shape=(num,)),
        log_prob=jax.jit(density.log_prob),
        entropy=float(density.entropy()),
    )


def twice(name: str) -> Source:
    """Two independent draws a and b from the density of that name, as `(a1, a2, b1, b2)`."""
    density = densities.get(name)
    return Source(
        name=f"{name}, twice",
        sample=lambda key, num: density.sample(seed=key, sample_shape=(num, 2)).reshape(num, 4),
        log_prob=jax.jit(lambda x: density.log_prob(x.reshape(-1, 2, 2)).sum(axis=-1)),
        entropy=2 * float(density.entropy()),
    )


def make_learner(model: Model, event_size: int, base: str, settings: Settings) -> Learner:
    """A model of the sizes in the settings."""
    size = Size(event_size, settings.num_layers, settings.hidden_sizes)
    optimizer = make_optimizer(settings.learning_rate, settings.num_steps)
    return Learner(model.label, model.make(size, base), optimizer)


def fit(learner: Learner, source: Source, identity: Row, settings: Settings) -> Fitted:
    """Fits by maximum likelihood on fresh draws, and scores the fit on others.

    Args:
        learner: what to fit.
        source: what to fit it to.
        identity: the columns of the table that say which fit it is.
        settings: of the experiment.
    """
    flow = learner.flow
    init_key, nudge_key, train_key, score_key = jax.random.split(jax.random.key(settings.seed), 4)
    initial = flow.init(init_key, source.sample(init_key, _NUM_INIT))
    stateful = isinstance(flow, dxf.StatefulFlow)
    start = (
        (_nudged(initial[0], nudge_key), initial[1]) if stateful else _nudged(initial, nudge_key)
    )
    fitted = dxf.fit(
        flow,
        lambda key: source.sample(key, settings.batch_size),
        key=train_key,
        num_steps=settings.num_steps,
        optimizer=learner.optimizer,
        params=start,
    )
    evaluation = flow.evaluation if stateful else flow
    scored = score(
        source.log_prob,
        lambda x: evaluation.log_prob(fitted.params, x),
        source.sample(score_key, settings.num_draws),
    )
    row = identity | {
        "num_params": str(num_parameters(initial[0] if stateful else initial)),
        "kl": f"{scored.kl:.6f}",
        "kl_stderr": f"{scored.kl_stderr:.6f}",
        "nll": f"{scored.nll:.6f}",
        "entropy": f"{source.entropy:.6f}",
        "train_seconds": f"{fitted.history.train_seconds:.2f}",
        "compile_seconds": f"{fitted.history.compile_seconds:.2f}",
    }
    return Fitted(learner.label, evaluation, initial, fitted.params, row)


def _nudged(params: Any, key: jax.Array) -> Any:
    """The parameters with a little noise.

    Data that are their own mirror image hold NICE at the identity: there, the best shift of one
    coordinate given the other is zero.
    """
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    return structure.unflatten(
        [
            leaf + _NUDGE * jax.random.normal(leaf_key, leaf.shape, leaf.dtype)
            for leaf, leaf_key in zip(leaves, keys, strict=True)
        ]
    )
