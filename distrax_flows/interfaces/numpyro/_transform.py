"""Flows as NumPyro transforms."""

from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float, Shaped
from numpyro.distributions import constraints

from distrax_flows._core.types import ArrayLike, Shape
from distrax_flows.functional.flow import Flow, Params, events_of
from distrax_flows.interfaces.numpyro._supports import (
    base_constraint,
    constraint,
    continuous_events,
)

__all__ = ["FlowTransform"]


class FlowTransform(dist.transforms.Transform):
    """A flow f with its parameters bound, as a NumPyro transform from base to data.

        y = f(x),    log|det| = log|det df/dx|

    A pytree whose leaves are the parameters and the context. Each direction costs as much as in the
    flow; the log-det comes with the value where NumPyro passes intermediates on, and from the
    forward direction elsewhere. The codomain is that of the flow's `support=`. Bounds of the base
    are ignored: the domain is the whole space.

    Args:
        flow: the flow, of continuous events and without random layers.
        params: its parameters.
        context: `[..., C]` or None.

    Raises:
        TypeError: `flow` has state, or is not a flow.
        ValueError: events of the flow are integers.

    Example:
        >>> import distrax_flows as dxf, jax.numpy as jnp, numpyro.distributions as dist
        >>> flow = dxf.transform(lambda: dxf.flows.iaf(2))
        >>> transform = FlowTransform(flow, flow.init_without_data(0))
        >>> normal = dist.Normal(jnp.zeros(2), 1.0).to_event(1)
        >>> print(f"{dist.TransformedDistribution(normal, transform).log_prob(jnp.zeros(2)):.4f}")
        -1.8379
    """

    def __init__(
        self, flow: Flow, params: Params, context: Shaped[ArrayLike, "... C"] | None = None
    ):
        continuous_events(flow, context)
        self.flow = flow
        self.params = params
        self.context = None if context is None else jnp.asarray(context)

    @property
    def domain(self) -> constraints.Constraint:
        """Where the base has density."""
        return base_constraint(events_of(self.flow, self.context))

    @property
    def codomain(self) -> constraints.Constraint:
        """Where the flow has density."""
        return constraint(events_of(self.flow, self.context))

    def __call__(self, x: Shaped[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Map from base to data."""
        return self.call_with_intermediates(x)[0]

    def call_with_intermediates(
        self, x: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Map from base to data; return the value and the log-det."""
        return self.flow.forward(self.params, x, self.context)

    def _inverse(self, y: Shaped[ArrayLike, "..."]) -> Float[Array, "..."]:
        return self.flow.inverse(self.params, y, self.context)[0]

    def log_abs_det_jacobian(
        self, x: Shaped[ArrayLike, "..."], y: Any, intermediates: Any = None
    ) -> Float[Array, "..."]:
        """Return the log-det at `x`, of the base, `[..., *event_shape]`."""
        return self.call_with_intermediates(x)[1] if intermediates is None else intermediates

    def forward_shape(self, shape: Shape) -> Shape:
        """Return the shape of data whose base values have that shape."""
        events = events_of(self.flow, self.context)
        return self._batch_shape(shape, events.base_shape) + events.shape

    def inverse_shape(self, shape: Shape) -> Shape:
        """Return the shape of base values whose data have that shape."""
        events = events_of(self.flow, self.context)
        return self._batch_shape(shape, events.shape) + events.base_shape

    def _batch_shape(self, shape: Shape, event_shape: Shape) -> Shape:
        context_shape = () if self.context is None else self.context.shape[:-1]
        return jnp.broadcast_shapes(shape[: len(shape) - len(event_shape)], context_shape)

    def tree_flatten(self):
        """Split into leaves and structure."""
        return (self.params, self.context), (("params", "context"), {"flow": self.flow})
