"""What each library is asked to do."""

import functools
import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from experiments.benchmarks.peers.settings import Size

Call = Callable[[], Any]


class Contestant(NamedTuple):
    """A flow in some library, ready to be called.

    Attributes:
        num_params: trained scalars.
        calls: from a measure to the call that is timed.
    """

    num_params: int
    calls: dict[str, Call]


def make(library: str, flow: str, size: Size) -> Contestant | None:
    """The flow in that library, or None where the library has no such flow."""
    module = importlib.import_module(f"experiments.benchmarks.peers.in_{library}")
    return module.make(flow, size)


@functools.cache
def draw_data(size: Size) -> np.ndarray:
    """The batch that all libraries get."""
    shape = (size.batch, size.event)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def train_step(
    loss: Callable[[Any, jax.Array], jax.Array], params: Any, x: jax.Array
) -> tuple[Call, int]:
    """A call that takes one more step of Adam each time, and the number of parameters."""
    optimizer = optax.adam(1e-3)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, opt_state):
        value, grads = jax.value_and_grad(loss)(params, x)
        updates, opt_state = optimizer.update(grads, opt_state)
        return optax.apply_updates(params, updates), opt_state, value

    # The first step donates its arguments: others may go on using `params`.
    state = jax.tree.map(jax.numpy.array, params), optimizer.init(params)

    def call():
        nonlocal state
        *state, value = step(*state)
        return value

    return call, sum(leaf.size for leaf in jax.tree.leaves(params))
