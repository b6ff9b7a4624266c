"""Conditional flows of equal size."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp

import distrax_flows as dxf
from experiments._common import num_parameters
from experiments.hint.problems import Problem
from experiments.hint.scores import Estimate


def _rotated_realnvp(event_size: int, **options: Any) -> distrax.Transformed:
    """RealNVP with the fixed random rotations between its layers that HINT has."""
    return dxf.flows.realnvp(event_size, between=dxf.modules.OrthogonalLayer(), **options)


_BUILDERS = {
    "HINT": dxf.flows.hint,
    "RealNVP": dxf.flows.realnvp,
    "RealNVP, rotated": _rotated_realnvp,
}


class Model(NamedTuple):
    """A flow for a problem: made once, so that all its fits share what JAX compiles.

    Attributes:
        label: its name in tables and pictures.
        num_layers: number of its layers.
        flow: the flow, conditional on the observation.
        hidden_size: units of each of the two hidden layers of each network.
        num_params: number of its parameters.
    """

    label: str
    num_layers: int
    flow: dxf.Flow
    hidden_size: int
    num_params: int

    def estimate(self, params: Any) -> Estimate:
        """The posterior with these parameters."""
        return Estimate(
            lambda x, y: self.flow.log_prob(params, x, y),
            lambda key, num, y: self.flow.sample(params, key, num, y),
        )


def make_models(problem: Problem, num_layers: int, hidden_size: int) -> Sequence[Model]:
    """RealNVPs of that size, and the HINT whose parameters are as many."""
    labels = ("RealNVP", "RealNVP, rotated")
    realnvps = [make_model(label, problem, num_layers, hidden_size) for label in labels]
    target = realnvps[0].num_params

    def hint(hidden_size: int) -> Model:
        return make_model("HINT", problem, num_layers, hidden_size)

    # Bisection: the largest that has no more, then it or the next one.
    low, high = 1, 1 + hidden_size
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if hint(middle).num_params <= target else (low, middle)
    nearest = min(hint(low), hint(high), key=lambda model: abs(model.num_params - target))
    return nearest, *realnvps


def make_model(label: str, problem: Problem, num_layers: int, hidden_size: int) -> Model:
    """The flow of that label and size."""

    def make(context: jax.Array) -> distrax.Transformed:
        return _BUILDERS[label](
            problem.event_size,
            context=context,
            num_layers=num_layers,
            hidden_sizes=(hidden_size, hidden_size),
            activation=jax.nn.silu,
        )

    flow = dxf.transform(make)
    x, y = jnp.zeros((1, problem.event_size)), jnp.zeros((1, problem.context_size))
    params = jax.eval_shape(flow.init, jax.random.key(0), x, y)
    return Model(label, num_layers, flow, hidden_size, num_parameters(params))
