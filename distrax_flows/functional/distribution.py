"""A flow with its parameters bound, as a distrax distribution."""

from typing import TYPE_CHECKING, Any

import distrax
import jax
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.kl import estimate_kl
from distrax_flows._core.types import ArrayLike, Shape

if TYPE_CHECKING:
    from distrax_flows.functional.flow import Flow, Params

__all__ = ["FlowDistribution"]


class FlowDistribution(distrax.Distribution):
    """A flow with its parameters bound; made by `Flow.distribution`.

    A pytree whose leaves are the parameters, the context and the key: it passes through jit, vmap
    and grad, and works wherever distrax takes a distribution. Each row of the context gets its own
    noise.
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
            **kwargs: refused.

        Raises:
            ValueError: `seed` is missing.
            TypeError: an unknown argument.
        """
        return estimate_kl(self, other_dist, seed=seed, num_samples=num_samples, **kwargs)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        return self._flow.sample(self._params, key, (n,), self._context)

    def _sample_n_and_log_prob(self, key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
        return self._flow.sample_and_log_prob(self._params, key, (n,), self._context)
