"""A flow with its parameters bound, as a distrax distribution."""

from typing import TYPE_CHECKING, Any

import distrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.monte_carlo import Estimate, estimate_kl, estimate_mean_of
from distrax_flows._core.types import ArrayLike, Shape

if TYPE_CHECKING:
    from distrax_flows.functional.flow import Flow, Params

__all__ = ["FlowDistribution"]


class FlowDistribution(distrax.Distribution):
    """A flow with its parameters bound; made by `Flow.distribution`.

    A pytree whose leaves are the parameters, the context and the key: it passes through jit, vmap
    and grad, and works wherever distrax takes a distribution. Each row of the context gets its own
    noise.

    Moments and entropy have no closed form: `estimate_mean`, `estimate_variance` and
    `estimate_entropy` estimate them from samples, with standard errors. distrax's `mean`,
    `variance` and `entropy` take no key, and raise.

    Args:
        flow: the flow.
        params: the parameters.
        context: `[..., C]` or None.
        key: random key or integer seed, for flows whose layers use random numbers.
    """

    def __init__(
        self,
        flow: "Flow",
        params: "Params",
        context: jax.Array | None,
        key: jax.Array | int | None = None,
    ):
        super().__init__()
        self._flow = flow
        self._params = params
        self._context = context
        self._key = key
        sample = jax.eval_shape(lambda: flow.sample(params, jax.random.key(0), (), context))
        self._event_shape = flow.event_shape
        self._batch_shape = sample.shape[: sample.ndim - len(self._event_shape)]
        self._dtype = sample.dtype

    @property
    def event_shape(self) -> Shape:
        """Shape of one event, `(D,)` for vectors."""
        return self._event_shape

    @property
    def batch_shape(self) -> Shape:
        """Batch shape of the context, `()` without one."""
        return self._batch_shape

    @property
    def dtype(self) -> Any:
        """Dtype of samples."""
        return self._dtype

    def log_prob(self, value: Shaped[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Return the log-density of `value`, `[..., *event_shape]`, in nats."""
        return self._flow.log_prob(self._params, value, self._context, key=self._key)

    def estimate_mean(self, seed: int | jax.Array, num_samples: int = 10_000) -> Estimate:
        """Estimate the mean, `batch_shape + event_shape`, by Monte Carlo.

        Args:
            seed: random key or integer.
            num_samples: number of samples.

        Returns:
            The mean of samples and its standard error.

        Raises:
            ValueError: `num_samples` is not an integer of at least 2.

        Example:
            >>> import distrax_flows as dxf
            >>> flow = dxf.transform(lambda: dxf.flows.realnvp(2))
            >>> distribution = flow.distribution(flow.init_without_data(0))
            >>> value, stderr = distribution.estimate_mean(seed=1)
            >>> bool((abs(value) < 5 * stderr).all())
            True
        """
        return estimate_mean_of(
            lambda key: self.sample(seed=key, sample_shape=(num_samples,)), seed, num_samples
        )

    def estimate_variance(self, seed: int | jax.Array, num_samples: int = 10_000) -> Estimate:
        """Estimate the variances, `batch_shape + event_shape`, by Monte Carlo.

        Unbiased. The standard error is that of a mean of squared deviations, which needs four
        finite moments. Errors are those of `estimate_mean`.

        Args:
            seed: random key or integer.
            num_samples: number of samples.
        """

        def squared_deviations(key: jax.Array) -> jax.Array:
            x = jnp.asarray(self.sample(seed=key, sample_shape=(num_samples,)))
            residuals = x - x.mean(axis=0)
            return num_samples / (num_samples - 1) * jnp.square(residuals)

        return estimate_mean_of(squared_deviations, seed, num_samples)

    def estimate_entropy(self, seed: int | jax.Array, num_samples: int = 10_000) -> Estimate:
        """Estimate the entropy `-E[log p(x)]`, `batch_shape`, in nats, by Monte Carlo.

        For a flow with random layers, such as `flows.dequantized`, it is that of events and noise
        together. Errors are those of `estimate_mean`.

        Args:
            seed: random key or integer.
            num_samples: number of samples.
        """

        def surprises(key: jax.Array) -> jax.Array:
            _, log_prob = self.sample_and_log_prob(seed=key, sample_shape=(num_samples,))
            return -jnp.asarray(log_prob)

        return estimate_mean_of(surprises, seed, num_samples)

    def kl_divergence(
        self,
        other_dist: distrax.DistributionLike,
        *,
        seed: int | jax.Array | None = None,
        num_samples: int = 10_000,
        **kwargs: Any,
    ) -> Float[Array, "..."]:
        """Estimate `KL(self || other_dist)` by Monte Carlo, in nats.

        The mean of `log p(x) - log q(x)` over samples x of this flow. Unbiased; its standard error
        is the standard deviation of that difference divided by `sqrt(num_samples)`.

        Args:
            other_dist: a distribution over the same events, with `log_prob`.
            seed: random key or integer; required.
            num_samples: number of samples.
            **kwargs: not accepted.

        Raises:
            ValueError: `seed` is missing.
            TypeError: an unknown argument.
        """
        return estimate_kl(self, other_dist, seed=seed, num_samples=num_samples, **kwargs)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        return self._flow.sample(self._params, key, (n,), self._context)

    def _sample_n_and_log_prob(self, key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
        return self._flow.sample_and_log_prob(self._params, key, (n,), self._context)
