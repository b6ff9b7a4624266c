"""The distribution that builders of flows return."""

from collections.abc import Sequence
from typing import Any

import distrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from tensorflow_probability.substrates import jax as tfp

from distrax_flows._core.monte_carlo import estimate_kl
from distrax_flows._core.types import Shape
from distrax_flows.supports import Support

__all__ = ["Transformed"]


class Transformed(distrax.Transformed):
    """A `distrax.Transformed` that knows its shapes and samples whole batches at once.

    The builders of `distrax_flows.flows` return it. It works wherever distrax takes a distribution,
    also inside your own `hk.transform`. There `distrax.Transformed` would trace its bijector to
    find shapes, and `vmap` it over samples; both leak tracers while Haiku initialises. The
    differences:

    * Batch shape and dtype are those of the base, and so is the event shape unless it is given;
      nothing is traced.
    * `sample` calls the bijector once, on all samples.
    * `log_prob` of an event with an infinite entry is -inf rather than NaN.
    * `kl_divergence` needs a `seed`, and is estimated from samples. distrax compares printed
      programs, and finds zero divergence between flows with equal layers but different parameters.

    Args:
        distribution: the base, with the full batch shape.
        bijector: a bijector that keeps the batch shape of the base.
        event_shape: event shape of the data; that of the base if None.
        is_discrete: whether events are integers, and `log_prob` is the logarithm of a probability;
            static. Such flows take integer arrays.
        supports: supports of the events, for reference: one per dimension of a vector, else one for
            all entries; empty if unknown.

    Raises:
        ValueError: the ranks of base and bijector differ, or `event_shape` has another rank than
            the bijector's events.

    Example:
        >>> import distrax, jax.numpy as jnp
        >>> from distrax_flows.bijectors import Shift
        >>> normal = distrax.Independent(distrax.Normal(jnp.zeros(2), jnp.ones(2)), 1)
        >>> flow = Transformed(normal, Shift(jnp.array([3.0, 4.0])))
        >>> print(f"{flow.kl_divergence(normal, seed=0, num_samples=100_000):.1f}")
        12.5
        >>> print(flow.log_prob(jnp.array([jnp.inf, 0.0])))
        -inf
    """

    def __init__(
        self,
        distribution: distrax.DistributionLike,
        bijector: distrax.BijectorLike,
        *,
        event_shape: Shape | None = None,
        is_discrete: bool = False,
        supports: Sequence[Support] = (),
    ):
        super().__init__(distribution, bijector)
        shape = tuple(self.distribution.event_shape if event_shape is None else event_shape)
        if len(shape) != self.bijector.event_ndims_out:
            raise ValueError(
                "`event_shape` must have as many entries as the events of the bijector have axes, "
                f"{self.bijector.event_ndims_out}; got event_shape={shape}."
            )
        # Set here the attributes that distrax would fill by tracing.
        self._event_shape = shape
        self._batch_shape = self.distribution.batch_shape
        self._dtype = self.distribution.dtype
        self._is_discrete = is_discrete
        self._supports = tuple(supports)

    @property
    def is_discrete(self) -> bool:
        """Whether events are integers, and `log_prob` is the logarithm of a probability."""
        return self._is_discrete

    @property
    def supports(self) -> tuple[Support, ...]:
        """One support per dimension of a vector, else one for all entries; empty if unknown."""
        return self._supports

    def log_prob(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return the log-density of `value`, in nats."""
        value = jnp.asarray(value)
        axes = tuple(range(value.ndim - len(self.event_shape), value.ndim))
        infinite = jnp.max(jnp.abs(value), axis=axes, keepdims=True) == jnp.inf
        # Replaced by zeros, as layers would subtract infinities from each other.
        log_prob = jnp.asarray(super().log_prob(jnp.where(infinite, 0, value)))
        return jnp.where(jnp.squeeze(infinite, axes), -jnp.inf, log_prob)

    def kl_divergence(
        self,
        other_dist: distrax.DistributionLike,
        *,
        seed: int | jax.Array | None = None,
        num_samples: int = 10_000,
        **kwargs: Any,
    ) -> Float[Array, "..."]:
        """Estimate `KL(self || other_dist)` by Monte Carlo, in nats; see `FlowDistribution`."""
        return estimate_kl(self, other_dist, seed=seed, num_samples=num_samples, **kwargs)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        z = self.distribution.sample(seed=key, sample_shape=n)
        return jnp.asarray(self.bijector.forward(z))

    def _sample_n_and_log_prob(self, key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
        z, log_prob = self.distribution.sample_and_log_prob(seed=key, sample_shape=n)
        x, log_det = self.bijector.forward_and_log_det(z)
        return jnp.asarray(x), jnp.subtract(log_prob, log_det)


def _refuse_kl(p: distrax.Distribution, q: distrax.Distribution, **unused: Any) -> None:
    raise NotImplementedError(
        f"The KL divergence of {p.name} from the flow {q.name} has no closed form. Estimate it "
        "from samples: `x, log_p = p.sample_and_log_prob(seed=key, sample_shape=10_000)`, then "
        "`jnp.mean(log_p - q.log_prob(x), axis=0)`."
    )


# `tfp.distributions.kl_divergence`, and the method of other distributions, look up a rule by type,
# and would find the one that compares programs.
for _pair in (
    (Transformed, Transformed),
    (Transformed, distrax.Transformed),
    (distrax.Transformed, Transformed),
    (Transformed, tfp.distributions.TransformedDistribution),
    (tfp.distributions.TransformedDistribution, Transformed),
):
    tfp.distributions.RegisterKL(*_pair)(_refuse_kl)
