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

from distrax_flows.functional._log_density import LogDensityFn
from distrax_flows.functional.flow import Flow, Params, State, StatefulFlow
from distrax_flows.training._data import Batch
from distrax_flows.training._nonfinite import explain_gradient, explain_layers, explain_rows
from distrax_flows.training._placement import Placement

__all__ = [
    "DensityBatch",
    "Loss",
    "MaximumLikelihood",
    "Objective",
    "Outcome",
    "ReverseKL",
    "evaluate",
    "evaluation_of",
    "explain",
]


class Loss(NamedTuple):
    """Loss with weights, extras or a new state, for objectives that return more than a number.

    Attributes:
        value: the loss, `[]`; or `[N]`, one per row of the batch, averaged with the weights.
        weights: `[N]`, the weight of each row; those of the batch if None.
        extras: scalars by name, `[]` each; the history records them for each step.
        state: the new state of a `StatefulFlow`; None leaves it unchanged.
    """

    value: Float[Array, "..."]
    weights: Float[Array, " N"] | None = None
    extras: Mapping[str, Float[Array, ""]] = {}
    state: State = None


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
    """Mean loss, extras and state of a batch."""

    loss: jax.Array
    extras: dict[str, jax.Array]
    state: State


def evaluate(
    objective: Objective, flow: Flow | StatefulFlow, params: Params, batch: Any, key: jax.Array
) -> Outcome:
    """Call an objective, and average over the rows of the batch.

    Raises:
        TypeError: `objective` is not callable.
        ValueError: it does not return a loss.
    """
    value, weights, extras, state = _as_loss(objective, flow, params, batch, key)
    if value.ndim:
        value = jnp.mean(value if weights is None else weights * value)
    if state is None and isinstance(flow, StatefulFlow):
        state = params[1]
    return Outcome(value, dict(extras), state)


def row_losses(
    objective: Objective, flow: Flow | StatefulFlow, params: Params, batch: Any, key: jax.Array
) -> jax.Array:
    """Return the weighted losses of the rows of a batch, `[N]`; or one loss of all, `[]`."""
    value, weights, _, _ = _as_loss(objective, flow, params, batch, key)
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
    return what or _explain_gradient(objective, flow, params, batch, key)


def _explain_gradient(objective, flow, params, batch, key) -> str:
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
        """Name the rows, parameters and layer that are non-finite."""
        evaluated = evaluation_of(flow)
        log_prob = evaluated.log_prob(params, batch.x, batch.context, key=key)
        what = explain_rows("rows of the batch", "log-density", log_prob, batch.x)
        if not what:
            what = _explain_gradient(self, flow, params, batch, key)
        layers = explain_layers(evaluated.trace(params, batch.x, batch.context, key=key))
        return f"{what} {layers} Lower the learning rate, or look at these rows.".lstrip()


def evaluation_of(flow: Flow | StatefulFlow) -> Flow:
    """Return the flow whose parameters a fit returns."""
    return flow.evaluation if isinstance(flow, StatefulFlow) else flow


class DensityBatch(NamedTuple):
    """Batch that `fit_to_density` gives its objective in each step.

    Attributes:
        beta: inverse temperature.
        context: the whole context, or None.
        data: a batch of data, or None.
    """

    beta: Any
    context: Any
    data: Batch | None


@dataclasses.dataclass(frozen=True)
class ReverseKL:
    """Mean of `log q - beta log p` over samples of q, mixed with the loss of data.

    The objective of `fit_to_density`, whose docstring explains the arguments.
    """

    log_density: LogDensityFn
    num_samples: int = 256
    path_gradient: bool = True
    forward_weight: float = 0.0
    placement: Placement | None = None

    def __call__(
        self, flow: Flow, params: Params, batch: DensityBatch, key: jax.Array
    ) -> Float[Array, ""]:
        """Return the loss; see `Objective`."""
        x, log_q = self._sample(flow, params, batch, key)
        if self.path_gradient:
            held = jax.lax.stop_gradient(params)
            log_q = flow.log_prob(held, x, batch.context, key=key)
        loss = jnp.mean(log_q - batch.beta * self._log_p(x, batch.context))
        if batch.data is not None:
            forward = evaluate(MaximumLikelihood(), flow, params, batch.data, key).loss
            loss = (1 - self.forward_weight) * loss + self.forward_weight * forward
        return loss

    def explain(self, flow: Flow, params: Params, batch: DensityBatch, key: jax.Array) -> str:
        """Name the samples, parameters and layer that are non-finite."""
        if batch.data is not None:
            forward = MaximumLikelihood()
            if not jnp.isfinite(evaluate(forward, flow, params, batch.data, key).loss):
                return forward.explain(flow, params, batch.data, key)
        x, log_q = self._sample(flow, params, batch, key)
        log_p = self._log_p(x, batch.context)
        z = flow.sample_base(params, key, (self.num_samples,), batch.context)
        sentences = [
            explain_rows("samples", "log-density under `log_density`", log_p, x),
            explain_rows("samples", "log-density under the flow", log_q, x),
            explain_layers(flow.trace(params, z, batch.context, inverse=False, key=key)),
        ]
        if not sentences[0] and not sentences[1]:
            sentences.insert(0, _explain_gradient(self, flow, params, batch, key))
        sentences.append("Give the flow the support of the density, or lower the learning rate.")
        return " ".join(filter(None, sentences))

    def _sample(self, flow: Flow, params: Params, batch: DensityBatch, key: jax.Array):
        x, log_q = flow.sample_and_log_prob(params, key, (self.num_samples,), batch.context)
        if self.placement is None:
            return x, log_q
        return self.placement.divide(x), self.placement.divide(log_q)

    def _log_p(self, x: jax.Array, context: jax.Array | None) -> jax.Array:
        return self.log_density(x) if context is None else self.log_density(x, context)
