"""A chain of equal layers in constant compile time."""

from collections.abc import Callable
from typing import Any

import distrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows._numerics import KEPT, vary_like
from distrax_flows.bijectors._base import Bijector

__all__ = ["ScanChain"]


class ScanChain(Bijector):
    """Composes N bijectors that differ in their parameters only, by `jax.lax.scan`.

        f = f_N o ... o f_1,    f_n = layer_fn(params[n])

    `forward` applies the layers in the order of the parameters' leading axis, `inverse` in reverse.
    One layer is traced and compiled, whatever N; `distrax.Chain` traces all of them.

    Args:
        layer_fn: pure function from the parameters of one layer to its bijector, whose inputs and
            outputs have the same shape.
        params: pytree of the layers' parameters, each leaf with the leading axis `[N, ...]`.
        remat: whether gradients store the inputs of layers (and the roots of numerical inverses)
            only, and compute all else again. If not, they store products of matrices, too; what is
            elementwise is computed again in any case, as storing it would take longer.
        unroll: whether each layer is compiled by itself. Steps then take up to a quarter less on a
            CPU, as no layer's parameters are copied from and to stacks; compilation takes as much
            longer as there are layers.

    Raises:
        ValueError: `params` holds no array, or the leading axes differ, or the layer's input and
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
        """The layers, each as a bijector of its own, f_1 first."""
        return [self._layer_fn(params) for params in unstack(self._params)]

    def forward_and_log_det(
        self, x: Float[Array, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Applies the layers first to last."""
        x = self._as_events(x)
        return self._scan("forward_and_log_det", x, reverse=False)

    def inverse_and_log_det(
        self, y: Float[Array, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Undoes the layers last to first."""
        y = self._as_events(y)
        return self._scan("inverse_and_log_det", y, reverse=True)

    def _scan(self, method, x, *, reverse):
        def apply(params, x):
            return getattr(self._layer_fn(params), method)(x), None

        out, _ = scan_layers(
            apply, self._params, x, reverse=reverse, remat=self._remat, unroll=self._unroll
        )
        return out


def unstack(layers: Any) -> list[Any]:
    """The data of each layer, from a pytree of leaves `[N, ...]`."""
    num_layers = jax.tree.leaves(layers)[0].shape[0]
    return [jax.tree.map(lambda leaf, n=n: leaf[n], layers) for n in range(num_layers)]


def scan_layers(
    apply: Callable[[Any, jax.Array], tuple[tuple[jax.Array, jax.Array], Any]],
    layers: Any,
    x: Float[Array, "..."],
    *,
    reverse: bool,
    remat: bool = False,
    unroll: bool = False,
) -> tuple[tuple[Float[Array, "..."], Float[Array, "..."]], Any]:
    """Applies layers in turn and adds up their log-dets.

    Args:
        apply: from the data of one layer, and its input, to its output and log-det, and anything
            else, such as its new state.
        layers: pytree of the layers' data, each leaf with the leading axis `[N, ...]`.
        x: input of the first layer that is applied.
        reverse: whether that is the last one.
        remat: whether gradients store the layers' inputs only, and compute all else again.
        unroll: whether each layer is compiled by itself.

    Returns:
        The output and the log-det of all layers; and everything else, stacked.
    """
    # Per-layer parameters may have a batch shape, a dtype or varying axes that the input lacks: a
    # scan's carry must have them from the start.
    first = jax.tree.map(lambda leaf: leaf[0], layers)
    (out, log_det), _ = jax.eval_shape(apply, first, x)
    start = jnp.broadcast_to(x, out.shape).astype(out.dtype), jnp.zeros_like(log_det)
    start = vary_like(start, out, log_det)

    def step(carry, layer):
        x, total = carry
        (x, log_det), extra = apply(layer, x)
        return (x, total + log_det), extra

    # What a gradient needs of each layer is copied to and from a stack of all layers'. That takes
    # longer than most of it took to compute, but for products of matrices.
    policy = _KEPT if remat else _PRODUCTS_AND_KEPT
    step = jax.checkpoint(step, prevent_cse=False, policy=policy)
    return jax.lax.scan(step, start, layers, reverse=reverse, unroll=unroll)


_KEPT = jax.checkpoint_policies.save_only_these_names(KEPT)
_PRODUCTS_AND_KEPT = jax.checkpoint_policies.save_from_both_policies(
    jax.checkpoint_policies.dots_saveable, _KEPT
)
