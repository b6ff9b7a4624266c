"""Hierarchical coupling (HINT)."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.checks import check_scalar
from distrax_flows._core.types import ArrayLike, BijectorFn
from distrax_flows.bijectors._base import Bijector, Direction, forward, inverse

__all__ = ["HierarchicalCoupling", "coupling_tree"]

# A coupling of the tree: dimensions start..split-1 determine the map of split..stop-1.
Node = tuple[int, int, int]


class HierarchicalCoupling(Bijector):
    """Coupling of the two halves of an event, each first transformed by the same recursion.

    An event of size D is cut at `D // 2` into x_1 and x_2:

        y_1 = f_1(x_1),   y_2 = g(f_2(x_2); theta(y_1)),   log|det| = sum over all couplings

    where f_1 and f_2 are again hierarchical couplings, with their own conditioners, down to single
    dimensions, which stay unchanged; g acts on each dimension by a scalar bijector. So every
    dimension except the first is transformed, given all those before it. The Jacobian is lower
    triangular and dense; that of a single coupling has one block below the diagonal.

    Both directions take one pass: `inverse` knows y_1, so it undoes the outer coupling first, then
    the inner ones. A pass evaluates the conditioners of all D - 1 couplings; `coupling_tree` lists
    them. An event of one dimension stays unchanged.

    Args:
        conditioner: called as `conditioner((start, split, stop), upper)`, where `upper` holds the
            dimensions start..split-1 of y, `[..., split - start]`. Returns the parameters of the
            dimensions split..stop-1, `[..., stop - split, P]`. If the weights should be leaves of
            the bijector, pass a pytree such as `jax.tree_util.Partial(function, weights)`.
        bijector: maps parameters `[..., P]` to a scalar distrax bijector (`event_ndims_in == 0`)
            of batch shape `[...]`, such as `families.affine().bijector`.

    Raises:
        ValueError: when called, `bijector` does not return a scalar bijector.

    Reference:
        Kruse et al., "HINT: Hierarchical Invertible Neural Transport for Density Estimation and
        Bayesian Inference", 2021, the recursive coupling block.

    Example:
        >>> import distrax, jax.numpy as jnp
        >>> def conditioner(node, upper):  # shifts the lower half by the sum of the upper one
        ...     start, split, stop = node
        ...     total = upper.sum(axis=-1, keepdims=True)
        ...     return jnp.repeat(total, stop - split, axis=-1)[..., None]
        >>> bijector = HierarchicalCoupling(
        ...     conditioner, lambda p: distrax.ScalarAffine(shift=p[..., 0]))
        >>> y = bijector.forward(jnp.array([1.0, 10.0, 100.0]))
        >>> print(y, bijector.inverse(y))
        [  1.  11. 111.] [  1.  10. 100.]
    """

    def __init__(
        self,
        conditioner: Callable[[Node, jax.Array], jax.Array],
        bijector: BijectorFn,
    ):
        super().__init__(event_ndims_in=1)
        self._conditioner = conditioner
        self._bijector = bijector

    @property
    def conditioner(self) -> Callable[[Node, jax.Array], jax.Array]:
        """The conditioner."""
        return self._conditioner

    @property
    def bijector(self) -> BijectorFn:
        """The function from parameters to the scalar bijector."""
        return self._bijector

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Apply the inner couplings first, in one pass."""
        x = self._as_events(x)
        return self._couple(forward, x, coupling_tree(x.shape[-1]))

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Undo the outer couplings first, in one pass."""
        y = self._as_events(y)
        return self._couple(inverse, y, coupling_tree(y.shape[-1])[::-1])

    def _couple(self, direction: Direction, x: jax.Array, nodes: Sequence[Node]):
        """Apply the couplings one by one, each on the upper half already transformed."""
        log_det = jnp.zeros(x.shape[:-1], x.dtype)
        for node in nodes:
            start, split, stop = node
            params = self._conditioner(node, x[..., start:split])
            # The parameters may have batch axes that the event lacks.
            batch_shape = jnp.broadcast_shapes(x.shape[:-1], params.shape[:-2])
            x = jnp.broadcast_to(x, batch_shape + x.shape[-1:])
            scalars = check_scalar("bijector", self._bijector(params))
            lower, lower_log_det = direction(scalars, x[..., split:stop])
            x = jnp.concatenate([x[..., :split], lower, x[..., stop:]], axis=-1)
            log_det = jnp.broadcast_to(log_det, batch_shape) + jnp.sum(lower_log_det, axis=-1)
        return x, log_det


def coupling_tree(event_size: int) -> tuple[Node, ...]:
    """Return the couplings `(start, split, stop)` of a `HierarchicalCoupling`, inner before outer.

    Args:
        event_size: number of dimensions, D.

    Example:
        >>> coupling_tree(3)
        ((1, 2, 3), (0, 1, 3))
    """
    return _subtree(0, event_size)


def _subtree(start: int, stop: int) -> tuple[Node, ...]:
    if stop - start < 2:
        return ()
    split = (start + stop) // 2
    return (*_subtree(start, split), *_subtree(split, stop), (start, split, stop))
