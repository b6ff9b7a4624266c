"""Chain of N layers of one kind, at the compile time of a single one."""

from collections.abc import Callable
from typing import Any

import distrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.numerics import KEPT, vary_like
from distrax_flows._core.types import ArrayLike
from distrax_flows.bijectors._base import Bijector, Direction, forward, inverse

__all__ = ["ScanChain"]


class ScanChain(Bijector):
    """Chain of N bijectors that differ only in their parameters, run by `jax.lax.scan`.

        f = f_N o ... o f_1,    f_n = layer_fn(params[n])

    `forward` applies the layers in the order of the parameters' leading axis, `inverse` in reverse.
    Only one layer is traced and compiled for any N; `distrax.Chain` traces all of them.

    Args:
        layer_fn: pure function from the parameters of one layer to its bijector, whose inputs and
            outputs have the same shape.
        params: pytree of the layers' parameters, each leaf with the leading axis `[N, ...]`.
        remat: whether gradients store only the inputs of layers (and the roots of numerical
            inverses) and recompute everything else. If not, they also store matrix products;
            elementwise operations are always recomputed, because storing them takes longer.
        unroll: whether each layer is compiled separately. Steps then take up to a quarter less time
            on a CPU, because parameters are not copied to and from stacks. Compile time grows in
            proportion to the number of layers.

    Raises:
        ValueError: `params` holds no array, the leading axes differ, or the layer's input and
            output events have different ranks.

    Example:
        >>> import jax.numpy as jnp
        >>> from distrax_flows.bijectors.elementwise import Shift
        >>> bijector = ScanChain(Shift, jnp.array([[1.0, 0.0], [2.0, 5.0]]))
        >>> print(bijector.forward(jnp.zeros(2)))
        [3. 5.]
    """

    def __init__(
        self,
        layer_fn: Callable[[Any], distrax.Bijector],
        params: Any,
        *,
        remat: bool = False,
        unroll: bool = False,
    ):
        shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(params)]
        lengths = {shape[0] if shape else None for shape in shapes}
        if len(lengths) != 1 or None in lengths:
            raise ValueError(
                "`params` must hold arrays with one common leading axis, a row per layer; "
                f"got leaves of shapes {shapes}."
            )
        layer = layer_fn(jax.tree.map(lambda leaf: leaf[0], params))
        if layer.event_ndims_in != layer.event_ndims_out:
            raise ValueError(
                "`layer_fn` must return a bijector with event_ndims_in == event_ndims_out; got "
                f"{layer.name} with {layer.event_ndims_in} and {layer.event_ndims_out}."
            )
        super().__init__(
            event_ndims_in=layer.event_ndims_in,
            is_constant_jacobian=layer.is_constant_jacobian,
            is_constant_log_det=layer.is_constant_log_det,
        )
        self._layer_fn = layer_fn
        self._params = params
        self._remat = remat
        self._unroll = unroll

    @property
    def num_layers(self) -> int:
        """The number of layers, N."""
        return jax.tree.leaves(self._params)[0].shape[0]

    @property
    def layers(self) -> list[distrax.Bijector]:
        """The layers as bijectors, f_1 first."""
        return [self._layer_fn(params) for params in unstack(self._params)]

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Apply the layers first to last."""
        x = self._as_events(x)
        return self._scan(forward, x, reverse=False)

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Undo the layers last to first."""
        y = self._as_events(y)
        return self._scan(inverse, y, reverse=True)

    def _scan(self, direction: Direction, x: Any, *, reverse: bool):
        def apply(params, x):
            return direction(self._layer_fn(params), x), None

        out, _ = scan_layers(
            apply, self._params, x, reverse=reverse, remat=self._remat, unroll=self._unroll
        )
        return out


def unstack(layers: Any) -> list[Any]:
    """Return the data of each layer, from a pytree of leaves `[N, ...]`."""
    num_layers = jax.tree.leaves(layers)[0].shape[0]
    return [jax.tree.map(lambda leaf, n=n: leaf[n], layers) for n in range(num_layers)]


def scan_layers(
    apply: Callable[[Any, jax.Array], tuple[tuple[jax.Array, jax.Array], Any]],
    layers: Any,
    x: Shaped[ArrayLike, "..."],
    *,
    reverse: bool,
    remat: bool = False,
    unroll: bool = False,
) -> tuple[tuple[Float[Array, "..."], Float[Array, "..."]], Any]:
    """Apply layers in turn and add up their log-dets.

    Args:
        apply: maps the data of one layer and its input to its output, its log-det, and anything
            else, such as its new state.
        layers: pytree of the layers' data, each leaf with the leading axis `[N, ...]`.
        x: input of the layer applied first.
        reverse: whether to apply the last layer first.
        remat: whether gradients store only the layers' inputs and recompute everything else.
        unroll: whether each layer is compiled separately.

    Returns:
        The output and log-det of all layers; and everything else, stacked.
    """
    # It is traced for its shapes and again by the scan: the second time, JAX finds it.
    apply = jax.jit(apply, inline=True)
    # Per-layer parameters may have a batch shape, dtype or varying axes that the input lacks. The
    # carry of a scan must have them from the start.
    first = jax.tree.map(lambda leaf: leaf[0], layers)
    (out, log_det), _ = jax.eval_shape(apply, first, x)
    start = jnp.broadcast_to(x, out.shape).astype(out.dtype), jnp.zeros_like(log_det)
    start = vary_like(start, out, log_det)

    def step(carry, layer):
        x, total = carry
        (x, log_det), extra = apply(layer, x)
        return (x, total + log_det), extra

    # What a gradient needs from each layer is copied to and from a stack of all layers. That takes
    # longer than recomputing it, except for matrix products.
    policy = _KEPT if remat else _PRODUCTS_AND_KEPT
    step = jax.checkpoint(step, prevent_cse=False, policy=policy)
    return jax.lax.scan(step, start, layers, reverse=reverse, unroll=unroll)


_KEPT = jax.checkpoint_policies.save_only_these_names(KEPT)
_PRODUCTS_AND_KEPT = jax.checkpoint_policies.save_from_both_policies(
    jax.checkpoint_policies.dots_saveable, _KEPT
)
