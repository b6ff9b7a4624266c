"""Compiled training steps: gradients, updates, averages, and skipped steps."""

import dataclasses
import functools
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import optax

from distrax_flows.functional.flow import Flow, Params, State, StatefulFlow
from distrax_flows.training._placement import Placement
from distrax_flows.training.objectives import Objective, evaluate

__all__ = ["Steps", "TrainState"]


class TrainState(NamedTuple):
    """The state that a step updates. For several fits at once, every leaf has their axis first."""

    params: Params  # all of them, including those that are not trained
    flow: State  # of a StatefulFlow, else None
    optimizer: Any  # of the trained parameters only, like the average
    average: Any
    halted: jax.Array  # a loss or a gradient was non-finite; later steps do nothing
    memory: Any  # of an objective that has one, such as a replay buffer; else None


class Record(NamedTuple):
    """Record of a step, for the history."""

    loss: jax.Array
    grad_norm: jax.Array
    extras: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Steps:
    """Training steps.

    Attributes:
        flow: the flow.
        objective: training objective.
        optimizer: optax optimizer of the trained parameters.
        ema_decay: decay of the moving average of the parameters, or None.
        skip: whether steps with a non-finite loss or gradient are skipped; if not, training halts
            at one.
        placement: placement of the state on devices.
        trained: `(module, name)` of the trained parameters.
    """

    flow: Flow | StatefulFlow
    objective: Objective
    optimizer: optax.GradientTransformation
    ema_decay: float | None
    skip: bool
    placement: Placement
    trained: frozenset[tuple[str, str]]

    def start(
        self, params: Params, flow_state: State, memory: Any, shape: tuple[int, ...]
    ) -> TrainState:
        """Return the state before the first step; `shape` is () or, for several fits, `(E,)`."""

        def start(trained):
            average = None if self.ema_decay is None else optax.ema(self.ema_decay).init(trained)
            return self.optimizer.init(trained), average

        trained, rest = self.split(params)
        optimizer, average = (jax.vmap(start) if shape else start)(trained)
        params = hk.data_structures.merge(trained, rest)  # dictionaries, as steps return them
        halted = jnp.zeros(shape, bool)
        state = TrainState(params, flow_state, optimizer, average, halted, memory)
        return self.placement.state(state)

    def split(self, params: Params) -> tuple[Params, Params]:
        """Return the parameters to train, and the others; `hk.data_structures.merge` joins them.

        Weight decay, and optimizers that only use signs, also move parameters without a gradient.
        So the others reach neither the optimizer, nor the average, nor the norm of the gradient.
        """
        return hk.data_structures.partition(
            lambda module, name, _: (module, name) in self.trained, params
        )

    def take(self, state: TrainState, batches: Any, keys: jax.Array) -> tuple[TrainState, Record]:
        """Take one step per batch and key; return the state, and a record of each step."""
        return _take(self, state, batches, keys)

    def records(self, state: TrainState, batches: Any, keys: jax.Array) -> Record:
        """Return shapes and dtypes of the records of such steps."""
        return jax.eval_shape(functools.partial(_take, self), state, batches, keys)[1]

    def variables(self, params: Params, flow_state: State) -> Params:
        """Return parameters as objectives and users see them: with the state, if there is any."""
        return (params, flow_state) if isinstance(self.flow, StatefulFlow) else params

    def with_memory(self, batch: Any, memory: Any) -> Any:
        """Return a batch as objectives see it: with their memory, if there is any."""
        return batch if memory is None else batch._replace(memory=memory)

    def result(self, state: TrainState) -> Params:
        """Return the parameters for the user, averaged if `ema_decay` was given."""
        params = state.params
        if self.ema_decay is not None:
            trained, rest = self.split(params)
            average = _average(state.average, trained, self.ema_decay)
            params = hk.data_structures.merge(average, rest)
        return self.variables(params, state.flow)


@functools.partial(jax.jit, static_argnums=0)
def _take(steps: Steps, state: TrainState, batches: Any, keys: jax.Array):
    def take(state, batches, keys):
        return jax.lax.scan(functools.partial(_step, steps), state, (batches, keys))

    state, records = (jax.vmap(take) if state.halted.ndim else take)(state, batches, keys)
    # XLA might choose another placement, but the next chunk must find arrays where this one did.
    return steps.placement.keep_state(state), steps.placement.keep_state(records)


def _step(steps: Steps, state: TrainState, inputs: tuple[Any, jax.Array]):
    batch, key = inputs
    batch = steps.with_memory(batch, state.memory)
    trained, rest = steps.split(state.params)

    def objective(trained):
        params = steps.variables(hk.data_structures.merge(trained, rest), state.flow)
        loss, *others = evaluate(steps.objective, steps.flow, params, batch, key)
        return loss, others

    (loss, (extras, flow_state, memory)), grads = jax.value_and_grad(objective, has_aux=True)(
        trained
    )
    norm = optax.tree.norm(grads)
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)
    optimizer = optax.with_extra_args_support(steps.optimizer)
    updates, optimizer_state = optimizer.update(grads, state.optimizer, trained, value=loss)
    moved: Any = optax.apply_updates(trained, updates)
    average = state.average
    if steps.ema_decay is not None:
        _, average = optax.ema(steps.ema_decay).update(moved, average)
    params = hk.data_structures.merge(moved, rest)
    new = TrainState(params, flow_state, optimizer_state, average, state.halted, memory)
    old = state if steps.skip else state._replace(halted=state.halted | ~finite)
    # Otherwise one NaN would stay in the state forever.
    state = jax.tree.map(functools.partial(jnp.where, finite & ~state.halted), new, old)
    return state, Record(loss, norm, extras)


@functools.partial(jax.jit, static_argnums=2)
def _average(average: Any, params: Params, decay: float) -> Params:
    """Return the average, bias-corrected; before the first step, the parameters."""

    def corrected(average, params):
        started = average.count > 0
        count = jnp.maximum(average.count, 1)
        mean = optax.tree.bias_correction(average.ema, decay, count)
        return jax.tree.map(functools.partial(jnp.where, started), mean, params)

    return (jax.vmap(corrected) if average.count.ndim else corrected)(average, params)
