"""Compiled steps: gradients, updates, averages, and what is left out."""

import dataclasses
import functools
from typing import Any, NamedTuple, Protocol

import haiku as hk
import jax
import jax.numpy as jnp
import optax

from distrax_flows.flow import Flow, Params, State, StatefulFlow
from distrax_flows.modules import is_fixed
from distrax_flows.training._placement import Placement

__all__ = ["Objective", "Steps", "TrainState"]


class Objective(Protocol):
    """What steps minimise. Hashable, and equal where it means the same: it is compiled in."""

    @property
    def flow(self) -> Flow | StatefulFlow:
        """Whose parameters."""
        ...

    def __call__(self, params: Params, flow_state: State, batch: Any) -> tuple[jax.Array, State]:
        """The loss, and the new state of the flow."""
        ...

    def result(self, params: Params, flow_state: State) -> Params:
        """What a user takes for the parameters."""
        ...

    def explain(self, params: Params, flow_state: State, batch: Any) -> str:
        """Why the loss of a batch, or its gradient, is not finite."""
        ...


class TrainState(NamedTuple):
    """What a step changes. Of several fits at once, every leaf has their axis first."""

    params: Params  # all of them, fixed ones included
    flow: State  # of a StatefulFlow, else None
    optimizer: Any  # of the trained parameters only, as is the average
    average: Any
    halted: jax.Array  # a loss or a gradient was not finite, and no step shall follow


@dataclasses.dataclass(frozen=True)
class Steps:
    """How steps are made.

    Attributes:
        objective: what they minimise.
        optimizer: how.
        ema_decay: decay of the moving average of the parameters, or None.
        skip: whether steps whose loss or gradient is not finite are left out; if not, no step
            follows such a one.
        placement: where the state lies.
    """

    objective: Objective
    optimizer: optax.GradientTransformation
    ema_decay: float | None
    skip: bool
    placement: Placement

    def start(self, params: Params, flow_state: State, shape: tuple[int, ...]) -> TrainState:
        """The state before the first step; `shape` is () or that of several fits, `(E,)`."""

        def start(trained):
            average = None if self.ema_decay is None else optax.ema(self.ema_decay).init(trained)
            return self.optimizer.init(trained), average

        trained, fixed = self.split(params)
        optimizer, average = (jax.vmap(start) if shape else start)(trained)
        params = hk.data_structures.merge(trained, fixed)  # dictionaries, as steps return them
        state = TrainState(params, flow_state, optimizer, average, jnp.zeros(shape, bool))
        return self.placement.state(state)

    def split(self, params: Params) -> tuple[Params, Params]:
        """The parameters to train, and the fixed ones; `hk.data_structures.merge` joins them.

        Weight decay, and optimizers that only look at signs, move parameters without a gradient
        too: fixed ones reach neither the optimizer, nor the average, nor the norm of the gradient.
        """
        fixed, trained = hk.data_structures.partition(is_fixed, params)
        return trained, fixed

    def take(self, state: TrainState, batches: Any) -> tuple[TrainState, jax.Array, jax.Array]:
        """One step per batch; returns the state, and loss and norm of the gradient of each."""
        return _take(self, state, batches)

    def result(self, state: TrainState) -> Params:
        """The parameters, averaged if asked for, as a user takes them."""
        params = state.params
        if self.ema_decay is not None:
            trained, fixed = self.split(params)
            average = _average(state.average, trained, self.ema_decay)
            params = hk.data_structures.merge(average, fixed)
        return self.objective.result(params, state.flow)


@functools.partial(jax.jit, static_argnums=0)
def _take(steps: Steps, state: TrainState, batches: Any):
    def take(state, batches):
        state, (loss, norm) = jax.lax.scan(functools.partial(_step, steps), state, batches)
        return state, loss, norm

    # Wherever XLA would like to have them: the next chunk shall find them where this one did.
    return steps.placement.keep_state(
        (jax.vmap(take) if state.halted.ndim else take)(state, batches)
    )


def _step(steps: Steps, state: TrainState, batch: Any):
    trained, fixed = steps.split(state.params)

    def objective(trained):
        params = hk.data_structures.merge(trained, fixed)
        return steps.objective(params, state.flow, batch)

    (loss, flow_state), grads = jax.value_and_grad(objective, has_aux=True)(trained)
    norm = optax.tree.norm(grads)
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)
    optimizer = optax.with_extra_args_support(steps.optimizer)
    updates, optimizer_state = optimizer.update(grads, state.optimizer, trained, value=loss)
    moved: Any = optax.apply_updates(trained, updates)
    average = state.average
    if steps.ema_decay is not None:
        _, average = optax.ema(steps.ema_decay).update(moved, average)
    params = hk.data_structures.merge(moved, fixed)
    new = TrainState(params, flow_state, optimizer_state, average, state.halted)
    old = state if steps.skip else state._replace(halted=state.halted | ~finite)
    # One NaN in the state would stay for ever.
    state = jax.tree.map(functools.partial(jnp.where, finite & ~state.halted), new, old)
    return state, (loss, norm)


@functools.partial(jax.jit, static_argnums=2)
def _average(average: Any, params: Params, decay: float) -> Params:
    """The average, corrected for its start at zero; the parameters before the first step."""

    def corrected(average, params):
        started = average.count > 0
        count = jnp.maximum(average.count, 1)
        mean = optax.tree.bias_correction(average.ema, decay, count)
        return jax.tree.map(functools.partial(jnp.where, started), mean, params)

    return (jax.vmap(corrected) if average.count.ndim else corrected)(average, params)
