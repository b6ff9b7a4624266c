"""Base class of distributions of vectors."""

import distrax

from distrax_flows._core.types import Shape

__all__ = ["OfVectors"]


class OfVectors(distrax.Distribution):
    """Distribution of vectors, without batch shape. Abstract."""

    def __init__(self, event_size: int):
        super().__init__()
        self._event_size = event_size

    @property
    def event_shape(self) -> Shape:
        return (self._event_size,)

    @property
    def batch_shape(self) -> Shape:
        return ()
