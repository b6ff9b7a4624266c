"""Layers that sample in a direction: dequantisation and latent variables.

`log_prob` of a flow with such a layer depends on its `key`: it is an unbiased estimate of a lower
bound of the log-likelihood. `diagnostics.likelihood_bounds` averages many estimates.

Reference:
    Nielsen et al., "SurVAE Flows: Surjections to Bridge the Gap between VAEs and Flows", 2020.
"""

from collections.abc import Callable

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.checks import check_non_negative_int, check_positive_int
from distrax_flows._core.types import ArrayLike

__all__ = ["Dequantize", "LatentVariable"]


class Dequantize(distrax.Bijector):
    """Rounding to integer levels, inverted by adding noise.

        forward:  v = floor(x),    inverse:  x = v + u,  u ~ q(u | v)

    so that, for a density p of x, `log_prob` of a level v is a sample of the bracket in

        log P(v) >= E_q[log p(v + u) - log q(u | v)],    P(v) = int_[0,1)^D p(v + u) du.

    The log-det of the inverse is `-log q(u | v)`, zero for uniform noise. The bound is tight if q
    is the distribution of `x - v` given v. Values between integers or out of range have a log-det
    of -inf: their probability is zero. `forward` rounds numbers below 0 and above the last level to
    the nearest level.

    Use it only inside a Haiku transform; the inverse samples noise with a Haiku key.

    Args:
        num_levels: number of levels, L: values are integers from 0 to L - 1.
        noise: maps levels, scaled to `(v + 1/2) / L - 1/2` in (-1/2, 1/2), to a distribution q of
            events in (0, 1), with their batch shape; uniform if None. Modules that it creates are
            named `noise/...`.
        event_ndims: number of axes of an event.

    Raises:
        ValueError: `num_levels` is not a positive integer, or `event_ndims` is not a non-negative
            integer.

    Reference:
        Ho et al., "Flow++: Improving Flow-Based Generative Models with Variational Dequantization
        and Architecture Design", 2019, eqs. 4-7.

    Example:
        >>> import distrax, haiku as hk, jax, jax.numpy as jnp
        >>> inverse = hk.transform(lambda v: Dequantize(4, event_ndims=1).inverse(v))
        >>> x = inverse.apply({}, jax.random.key(0), jnp.array([0, 3]))
        >>> print(jnp.floor(x))
        [0. 3.]
    """

    def __init__(
        self,
        num_levels: int,
        noise: Callable[[jax.Array], distrax.DistributionLike] | None = None,
        event_ndims: int = 1,
    ):
        super().__init__(event_ndims_in=check_non_negative_int("event_ndims", event_ndims))
        self._num_levels = check_positive_int("num_levels", num_levels)
        # A scope of its own, so that all uses of a flow share the parameters of the noise.
        self._noise = None if noise is None else hk.to_module(noise)(name="noise")

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Round down to levels; the log-det is that of the inverse with the same noise, negated."""
        x = jnp.asarray(x)
        v = jnp.clip(jnp.floor(x), 0, self._num_levels - 1)
        u = self._inside(jnp.subtract(x, v))
        return v, jnp.asarray(self._noise_given(v).log_prob(u))

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Add noise to levels."""
        y = jnp.asarray(y)
        v = y.astype(jnp.result_type(y, jnp.float32) if y.dtype.kind in "iub" else y.dtype)
        level = jnp.clip(jnp.floor(v), 0, self._num_levels - 1)
        noise = self._noise_given(level)
        u, log_q = noise.sample_and_log_prob(seed=hk.next_rng_key())
        axes = tuple(range(v.ndim - self.event_ndims_in, v.ndim))
        is_level = jnp.all(level == v, axis=axes)
        return level + self._inside(u).astype(v.dtype), jnp.where(
            is_level, jnp.negative(log_q), -jnp.inf
        )

    def _noise_given(self, v: jax.Array) -> distrax.Distribution:
        if self._noise is not None:
            scaled = (v + 0.5) / self._num_levels - 0.5
            return distrax.as_distribution(self._noise(scaled))
        uniform = distrax.Uniform(jnp.zeros_like(v), jnp.ones_like(v))
        return distrax.Independent(uniform, self.event_ndims_in)

    def _inside(self, u: jax.Array) -> jax.Array:
        """Keep noise far enough from 0 and 1 that rounding `v + u` never reaches another level."""
        margin = self._num_levels * float(jnp.finfo(u.dtype).eps)
        return jnp.clip(u, margin, 1 - margin)


