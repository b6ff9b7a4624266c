"""Divergences from a flow to a density known up to its normaliser.

`fit_to_density` minimises one of them:

    fit_to_density(flow, log_density, divergence=training.FAB(), key=key)

| divergence | seeks | costs per step and sample |
|-|-|-|
| `ReverseKL` | high density; may miss modes | a sample, and with `path_gradient` its density |
| `LogVariance` | as `ReverseKL`, with gradients of less variance near the optimum | the same |
| `FAB` | all modes | annealing of new samples, and densities of old ones |
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows.functional.flow import Flow, Params
from distrax_flows.training.objectives import Loss

__all__ = ["Divergence", "LogVariance", "ReverseKL", "Target"]


@dataclasses.dataclass(frozen=True)
class Target:
    """A density p known up to its normaliser, at one step of a fit.

    Attributes:
        log_density: maps `[..., *event_shape]` to `[...]`, with context and temperature bound.
        context: `[..., C]`, or None.
        num_samples: number of samples of a step.
        divide: function that divides samples over the devices of a mesh, if there is one.
        memory: the memory that the divergence returned in the previous step.
    """

    log_density: Callable[[jax.Array], jax.Array]
    context: jax.Array | None
    num_samples: int
    divide: Callable[[jax.Array], jax.Array] = lambda rows: rows
    memory: Any = None

    def sample_and_log_prob(
        self, flow: Flow, params: Params, key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Return samples of the flow, and their log-densities under it.

        Args:
            flow: the flow.
            params: the parameters.
            key: random key.
        """
        x, log_q = flow.sample_and_log_prob(params, key, (self.num_samples,), self.context)
        return self.divide(x), self.divide(log_q)


@runtime_checkable
class Divergence(Protocol):
    """Divergence between a flow and a density: a function that JAX can trace and differentiate.

    It is compiled in, as an `Objective` is. A divergence that keeps something from step to step,
    such as a replay buffer, has a method `start(flow, params, target, key)` that returns the
    initial memory. It then reads the memory as `target.memory`, and returns the next one as
    `Loss(..., memory=...)`.
    """

    def __call__(
        self, flow: Flow, params: Params, target: Target, key: jax.Array
    ) -> Float[Array, ""] | Loss:
        """Return the loss of a step, one number, or a `Loss`.

        Args:
            flow: the flow being trained.
            params: the parameters.
            target: the density, the context and the number of samples.
            key: random key of the step.
        """
        ...


@dataclasses.dataclass(frozen=True)
class ReverseKL:
    """KL(q || p) up to a constant, the mean of `log q - log p` over samples of q.

    It seeks regions where p is large and may miss some of its modes. By default gradients follow
    only the path of the samples ("sticking the landing"): the parameters inside `log q` are held
    fixed, because their own gradient is zero on average. The rest vanishes for every single sample
    if q = p, so fits end closer to p. It costs an evaluation of the density of the samples besides
    sampling.

    Attributes:
        path_gradient: whether gradients follow only the path; otherwise, the full gradient. Flows
            with random layers, whose `log_prob` is only a bound, always have the full gradient.

    Reference:
        Rezende & Mohamed, "Variational Inference with Normalizing Flows", 2015, eq. 20; Roeder et
        al., "Sticking the Landing", 2017, eq. 7.
    """

    path_gradient: bool = True

    def __call__(
        self, flow: Flow, params: Params, target: Target, key: jax.Array
    ) -> Float[Array, ""]:
        """Return the loss; see `Divergence`."""
        x, log_q = target.sample_and_log_prob(flow, params, key)
        if self.path_gradient and not flow.draws_random_numbers(params, target.context):
            held = jax.lax.stop_gradient(params)
            log_q = flow.log_prob(held, x, target.context, key=key)
        return jnp.mean(log_q - target.log_density(x))


@dataclasses.dataclass(frozen=True)
class LogVariance:
    """Half the variance of `log q - log p` over samples of q, which are held fixed.

    Its expected gradient is that of KL(q || p), and vanishes for every single batch if q = p. It
    needs no gradient of p. It costs an evaluation of the density besides sampling: choose a flow
    that is fast in both directions, such as couplings.

    Reference:
        Richter et al., "VarGrad: A Low-Variance Gradient Estimator for Variational Inference",
        2020, eq. 7.
    """

    def __call__(
        self, flow: Flow, params: Params, target: Target, key: jax.Array
    ) -> Float[Array, ""]:
        """Return the loss; see `Divergence`."""
        if target.num_samples < 2:
            raise ValueError(
                f"`num_samples` must be at least 2 for a variance; got {target.num_samples}."
            )
        held = jax.lax.stop_gradient(params)
        x, _ = target.sample_and_log_prob(flow, held, key)
        log_ratio = flow.log_prob(params, x, target.context, key=key) - target.log_density(x)
        return jnp.mean(0.5 * jnp.var(log_ratio, axis=0, ddof=1))
