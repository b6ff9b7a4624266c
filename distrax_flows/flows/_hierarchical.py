"""Hierarchical coupling flows."""

from typing import Unpack

import distrax
import jax

from distrax_flows import families
from distrax_flows._core.options import Option, takes
from distrax_flows.bijectors.hierarchical import HierarchicalCoupling
from distrax_flows.families import Family
from distrax_flows.flows._assemble import FlowOptions, assemble
from distrax_flows.flows._layers import Layers, elementwise_layer
from distrax_flows.flows._transformed import Transformed
from distrax_flows.modules import Layer, OrthogonalLayer

__all__ = ["hint"]


@takes(
    FlowOptions,
    changed={
        "between": Option(
            None,
            "a layer that mixes the dimensions after each coupling, seen from the base; a fixed "
            "random rotation (`modules.OrthogonalLayer`) if None.",
        )
    },
)
def hint(
    event_size: int, family: Family | None = None, **options: Unpack[FlowOptions]
) -> Transformed:
    """HINT: hierarchical couplings with a dense triangular Jacobian, and random rotations between.

    Each layer is a `HierarchicalCoupling`: a coupling of two halves, each again a coupling of its
    halves, with D - 1 networks in all. Density and sampling both take one pass. It starts as a
    rotation, not at the identity.

    Args:
        event_size: number of dimensions, D.
        family: transformation of one dimension, one of `distrax_flows.families`; affine if None.
        **options: those of `FlowOptions`.

    Reference:
        Kruse et al., "HINT: Hierarchical Invertible Neural Transport for Density Estimation and
        Bayesian Inference", 2021, section 3.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.hint(4, num_layers=2))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 4)))
        >>> flow.sample(params, jax.random.key(1), (10,)).shape
        (10, 4)
    """
    family = families.affine() if family is None else family
    if options.get("between") is None:
        options["between"] = OrthogonalLayer()
    return assemble(
        event_size,
        lambda layers: layers.stack(_layer(family, layers)),
        family,
        **options,
    )


def _layer(family: Family, layers: Layers) -> Layer:
    def layer(x: jax.Array) -> distrax.Bijector:
        if x.shape[-1] == 1:
            return layers.mixed(elementwise_layer(family, layers)(x))

        def conditioner(node, upper):
            start, split, stop = node
            network = layers.network(stop - split, family, name=f"node_{start}_{stop}")
            return network(upper, layers.context)

        return layers.mixed(HierarchicalCoupling(conditioner, family.bijector))

    return layer
