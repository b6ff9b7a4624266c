"""Properties of a flow's events, known before any of its layers runs."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from distrax_flows._core.types import Shape
from distrax_flows.supports import Support

__all__ = ["Events"]


class Events(NamedTuple):
    """Events of a flow.

    Attributes:
        shape: shape of an event of the data.
        base_shape: shape of an event of the base.
        is_discrete: whether events of the data are integers.
        supports: supports of events of the data: one per dimension of a vector, else one for all
            entries; empty if unknown.
    """

    shape: Shape
    base_shape: Shape
    is_discrete: bool
    supports: tuple[Support, ...] = ()

    @property
    def has_noise(self) -> bool:
        """Whether some dimensions are integers, to which layers add noise."""
        return self.is_discrete or any(support.is_integer for support in self.supports)

    @property
    def integers(self) -> Any:
        """The dtype in which the flow computes with integers; None if it takes no integers."""
        return jnp.result_type(jnp.float32) if self.is_discrete else None
