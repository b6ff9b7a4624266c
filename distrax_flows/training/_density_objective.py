"""The objective of fits to a density: a divergence, mixed with the loss of data."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from distrax_flows.functional._log_density import LogDensityFn
from distrax_flows.functional.flow import Flow, Params
from distrax_flows.training._data import Batch
from distrax_flows.training._nonfinite import explain_layers, explain_rows
from distrax_flows.training._placement import Placement
from distrax_flows.training.divergences import Divergence, Target
from distrax_flows.training.objectives import (
    Loss,
    MaximumLikelihood,
    evaluate,
    explain_loss_gradient,
)

__all__ = ["DensityBatch", "DensityObjective"]


class DensityBatch(NamedTuple):
    """Batch that `fit_to_density` gives its objective in each step.

    Attributes:
        beta: inverse temperature.
        context: the whole context, or None.
        data: a batch of data, or None.
        memory: memory of the divergence.
    """

    beta: Any
    context: Any
    data: Batch | None
    memory: Any = None


@dataclasses.dataclass(frozen=True)
class DensityObjective:
    """A divergence to `beta log p`, mixed with the loss of data; see `fit_to_density`."""

    divergence: Divergence
    log_density: LogDensityFn
    num_samples: int
    forward_weight: float
    placement: Placement

    def start(self, flow: Flow, params: Params, context: jax.Array | None, key: jax.Array) -> Any:
        """Return the initial memory of the divergence; None if it has none."""
        start = getattr(self.divergence, "start", None)
        if start is None:
            return None
        return start(flow, params, self._target(DensityBatch(1.0, context, None)), key)

    def __call__(self, flow: Flow, params: Params, batch: DensityBatch, key: jax.Array) -> Loss:
        """Return the loss; see `Objective`."""
        returned = self.divergence(flow, params, self._target(batch), key)
        loss = returned if isinstance(returned, Loss) else Loss(returned)
        if (loss.memory is None) != (batch.memory is None):
            raise ValueError(
                "`divergence` must return a memory if and only if its `start` does; got "
                f"{loss.memory=} from {self.divergence!r}."
            )
        if batch.data is None:
            return loss
        forward = evaluate(MaximumLikelihood(), flow, params, batch.data, key).loss
        mixed = (1 - self.forward_weight) * loss.value + self.forward_weight * forward
        return loss._replace(value=mixed)

    def explain(self, flow: Flow, params: Params, batch: DensityBatch, key: jax.Array) -> str:
        """Name the samples, parameters and layer that are non-finite."""
        if batch.data is not None:
            forward = MaximumLikelihood()
            if not jnp.isfinite(evaluate(forward, flow, params, batch.data, key).loss):
                return forward.explain(flow, params, batch.data, key)
        target = self._target(batch)
        x, log_q = target.sample_and_log_prob(flow, params, key)
        z = flow.sample_base(params, key, (self.num_samples,), batch.context)
        sentences = [
            explain_rows(
                "samples", "log-density under `log_density`", self._log_p(batch.context)(x), x
            ),
            explain_rows("samples", "log-density under the flow", log_q, x),
            explain_layers(flow.trace(params, z, batch.context, inverse=False, key=key)),
        ]
        if not sentences[0] and not sentences[1]:
            sentences.insert(0, explain_loss_gradient(self, flow, params, batch, key))
        sentences.append("Give the flow the support of the density, or lower the learning rate.")
        return " ".join(filter(None, sentences))

    def _target(self, batch: DensityBatch) -> Target:
        log_p = self._log_p(batch.context)
        return Target(
            log_density=lambda x: batch.beta * log_p(x),
            context=batch.context,
            num_samples=self.num_samples,
            divide=self.placement.divide,
            memory=batch.memory,
        )

    def _log_p(self, context: jax.Array | None) -> Callable[[jax.Array], jax.Array]:
        if context is None:
            return self.log_density
        return lambda x: self.log_density(x, context)
