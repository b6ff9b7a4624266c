"""Ensembles of conditional flows, fitted at once, and their mixtures."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import distrax_flows as dxf
from experiments._common import num_parameters
from experiments._table import Row, as_row
from experiments.sbi.recipes import Recipe


class Fitted(NamedTuple):
    """The mixture of an ensemble, as a flow without parameters: `{}` stands for them."""

    flow: dxf.Flow
    cells: Row


def fit_mixture(
    make: Callable[[jax.Array], distrax.Transformed],
    x: Float[Array, "N D"],
    context: Float[Array, "N C"],
    key: jax.Array,
    recipe: Recipe,
) -> Fitted:
    """Fits an ensemble by maximum likelihood; each member holds out another tenth of the rows.

    Args:
        make: builds a flow, given the context.
        x: events.
        context: the context of each.
        key: random key.
        recipe: training of the members, and their number.
    """
    start = time.perf_counter()
    flow = dxf.transform(make)
    fitted = dxf.fit(
        flow,
        x,
        context=context,
        key=jax.random.split(key, recipe.num_members),
        num_steps=recipe.num_steps,
        batch_size=min(recipe.batch_size, len(x) // 2),
        validation=0.1,
        patience=recipe.patience,
        eval_every=recipe.eval_every,
        ema_decay=recipe.ema_decay,
        optimizer=dxf.training.cosine_adam(
            recipe.num_steps, recipe.learning_rate, weight_decay=recipe.weight_decay
        ),
    )
    losses, steps = fitted.history.validation_loss, fitted.history.evaluated_steps
    cells = as_row(
        num_params=num_parameters(fitted.params),
        best_step=tuple(steps[np.argmin(losses, axis=-1)].tolist()),
        validation_loss=f"{losses.min(axis=-1).mean():.4f}",
        fit_seconds=f"{time.perf_counter() - start:.1f}",
    )
    return Fitted(mixture_of(flow, fitted.params), cells)


def mixture_of(flow: dxf.Flow, params: Any) -> dxf.Flow:
    """The equal mixture of flows whose parameters have the axis of members first, as a flow."""

    def make(context: jax.Array) -> distrax.Transformed:
        identity = distrax.Block(distrax.ScalarAffine(shift=0.0, scale=1.0), 1)
        return distrax.Transformed(_Mixture(flow, params, context), identity)

    return dxf.transform(make)


class _Mixture(distrax.Distribution):
    """Equal mixture of the members of an ensemble, given a context."""

    def __init__(self, flow: dxf.Flow, params: Any, context: jax.Array):
        super().__init__()
        self._flow, self._params, self._context = flow, params, context
        self._num_members = len(jax.tree.leaves(params)[0])

    @property
    def event_shape(self) -> tuple[int, ...]:
        """That of the members."""
        return self._flow.event_shape

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        def of_member(params, key):
            return self._flow.sample(params, key, (n,), self._context)

        pick_key, key = jax.random.split(key)
        samples = jax.vmap(of_member)(self._params, jax.random.split(key, self._num_members))
        member = jax.random.randint(pick_key, samples.shape[1:-1], 0, self._num_members)
        return jnp.take_along_axis(samples, member[None, ..., None], axis=0)[0]

    def log_prob(self, value: jax.Array) -> jax.Array:
        """The log of the mean of the members' densities."""
        of_members = jax.vmap(self._flow.log_prob, (0, None, None))
        log_probs = of_members(self._params, value, self._context)
        return jax.nn.logsumexp(log_probs, axis=0) - jnp.log(self._num_members)
