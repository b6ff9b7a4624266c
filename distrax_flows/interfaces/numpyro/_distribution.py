"""Flows as NumPyro distributions."""

from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float, Shaped
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample

from distrax_flows._core.types import ArrayLike, Shape
from distrax_flows.functional.flow import Flow, Params, events_of
from distrax_flows.interfaces.numpyro._supports import constraint, continuous_events

__all__ = ["FlowDistribution"]


class FlowDistribution(dist.Distribution):
    """A flow with its parameters bound, as a NumPyro distribution.

    For a prior, a likelihood (`obs=`) or a guide. A pytree whose leaves are the parameters and the
    context, whose batch shape it takes. Outside the flow's `support=` its density is zero, and NUTS
    stays inside. A guide's samples come with their log-densities, from one run of the flow.

    NUTS runs in the coordinates of the base instead, where the prior is standard normal, if the
    model samples a `TransformedDistribution` of a normal base and a `FlowTransform`, under
    `numpyro.infer.reparam.TransformReparam`.

    Args:
        flow: the flow, of continuous events and without random layers. In NUTS and as a likelihood
            its density is evaluated, so choose one where that is fast, such as `flows.maf`.
        params: its parameters.
        context: `[..., C]` or None.
        validate_args: whether `log_prob` checks that values are in the support.

    Raises:
        TypeError: `flow` has state, or is not a flow.
        ValueError: events of the flow are integers; or `context` is missing.

    Example:
        >>> import distrax_flows as dxf, jax, numpyro
        >>> flow = dxf.transform(lambda: dxf.flows.maf(2, support=dxf.supports.positive()))
        >>> prior = FlowDistribution(flow, flow.init_without_data(0))
        >>> def model(y):
        ...     scales = numpyro.sample("scales", prior)
        ...     numpyro.sample("y", numpyro.distributions.Normal(0.0, scales).to_event(1), obs=y)
        >>> nuts = numpyro.infer.NUTS(model)
        >>> mcmc = numpyro.infer.MCMC(nuts, num_warmup=50, num_samples=50, progress_bar=False)
        >>> mcmc.run(jax.random.key(0), jax.numpy.array([0.5, -2.0]))
        >>> bool((mcmc.get_samples()["scales"] > 0).all())
        True
    """

    pytree_data_fields = ("params", "context")
    pytree_aux_fields = ("flow",)

    def __init__(
        self,
        flow: Flow,
        params: Params,
        context: Shaped[ArrayLike, "... C"] | None = None,
        *,
        validate_args: bool | None = None,
    ):
        continuous_events(flow, context)
        self.flow = flow
        self.params = params
        self.context = None if context is None else jnp.asarray(context)
        batch_shape = flow.distribution(params, context).batch_shape
        super().__init__(batch_shape, flow.event_shape, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """Where the flow has density."""
        return constraint(events_of(self.flow, self.context))

    def sample(self, key: Any, sample_shape: Shape = ()) -> Float[Array, "..."]:
        """Return samples, `sample_shape + batch_shape + event_shape`."""
        return self.flow.sample(self.params, key, sample_shape, self.context)

    def sample_with_intermediates(
        self, key: Any, sample_shape: Shape = ()
    ) -> tuple[Float[Array, "..."], list[Float[Array, "..."]]]:
        """Return samples, and their log-densities in a list."""
        x, log_prob = self.flow.sample_and_log_prob(self.params, key, sample_shape, self.context)
        return x, [log_prob]

    @validate_sample
    def log_prob(
        self, value: Shaped[ArrayLike, "..."], intermediates: list[Any] | None = None
    ) -> Float[Array, "..."]:
        """Return the log-density of `value`, in nats; intermediates are those of its sampling."""
        if intermediates:
            return intermediates[0]
        return self.flow.log_prob(self.params, value, self.context)
