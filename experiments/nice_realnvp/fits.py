"""Fits of flows to densities, and their scores."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

import distrax_flows as dxf
from distrax_flows import densities
from experiments._common import cost_cells, num_parameters, score
from experiments._table import Row, as_row
from experiments.nice_realnvp.models import SPLITS, make_flow
from experiments.nice_realnvp.settings import Settings

TWICE = ", twice"

_NUM_INIT = 10_000  # samples for data-dependent initialisation
_NUDGE = 0.05


class Source(NamedTuple):
    """A density to fit."""

    event_size: int  # dimensions D
    # maps a key and a number N to N samples, `[N, D]`
    sample: Callable[[jax.Array, int], jax.Array]
    log_prob: Callable[[jax.Array], jax.Array]  # the log-density, compiled
    entropy: float  # in nats


class Trained(NamedTuple):
    """A flow before and after training."""

    flow: dxf.Flow  # in evaluation mode
    initial: Any  # its parameters before training
    params: Any  # its parameters after training


def identities(settings: Settings) -> list[Row]:
    """The cells that identify each fit: those to the densities, then one for each split."""
    # In two dimensions, both splits are the same.
    plane = [
        as_row(density=density, model=model, base=base, split="half")
        for density in settings.densities
        for base in settings.bases
        for model in settings.models
    ]
    density, base = f"{settings.split_density}{TWICE}", settings.bases[0]
    return plane + [
        as_row(density=density, model="realnvp", base=base, split=split) for split in SPLITS
    ]


def fit(row: Row, settings: Settings) -> tuple[Row, Trained]:
    """Fits by maximum likelihood on fresh samples, and scores the fit on others."""
    source = make_source(row["density"])
    sizes = source.event_size, settings.num_layers, settings.hidden_sizes
    flow = make_flow(row["model"], *sizes, row["base"], row["split"])
    init_key, nudge_key, train_key, score_key = jax.random.split(jax.random.key(settings.seed), 4)
    initial = flow.init(init_key, source.sample(init_key, _NUM_INIT))
    if isinstance(flow, dxf.StatefulFlow):
        params, state = initial
        evaluation, start = flow.evaluation, (_nudged(params, nudge_key), state)
    else:
        evaluation, start, params = flow, _nudged(initial, nudge_key), initial
    fitted = dxf.fit(
        flow,
        lambda key: source.sample(key, settings.batch_size),
        key=train_key,
        num_steps=settings.num_steps,
        optimizer=dxf.training.cosine_adam(settings.num_steps, settings.learning_rate),
        params=start,
    )
    log_q = functools.partial(evaluation.log_prob, fitted.params)
    scored = score(source.log_prob, log_q, source.sample(score_key, settings.num_draws))
    cells = scored._replace(entropy=source.entropy).cells() | cost_cells(fitted)
    cells["num_params"] = str(num_parameters(params))  # without the state
    return cells, Trained(evaluation, initial, fitted.params)


@functools.cache
def make_source(name: str) -> Source:
    """The density of that name.

    With `, twice` after the name, it is that of two independent samples a and b in one vector,
    `(a1, a2, b1, b2)`.
    """
    density = densities.get(name.removesuffix(TWICE))
    num = 2 if name.endswith(TWICE) else 1

    def log_prob(x: jax.Array) -> jax.Array:
        return density.log_prob(x.reshape(-1, num, 2)).sum(axis=-1)

    def sample(key: jax.Array, size: int) -> jax.Array:
        return density.sample(seed=key, sample_shape=(size, num)).reshape(size, 2 * num)

    return Source(2 * num, sample, jax.jit(log_prob), num * float(density.entropy()))


def _nudged(params: Any, key: jax.Array) -> Any:
    """The parameters with a little noise.

    On data with mirror symmetry, NICE would stay at the identity: there, the best shift of one
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
