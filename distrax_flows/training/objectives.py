"""Training objectives.

An objective is a function of a flow, its parameters, a batch and a key. It returns a loss: one
number, or one per row of the batch. `fit` takes any such function:

    def energy_score(flow, params, batch, key):
        a, b = flow.sample(params, key, (2, *batch.x.shape[:1]))
        far = jnp.linalg.norm(a - batch.x, axis=-1)
        return far - 0.5 * jnp.linalg.norm(a - b, axis=-1)

    distrax_flows.fit(flow, data, key=key, objective=energy_score)
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows.functional.flow import Flow, Params, State, StatefulFlow
from distrax_flows.training._data import Batch
from distrax_flows.training._nonfinite import explain_gradient, explain_layers, explain_rows

__all__ = [
    "Loss",
    "MaximumLikelihood",
    "Objective",
    "Outcome",
    "evaluate",
    "evaluation_of",
    "explain",
]


class Loss(NamedTuple):
    """Loss with weights, extras, state or memory, for objectives that return more than a number.

    Attributes:
        value: the loss, `[]`; or `[N]`, one per row of the batch, averaged with the weights.
        weights: `[N]`, the weight of each row; those of the batch if None.
        extras: scalars by name, `[]` each; the history records them for each step.
        state: the new state of a `StatefulFlow`; None leaves it unchanged.
        memory: the new memory of a divergence that has one, such as `FAB`.
    """

    value: Float[Array, "..."]
    weights: Float[Array, " N"] | None = None
    extras: Mapping[str, Float[Array, ""]] = {}
    state: State = None
    memory: Any = None


@runtime_checkable
class Objective(Protocol):
    """Training objective: a function that JAX can trace and differentiate.

    It is compiled in: fits share compiled code only if they get the same object. Frozen
    dataclasses, such as `MaximumLikelihood()`, are the same if they are equal; a new lambda
    compiles again. An optional method `explain(flow, params, batch, key) -> str` explains in a
    sentence why its loss or gradient is non-finite.
    """

    def __call__(
        self, flow: Any, params: Params, batch: Any, key: jax.Array
    ) -> Float[Array, "..."] | Loss:
        """Return the loss of a batch.

        Args:
            flow: the flow being trained: a `Flow`; or a `StatefulFlow` in training, and its
                `evaluation` in validation.
            params: its parameters; the pair `(params, state)` if it has state.
            batch: the `Batch` of the step: `batch.x`, `batch.context`, `batch.weights`.
            key: random key of the step.

        Returns:
            The loss, `[]` or one per row; or a `Loss`.
        """
        ...


class Outcome(NamedTuple):
    """Mean loss, extras, state and memory of a batch."""

    loss: jax.Array
    extras: dict[str, jax.Array]
    state: State
    memory: Any


def evaluate(
    objective: Objective, flow: Flow | StatefulFlow, params: Params, batch: Any, key: jax.Array
) -> Outcome:
    """Call an objective, and average over the rows of the batch.

    Raises:
        TypeError: `objective` is not callable.
        ValueError: it does not return a loss.
    """
    value, weights, extras, state, memory = _as_loss(objective, flow, params, batch, key)
    if value.ndim:
        value = jnp.mean(value if weights is None else weights * value)
    if state is None and isinstance(flow, StatefulFlow):
        state = params[1]
    return Outcome(value, dict(extras), state, memory)


def row_losses(
    objective: Objective, flow: Flow | StatefulFlow, params: Params, batch: Any, key: jax.Array
) -> jax.Array:
    """Return the weighted losses of the rows of a batch, `[N]`; or one loss of all, `[]`."""
    value, weights, *_ = _as_loss(objective, flow, params, batch, key)
    return value if weights is None or not value.ndim else weights * value


def _as_loss(objective, flow, params, batch, key) -> Loss:
    if not callable(objective):
        raise TypeError(
            "`objective` must be a function `(flow, params, batch, key) -> loss`, such as "
            f"`training.MaximumLikelihood()`; got {objective!r}."
        )
    returned: Any = objective(flow, params, batch, key)
    loss = returned if isinstance(returned, Loss) else Loss(returned)
    value = jnp.asarray(loss.value)
    num_rows = len(batch.x) if isinstance(batch, Batch) else None
    if not jnp.issubdtype(value.dtype, jnp.floating) or value.shape not in ((), (num_rows,)):
        raise ValueError(
            "`objective` must return a floating-point loss of shape [], or one for each row of the "
            f"batch, [{num_rows}]; got shape {value.shape} and dtype {value.dtype}."
        )
    for name, extra in loss.extras.items():
        if jnp.shape(extra):
            raise ValueError(
                "`objective` must return extras of shape []; got "
                f"{name!r} of shape {jnp.shape(extra)}."
            )
    weights = loss.weights
    if weights is None and isinstance(batch, Batch):
        weights = batch.weights
    return loss._replace(value=value, weights=weights)


def explain(
    objective: Objective, flow: Flow | StatefulFlow, params: Params, batch: Any, key: jax.Array
) -> str:
    """Say why the loss of a batch, or its gradient, is non-finite."""
    own = getattr(objective, "explain", None)
    if own is not None:
        return own(flow, params, batch, key)
    what = ""
    if isinstance(batch, Batch):
        rows = row_losses(objective, flow, params, batch, key)
        if rows.ndim:
            what = explain_rows("rows of the batch", "loss", rows, batch.x)
    return what or explain_loss_gradient(objective, flow, params, batch, key)


def explain_loss_gradient(
    objective: Objective, flow: Flow | StatefulFlow, params: Params, batch: Any, key: jax.Array
) -> str:
    """Name the parameters whose gradient is non-finite; empty if none."""
    trained, state = params if isinstance(flow, StatefulFlow) else (params, None)

    def loss(trained):
        params = (trained, state) if isinstance(flow, StatefulFlow) else trained
        return evaluate(objective, flow, params, batch, key).loss

    return explain_gradient(jax.grad(loss)(trained))


@dataclasses.dataclass(frozen=True)
class MaximumLikelihood:
    """Negative log-density of each row, in nats; the default objective of `fit`."""

    def __call__(
        self, flow: Any, params: Params, batch: Batch, key: jax.Array
    ) -> Float[Array, " N"] | Loss:
        """Return the loss of each row; see `Objective`."""
        if not isinstance(flow, StatefulFlow):
            return -flow.log_prob(params, batch.x, batch.context, key=key)
        params, state = params
        log_prob, state = flow.log_prob(
            params, state, batch.x, batch.context, is_training=True, key=key
        )
        return Loss(-log_prob, state=state)

    def explain(self, flow: Any, params: Params, batch: Batch, key: jax.Array) -> str:
        """Name the rows, parameters and layer that are non-finite.

        Args:
            flow: the flow being trained.
            params: the parameters.
            batch: the batch.
            key: random key of the step.
        """
        evaluated = evaluation_of(flow)
        log_prob = evaluated.log_prob(params, batch.x, batch.context, key=key)
        what = explain_rows("rows of the batch", "log-density", log_prob, batch.x)
        if not what:
            what = explain_loss_gradient(self, flow, params, batch, key)
        layers = explain_layers(evaluated.trace(params, batch.x, batch.context, key=key))
        return f"{what} {layers} Lower the learning rate, or look at these rows.".lstrip()


def evaluation_of(flow: Flow | StatefulFlow) -> Flow:
    """Return the flow whose parameters a fit returns."""
    return flow.evaluation if isinstance(flow, StatefulFlow) else flow
