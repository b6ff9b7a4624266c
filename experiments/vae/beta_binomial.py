"""Beta-binomial distribution."""

import math
from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class BetaBinomial(distrax.Distribution):
    """Number of successes in n trials whose probability is from a beta distribution.

        P(k) = C(n, k) B(k + a, n - k + b) / B(a, b),   k = 0..n

    Computed as a softmax over the levels k, without gamma functions: up to a constant, log P(k) is

        log C(n, k) + log [a (a + 1) ... (a + k - 1)] + log [b (b + 1) ... (b + n - k - 1)]

    TFP's samples in a loop, and takes many times longer to compile.
    """

    def __init__(self, num_trials: int, a: Float[Array, "..."], b: Float[Array, "..."]):
        super().__init__()
        self._num_trials = num_trials
        self._a = a
        self._b = b

    @property
    def event_shape(self) -> tuple[int, ...]:
        return ()

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return self._a.shape

    @property
    def dtype(self) -> Any:
        # Events of flows are floats.
        return self._a.dtype

    def log_prob(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return log P of integer values from 0 to n."""
        level = jax.nn.one_hot(value.astype(jnp.int32), self._num_trials + 1, dtype=self.dtype)
        return jnp.sum(level * jax.nn.log_softmax(self._logits()), axis=-1)

    def mean(self) -> Float[Array, "..."]:
        """Return the mean number of successes."""
        return self._num_trials * self._a / (self._a + self._b)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        shape = (n, *self.batch_shape)
        return jax.random.categorical(key, self._logits(), shape=shape).astype(self.dtype)

    def _logits(self) -> jax.Array:
        steps = jnp.arange(self._num_trials, dtype=self.dtype)
        log_a, log_b = (
            jnp.cumsum(jnp.log(value[..., None] + steps), axis=-1) for value in (self._a, self._b)
        )
        empty = jnp.zeros_like(log_a[..., :1])  # logarithm of an empty product
        log_a, log_b = (jnp.concatenate([empty, logs], axis=-1) for logs in (log_a, log_b))
        choices = [math.comb(self._num_trials, k) for k in range(self._num_trials + 1)]
        return jnp.asarray(np.log(choices), self.dtype) + log_a + log_b[..., ::-1]
