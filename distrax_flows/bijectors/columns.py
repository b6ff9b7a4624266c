"""A scalar bijector per dimension."""

import functools
from collections.abc import Sequence

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.types import ArrayLike
from distrax_flows.bijectors._base import Bijector, Direction, forward, inverse

__all__ = ["Columns"]


class Columns(Bijector):
    """A scalar bijector for each dimension of an event, or None to leave it unchanged.

        y_d = f_d(x_d),    log|det| = sum_d log|f_d'(x_d)|

    For events whose dimensions have different supports: positive, in an interval, on the real line.
    An object listed for several dimensions is applied once, to all of them together. Constant
    Jacobian if all bijectors have one. Each direction costs as much as in the scalar bijectors.

    Batch axes of a bijector's parameters broadcast against those of the event.

    Args:
        bijectors: D scalar bijectors (`event_ndims_in == 0`), one per dimension; None leaves its
            dimension unchanged. As elsewhere in distrax, a function such as `jnp.exp` stands for
            the bijector that distrax makes of it.

    Raises:
        ValueError: there are no bijectors, or one is not scalar; or, when called, their number is
            not the event's size.

    Example:
        >>> import distrax, jax, jax.numpy as jnp
        >>> exp = distrax.Lambda(jnp.exp)
        >>> # onto: positive, real, (0, 1), positive
        >>> bijector = Columns([exp, None, distrax.Sigmoid(), exp])
        >>> y, log_det = bijector.forward_and_log_det(jnp.array([0.0, -7.0, 0.0, 0.0]))
        >>> print(y, f"{log_det:.4f}")
        [ 1.  -7.   0.5  1. ] -1.3863
    """

    def __init__(self, bijectors: Sequence[distrax.BijectorLike | None]):
        if not bijectors:
            raise ValueError("`bijectors` must hold one bijector per dimension; got none.")
        # Find equal objects here, not later: after a jit, shared leaves have become copies.
        columns: dict[int, list[int]] = {}
        for d, bijector in enumerate(bijectors):
            columns.setdefault(id(bijector), []).append(d)
        self._columns = tuple(tuple(group) for group in columns.values())
        self._bijectors = tuple(
            _as_scalar(bijectors[group[0]], group[0]) for group in self._columns
        )
        moving = [bijector for bijector in self._bijectors if bijector is not None]
        super().__init__(
            event_ndims_in=1,
            is_constant_jacobian=all(bijector.is_constant_jacobian for bijector in moving),
            is_constant_log_det=all(bijector.is_constant_log_det for bijector in moving),
        )

    @property
    def bijectors(self) -> tuple[distrax.Bijector | None, ...]:
        """The bijector of each dimension, or None."""
        by_column = {
            d: bijector
            for bijector, group in zip(self._bijectors, self._columns, strict=True)
            for d in group
        }
        return tuple(by_column[d] for d in range(len(by_column)))

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Apply each dimension's bijector."""
        x = self._as_events(x)
        return self._apply(forward, x)

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Apply the inverse of each dimension's bijector."""
        y = self._as_events(y)
        return self._apply(inverse, y)

    def _apply(self, direction: Direction, x: jax.Array):
        order = np.concatenate(self._columns)
        if x.shape[-1] != order.size:
            raise ValueError(
                "`bijectors` must hold one bijector per dimension of the event; got "
                f"{order.size} bijectors and an event of size {x.shape[-1]}."
            )
        parts, log_dets = [], []
        for bijector, group in zip(self._bijectors, self._columns, strict=True):
            part = jnp.take(x, np.array(group), axis=-1)
            log_det = jnp.zeros_like(part)
            if bijector is not None:
                # Mapped over its columns, a bijector sees only the batch axes, like its parameters.
                part, log_det = jax.vmap(functools.partial(direction, bijector), -1, -1)(part)
            parts.append(part)
            log_dets.append(log_det)
        batch_shape = jnp.broadcast_shapes(*(part.shape[:-1] for part in parts))

        def join(arrays):
            arrays = [jnp.broadcast_to(array, (*batch_shape, array.shape[-1])) for array in arrays]
            return jnp.concatenate(arrays, axis=-1)

        y = jnp.take(join(parts), np.argsort(order), axis=-1)
        return y, jnp.sum(join(log_dets), axis=-1)


def _as_scalar(bijector: distrax.BijectorLike | None, d: int) -> distrax.Bijector | None:
    if bijector is None:
        return None
    bijector = distrax.as_bijector(bijector)
    if bijector.event_ndims_in != 0 or bijector.event_ndims_out != 0:
        raise ValueError(
            "`bijectors` must be scalar, with event_ndims_in == 0; got "
            f"bijectors[{d}]={bijector.name} with event_ndims_in={bijector.event_ndims_in}."
        )
    return bijector
