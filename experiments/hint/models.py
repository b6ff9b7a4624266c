"""Conditional flows of equal size."""

import functools
from collections.abc import Mapping
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
    """A flow for a problem."""

    flow: dxf.Flow  # the flow, conditional on the observation
    hidden_size: int  # units of each of the two hidden layers of each network
    num_params: int  # number of its parameters

    def estimate(self, params: Any) -> Estimate:
        """The posterior with these parameters."""
        return Estimate(
            lambda x, y: self.flow.log_prob(params, x, y),
            lambda key, num, y: self.flow.sample(params, key, num, y),
        )


# Cached, so that all fits of a flow share compiled code.
@functools.cache
def make_models(problem: Problem, num_layers: int, hidden_size: int) -> Mapping[str, Model]:
    """RealNVPs of that size, and the HINT with the nearest number of parameters, by name."""
    realnvp = make_model("RealNVP", problem, num_layers, hidden_size)
    rotated = make_model("RealNVP, rotated", problem, num_layers, hidden_size)
    hint = functools.partial(make_model, "HINT", problem, num_layers)

    # Bisection for the largest HINT with no more parameters; then it or the next one.
    low, high = 1, 1 + hidden_size
    while high - low > 1:
        middle = (low + high) // 2
        fits = hint(middle).num_params <= realnvp.num_params
        low, high = (middle, high) if fits else (low, middle)
    nearest = min(
        hint(low), hint(high), key=lambda model: abs(model.num_params - realnvp.num_params)
    )
    return {"HINT": nearest, "RealNVP": realnvp, "RealNVP, rotated": rotated}


def make_model(name: str, problem: Problem, num_layers: int, hidden_size: int) -> Model:
    """The flow of that name and size."""

    def make(context: jax.Array) -> distrax.Transformed:
        return _BUILDERS[name](
            problem.event_size,
            context=context,
            num_layers=num_layers,
            hidden_sizes=(hidden_size, hidden_size),
            activation=jax.nn.silu,
        )

    flow = dxf.transform(make)
    x, y = jnp.zeros((1, problem.event_size)), jnp.zeros((1, problem.context_size))
    params = jax.eval_shape(flow.init, jax.random.key(0), x, y)
    return Model(flow, hidden_size, num_parameters(params))
