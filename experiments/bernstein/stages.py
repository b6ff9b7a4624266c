"""Stages of a fitted flow, as separate bijectors over arrays."""

from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp

import distrax_flows as dxf
from distrax_flows import families

RANGE = (-3.0, 3.0)  # of the polynomials of `flows.bernstein`


class Stages(NamedTuple):
    """The stages of a flow on the line: scalar bijectors whose `forward` maps data to base."""

    first: distrax.Bijector  # scale and shift, including the standardisation
    polynomial: dxf.BernsteinPolynomial  # the Bernstein polynomial
    last: distrax.Bijector  # scale and shift


def take_apart(params: Any, degree: int) -> Stages:
    """The stages of `flows.bernstein(degree=degree, standardize=True)` with these parameters."""
    leaves = {path[-1].key: leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    raw = leaves["params"][0, 0]  # of one layer and one dimension
    mean, deviation = leaves["fixed_mean"][0], jnp.exp(leaves["fixed_log_deviation"][0])
    standardize = distrax.ScalarAffine(shift=-mean / deviation, scale=1 / deviation)
    return Stages(
        distrax.Chain([families.affine().bijector(raw[-2:]), standardize]),
        dxf.BernsteinPolynomial(raw[2:-2], degree, *RANGE),
        families.affine().bijector(raw[:2]),
    )