class LatentVariable(distrax.Bijector):
    """Decoder p(x | z) of a latent variable, with an encoder q(z | x) as its approximate inverse.

        forward:  x ~ p(x | z),    inverse:  z ~ q(z | x)

    `distrax_flows.flows.Transformed(prior, LatentVariable(...), event_shape=...)` is a variational
    autoencoder: its `log_prob` is a sample of the bracket in the evidence lower bound

        log p(x) >= E_q[log p(z) + log p(x | z) - log q(z | x)],

    so `fit` maximises that bound, and `sample` decodes samples of the prior. The log-det of the
    inverse is `log p(x | z) - log q(z | x)`. The encoder may be any flow with a context.

    Use it only inside a Haiku transform; both directions sample with Haiku keys. Modules that the
    decoder and encoder create are named `decoder/...` and `encoder/...`, whichever is called first,
    and keep their parameters in later calls.

    Args:
        decoder: maps latent events z to a distribution of x, with their batch shape.
        encoder: maps events x to a distribution of z, with their batch shape.
        event_ndims_in: number of axes of z.
        event_ndims_out: number of axes of x.

    Reference:
        Kingma & Welling, "Auto-Encoding Variational Bayes", 2014, eq. 2; Rezende & Mohamed,
        "Variational Inference with Normalizing Flows", 2015.

    Example:
        >>> import distrax, distrax_flows as dxf, jax, jax.numpy as jnp
        >>> def normal(loc, scale):
        ...     return distrax.Independent(distrax.Normal(loc, scale * jnp.ones_like(loc)), 1)
        >>> def make():  # with the exact posterior, the bound is the density of N(0, 2)
        ...     layer = LatentVariable(
        ...         decoder=lambda z: normal(z, 1.0), encoder=lambda x: normal(x / 2, 0.5**0.5))
        ...     return dxf.flows.Transformed(normal(jnp.zeros(1), 1.0), layer)
        >>> model = dxf.transform(make)
        >>> print(f"{model.log_prob({}, jnp.zeros(1), key=0):.4f}")
        -1.2655
    """

    def __init__(
        self,
        decoder: Callable[[jax.Array], distrax.DistributionLike],
        encoder: Callable[[jax.Array], distrax.DistributionLike],
        event_ndims_in: int = 1,
        event_ndims_out: int = 1,
    ):
        super().__init__(
            event_ndims_in=check_non_negative_int("event_ndims_in", event_ndims_in),
            event_ndims_out=check_non_negative_int("event_ndims_out", event_ndims_out),
        )
        # Without these scopes, Haiku would number the modules of both in the order of calls, which
        # differs between the directions: each function would use the other's parameters.
        self._decoder = hk.to_module(decoder)(name="decoder")
        self._encoder = hk.to_module(encoder)(name="encoder")

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Decode a latent event; the log-det is that of the inverse with the same pair, negated."""
        decoded = distrax.as_distribution(self._decoder(jnp.asarray(x)))
        y, log_p = decoded.sample_and_log_prob(seed=hk.next_rng_key())
        log_q = distrax.as_distribution(self._encoder(jnp.asarray(y))).log_prob(x)
        return jnp.asarray(y), jnp.subtract(log_q, log_p)

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Encode an event."""
        encoded = distrax.as_distribution(self._encoder(jnp.asarray(y)))
        z, log_q = encoded.sample_and_log_prob(seed=hk.next_rng_key())
        log_p = distrax.as_distribution(self._decoder(jnp.asarray(z))).log_prob(y)
        return jnp.asarray(z), jnp.subtract(log_p, log_q)
