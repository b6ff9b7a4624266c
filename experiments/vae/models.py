"""Variational autoencoders as flows."""

import functools
from collections.abc import Callable
from typing import Any

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

import distrax_flows as dxf
from experiments._digits import MAX_LEVEL, SIDE
from experiments.vae.beta_binomial import BetaBinomial

# A fit samples posteriors, and takes the density with the sample: flows whose sampling is fast.
FLOWS: dict[str, Callable[..., distrax.Transformed]] = {
    "planar": functools.partial(dxf.flows.planar, fast="sampling"),
    "sylvester": functools.partial(dxf.flows.sylvester, fast="sampling"),
    "iaf": dxf.flows.iaf,
    "nsf_coupling": dxf.flows.nsf_coupling,
}

_LEAST = 1e-3  # of standard deviations, and of the parameters of beta distributions


# Cached, so that all fits of an autoencoder share compiled code.
@functools.cache
def make_autoencoder(
    posterior: str,
    *,
    latent_size: int,
    hidden_sizes: tuple[int, ...],
    num_layers: int | None,
    flow_hidden_sizes: tuple[int, ...] | None,
) -> dxf.Flow:
    """The autoencoder with that family of posteriors. A Gaussian has no layers."""

    def encode(x: jax.Array) -> distrax.Distribution:
        features = _features(2 * x / MAX_LEVEL - 1, hidden_sizes)
        loc, scale = jnp.split(hk.Linear(2 * latent_size)(features), 2, axis=-1)
        base = distrax.Independent(distrax.Normal(loc, jax.nn.softplus(scale) + _LEAST), 1)
        if posterior == "gaussian":
            return base
        return FLOWS[posterior](
            latent_size,
            base=base,
            context=features,
            num_layers=num_layers,
            hidden_sizes=flow_hidden_sizes,
            activation=jax.nn.silu,
        )

    def make() -> dxf.flows.Transformed:
        zeros = jnp.zeros(latent_size)
        prior = distrax.Independent(distrax.Normal(zeros, jnp.ones_like(zeros)), 1)
        decoder = functools.partial(decode, hidden_sizes=hidden_sizes)
        layer = dxf.modules.LatentVariable(decoder, encode)
        return dxf.flows.Transformed(prior, layer, event_shape=(SIDE**2,), is_discrete=True)

    return dxf.transform(make)


def decode(z: Float[Array, "... D"], hidden_sizes: tuple[int, ...]) -> distrax.Independent:
    """Independent beta-binomial pixels, given the latent.

    A pixel counts the set bits among 16 neighbours of a scan. Neighbours tend to be set together,
    so counts are far more dispersed than those of 16 independent bits. A beta-binomial can have any
    dispersion, and most of its mass at both ends, on blank and on full blocks: with the same
    networks, its ELBO is about ten nats per image above that of a binomial.
    """
    out = hk.Linear(2 * SIDE**2)(_features(z, hidden_sizes))
    a, b = jnp.split(jax.nn.softplus(out) + _LEAST, 2, axis=-1)
    return distrax.Independent(BetaBinomial(MAX_LEVEL, a, b), 1)


@functools.cache
def make_decode_mean(hidden_sizes: tuple[int, ...]) -> Callable[[Any, jax.Array], jax.Array]:
    """A function from the parameters of an autoencoder and latents to the mean levels of pixels."""

    def mean(z: jax.Array) -> jax.Array:
        with hk.name_scope("decoder"):  # as `LatentVariable` names it
            return jnp.asarray(decode(z, hidden_sizes).mean())

    return jax.jit(hk.without_apply_rng(hk.transform(mean)).apply)


def _features(x: jax.Array, hidden_sizes: tuple[int, ...]) -> jax.Array:
    return hk.nets.MLP(hidden_sizes, activation=jax.nn.silu, activate_final=True)(x)
