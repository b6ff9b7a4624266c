"""Training of networks by Adam, and their predictions."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float
from tqdm import tqdm

from distrax_flows.modules import sample_predictions
from experiments._common import num_parameters
from experiments._table import Row
from experiments.mnf.networks import Layers, log_prior

_CHUNK = 500  # steps

# Maps outputs and targets of a batch to the negative log-likelihood of each row.
LossFn = Callable[[jax.Array, jax.Array], jax.Array]


class Data(NamedTuple):
    """Rows to train on."""

    x: jax.Array  # `[N, ...]`
    y: jax.Array  # `[N, ...]`


class Trained(NamedTuple):
    """A trained network."""

    network: hk.Transformed
    layers: Layers
    params: Any  # with a leading axis of members
    cells: Row  # size and cost

    def predict(self, key: jax.Array, x: jax.Array, num_samples: int) -> Float[Array, "S N K"]:
        """Outputs for samples of random weights, of all members."""
        num = num_samples if self.layers.is_random else 1

        def of_member(params):
            return sample_predictions(self.network.apply, params, key, x, num)[0]

        outputs = jax.lax.map(of_member, self.params)
        return outputs.reshape(-1, *outputs.shape[2:])


def train(
    network: hk.Transformed,
    layers: Layers,
    data: Data,
    negative_log_likelihood: LossFn,
    key: jax.Array,
    *,
    num_steps: int,
    learning_rate: float,
    prior_scale: float,
    batch_size: int | None = None,
) -> Trained:
    """Maximises the ELBO of a Bayesian network, and the posterior density of any other.

    Args:
        network: the network.
        layers: its layers; all members of an ensemble train at once.
        data: the rows.
        negative_log_likelihood: of each row, from outputs and targets.
        key: random key of initialisation, batches and samples.
        num_steps: steps of Adam.
        learning_rate: at the start; it falls to zero by a cosine.
        prior_scale: standard deviation of the prior of weights that are not random.
        batch_size: rows of each step; all if None.
    """
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))
    num_rows = len(data.x)

    def loss(params, key, batch):
        outputs, kl = network.apply(params, key, batch.x)
        if not layers.is_bayesian:
            kl = -log_prior(params, prior_scale)
        return jnp.mean(negative_log_likelihood(outputs, batch.y)) + kl / num_rows

    def step(carry, key):
        params, state = carry
        batch_key, key = jax.random.split(key)
        batch = data
        if batch_size is not None:
            rows = jax.random.randint(batch_key, (batch_size,), 0, num_rows)
            batch = jax.tree.map(lambda of: of[rows], data)
        value, gradient = jax.value_and_grad(loss)(params, key, batch)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(params, updates), state), value

    def start(key):
        params = network.init(key, data.x[:2])
        return params, optimizer.init(params)

    init_key, step_key = jax.random.split(key)

    @jax.jit
    def run(carry, keys):
        # Members in turn: a convolution of several kernels at once is slow on CPUs.
        return jax.lax.map(lambda each: jax.lax.scan(step, *each), (carry, keys))

    carry = jax.jit(jax.vmap(start))(jax.random.split(init_key, layers.num_members))
    keys = jax.random.split(step_key, (layers.num_members, num_steps))
    begin = time.perf_counter()
    # In chunks, between which an interrupt is heard.
    chunks = [keys[:, i : i + _CHUNK] for i in range(0, num_steps, _CHUNK)]
    losses = jnp.array([])
    run.lower(carry, chunks[0]).compile()
    middle = time.perf_counter()
    for chunk in tqdm(chunks, unit="chunk", leave=False, disable=None):
        carry, losses = jax.block_until_ready(run(carry, chunk))
    params, _ = carry
    cells = {
        "num_params": str(num_parameters(params)),
        "loss": f"{float(losses.mean()):.4f}",
        "train_seconds": f"{time.perf_counter() - middle:.2f}",
        "compile_seconds": f"{middle - begin:.2f}",
    }
    return Trained(network, layers, params, cells)
