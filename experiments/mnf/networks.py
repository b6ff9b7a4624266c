"""Networks that differ in their layers only."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.flatten_util
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows import modules

NETWORKS = ("deterministic", "dropout", "ensemble", "mean-field", "MNF")

Outputs = tuple[jax.Array, jax.Array]  # of a network: `[..., K]`, and what the prior costs, in nats


class Layers(NamedTuple):
    """The layers that a network is made of, and how it predicts."""

    linear: Callable[..., Callable[[jax.Array], Outputs]]
    convolution: Callable[..., Callable[[jax.Array], Outputs]]
    is_bayesian: bool  # whether layers have a posterior, and measure what it costs
    dropout_rate: float = 0.0
    num_members: int = 1

    @property
    def is_random(self) -> bool:
        """Whether outputs depend on a key."""
        return self.is_bayesian or self.dropout_rate > 0

    def activate(self, x: jax.Array) -> jax.Array:
        """ReLU, and dropout if there is any."""
        x = jax.nn.relu(x)
        return hk.dropout(hk.next_rng_key(), self.dropout_rate, x) if self.dropout_rate else x


def make_layers(name: str, prior_scale: float, learn_prior: bool, **options: Any) -> Layers:
    """The layers of the network of that name.

    Args:
        name: one of `NETWORKS`.
        prior_scale: standard deviation of the prior of Bayesian layers.
        learn_prior: whether they learn it.
        options: `dropout_rate` and `num_members` of the networks that have them.
    """
    prior = {"prior_scale": prior_scale, "learn_prior": learn_prior}
    if name in ("mean-field", "MNF"):
        linear, convolution = {
            "mean-field": (modules.MeanFieldLinear, modules.MeanFieldConv2D),
            "MNF": (modules.MNFLinear, modules.MNFConv2D),
        }[name]
        return Layers(
            functools.partial(linear, **prior), functools.partial(convolution, **prior), True
        )
    own = {"dropout": "dropout_rate", "ensemble": "num_members"}.get(name)
    kept = {own: options[own]} if own else {}
    return Layers(modules.DeterministicLinear, modules.DeterministicConv2D, False, **kept)


def make_regression(layers: Layers, num_units: int) -> hk.Transformed:
    """One hidden layer, tanh: from `[N, 1]` to `[N, 1]`."""

    def network(x: Float[Array, "N 1"]) -> Outputs:
        hidden, kl_hidden = layers.linear(num_units)(x)
        y, kl_out = layers.linear(1)(jnp.tanh(hidden))
        return y, kl_hidden + kl_out

    return hk.transform(network)


def make_classifier(
    layers: Layers, channels: tuple[int, int], hidden_size: int, num_classes: int
) -> hk.Transformed:
    """Two convolutions and two linear layers: from images `[N, H, W, 1]` to logits `[N, K]`."""

    def network(x: Float[Array, "N H W 1"]) -> Outputs:
        total = jnp.zeros(())
        for num, stride in zip(channels, (2, 2), strict=True):
            x, kl = layers.convolution(num, 3, stride=stride)(x)
            x, total = layers.activate(x), total + kl
        x, kl = layers.linear(hidden_size)(x.reshape(len(x), -1))
        logits, kl_out = layers.linear(num_classes)(layers.activate(x))
        return logits, total + kl + kl_out

    return hk.transform(network)


def log_prior(params: Any, prior_scale: float) -> Float[Array, ""]:
    """The log-density of weights under the prior, up to a constant."""
    weights, _ = jax.flatten_util.ravel_pytree(params)
    return -0.5 * jnp.sum(jnp.square(weights)) / prior_scale**2
