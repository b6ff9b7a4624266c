"""What steps minimise, and why it may be lost."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from distrax_flows.flow import Flow, Params, State, StatefulFlow
from distrax_flows.training._data import Batch
from distrax_flows.training._nonfinite import explain_gradient, explain_layers, explain_rows
from distrax_flows.training._placement import Placement

__all__ = [
    "DensityBatch",
    "LogDensityFn",
    "MaximumLikelihood",
    "ReverseKL",
    "check_log_density",
    "evaluation_of",
    "mean_loss",
]

# From points [..., D], and the context if there is one, to log-densities [...], up to a constant.
LogDensityFn: TypeAlias = Callable[..., jax.Array]


@dataclasses.dataclass(frozen=True)
class MaximumLikelihood:
    """The mean of `-weight * log_prob` over a batch; see `Objective`."""

    flow: Flow | StatefulFlow

    def __call__(self, params: Params, flow_state: State, batch: Batch) -> tuple[jax.Array, State]:
        """The loss, and the new state."""
        if isinstance(self.flow, StatefulFlow):
            log_prob, flow_state = self.flow.log_prob(
                params, flow_state, batch.x, batch.context, is_training=True
            )
        else:
            log_prob = self.flow.log_prob(params, batch.x, batch.context)
        return mean_loss(log_prob, batch.weights), flow_state

    def result(self, params: Params, flow_state: State) -> Params:
        """With the state, if the flow has any."""
        return (params, flow_state) if isinstance(self.flow, StatefulFlow) else params

    def explain(self, params: Params, flow_state: State, batch: Batch) -> str:
        """Which rows, which parameters, which layer."""
        flow, variables = evaluation_of(self.flow), self.result(params, flow_state)
        log_prob = flow.log_prob(variables, batch.x, batch.context)
        what = explain_rows("rows of the batch", "log-density", log_prob, batch.x)
        if not what:
            grads = jax.grad(lambda params: self(params, flow_state, batch)[0])(params)
            what = explain_gradient(grads)
        layers = explain_layers(flow.trace(variables, batch.x, batch.context))
        return f"{what} {layers} Lower the learning rate, or look at these rows.".lstrip()


def mean_loss(log_prob: jax.Array, weights: jax.Array | None) -> jax.Array:
    """Negative log-likelihood, in nats per example."""
    return -jnp.mean(log_prob if weights is None else weights * log_prob)


def evaluation_of(flow: Flow | StatefulFlow) -> Flow:
    """The flow whose parameters are the results of fits."""
    return flow.evaluation if isinstance(flow, StatefulFlow) else flow


def check_log_density(
    log_density: LogDensityFn, flow: Flow, params: Params, context: jax.Array | None
) -> None:
    """Raise unless `log_density` gives a number for each point.

    Raises:
        TypeError: it is no function.
        ValueError: it gives another shape.
    """
    if not callable(log_density):
        raise TypeError(
            "`log_density` must be a function, such as the `log_prob` of a distribution; got "
            f"{log_density!r}."
        )
    args = () if context is None else (context,)
    x = jax.eval_shape(lambda: flow.sample(params, jax.random.key(0), (3,), context))
    shape = jax.eval_shape(log_density, x, *args).shape
    if shape != x.shape[:-1]:
        raise ValueError(
            f"`log_density` must give a number for each point: of points {x.shape}, it must give "
            f"the shape {x.shape[:-1]}; got {shape}."
        )


class DensityBatch(NamedTuple):
    """What a step of reverse KL needs.

    Attributes:
        key: of its draws.
        beta: inverse temperature.
        context: all of it, or None.
        data: a batch of data, or None.
    """

    key: jax.Array
    beta: jax.Array
    context: jax.Array | None
    data: Batch | None


@dataclasses.dataclass(frozen=True)
class ReverseKL:
    """The mean of `log q - beta log p` over draws of q, mixed with the loss of data."""

    flow: Flow
    log_density: LogDensityFn
    num_samples: int
    path_gradient: bool
    forward_weight: float
    placement: Placement

    def __call__(
        self, params: Params, flow_state: State, batch: DensityBatch
    ) -> tuple[jax.Array, State]:
        """The loss."""
        x, log_q = self._draw(params, batch)
        if self.path_gradient:
            held = jax.lax.stop_gradient(params)
            log_q = self.flow.log_prob(held, x, batch.context)
        loss = jnp.mean(log_q - batch.beta * self._log_p(x, batch.context))
        if batch.data is not None:
            forward, _ = MaximumLikelihood(self.flow)(params, None, batch.data)
            loss = (1 - self.forward_weight) * loss + self.forward_weight * forward
        return loss, flow_state

    def result(self, params: Params, flow_state: State) -> Params:
        """The parameters as they are."""
        return params

    def explain(self, params: Params, flow_state: State, batch: DensityBatch) -> str:
        """Which draws, which parameters, which layer."""
        if batch.data is not None:
            forward = MaximumLikelihood(self.flow)
            if not jnp.isfinite(forward(params, None, batch.data)[0]):
                return forward.explain(params, None, batch.data)
        x, log_q = self._draw(params, batch)
        log_p = self._log_p(x, batch.context)
        z = self.flow.sample_base(params, batch.key, (self.num_samples,), batch.context)
        sentences = [
            explain_rows("draws", "log-density under `log_density`", log_p, x),
            explain_rows("draws", "log-density under the flow", log_q, x),
            explain_layers(self.flow.trace(params, z, batch.context, inverse=False)),
        ]
        if not sentences[0] and not sentences[1]:
            grads = jax.grad(lambda params: self(params, flow_state, batch)[0])(params)
            sentences.insert(0, explain_gradient(grads))
        sentences.append("Give the flow the support of the density, or lower the learning rate.")
        return " ".join(filter(None, sentences))

    def _draw(self, params: Params, batch: DensityBatch):
        x, log_q = self.flow.sample_and_log_prob(
            params, batch.key, (self.num_samples,), batch.context
        )
        return self.placement.divide(x), self.placement.divide(log_q)

    def _log_p(self, x: jax.Array, context: jax.Array | None) -> jax.Array:
        return self.log_density(x) if context is None else self.log_density(x, context)
