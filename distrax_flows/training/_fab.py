"""Flow annealed importance sampling bootstrap."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from distrax_flows._core.annealing import (
    Annealing,
    anneal,
    rows_at,
    take_rows,
    tuned_step_sizes,
)
from distrax_flows._core.checks import check_positive_int
from distrax_flows.functional.flow import Flow, Params
from distrax_flows.training.divergences import Target
from distrax_flows.training.objectives import Loss

__all__ = ["FAB", "Replay"]

_MAX_RATIO = 10.0  # of densities before and now, in the loss
_ADAPTATION = 0.1


class Replay(NamedTuple):
    """Replay buffer of annealed samples, and the step sizes with which they were annealed.

    Attributes:
        x: samples, `[B, ..., *event_shape]`.
        log_weights: their log-weights for p^2 / q, `[B, ...]`.
        log_q: their log-densities under the flow for which these weights hold, `[B, ...]`.
        step_sizes: step size of each temperature.
        acceptance: acceptance of each temperature, for the newest samples.
        ess: effective sample size of the newest samples, as a fraction.
        next: row of the oldest samples, which are replaced next.
        step: number of steps done.
    """

    x: Float[Array, "B ..."]
    log_weights: Float[Array, "B ..."]
    log_q: Float[Array, "B ..."]
    step_sizes: Float[Array, " K"]
    acceptance: Float[Array, " K"]
    ess: Float[Array, ""]
    next: Int[Array, ""]
    step: Int[Array, ""]


@dataclasses.dataclass(frozen=True)
class FAB:
    """Divergence with alpha = 2, `E_p[p / q]`, by annealed importance sampling and replay.

        - sum_i w_i log q(x_i),    x_i from annealing q to p^2 / q,    w_i its weights

    It covers the mass of p: where q is too small, weights are large. p^2 / q, rather than p, gives
    these weights the least variance. New samples are annealed every few steps and replace the
    oldest of a buffer, from which each step replays `num_samples` in proportion to their weights.
    Weights follow q as it changes. The loss is not an estimate of the divergence;
    `history.extras["ess"]`, the effective sample size of the new samples as a fraction, rises to 1.

    It needs a flow that is fast in both directions, such as couplings, and whose start roughly
    covers the modes: annealing moves samples only as far as gradients of p show the way.

    Attributes:
        num_new: number of samples annealed at a time (for each row of the context).
        num_replays: number of steps between annealings; several fits at once anneal in each step.
        buffer_size: B, the number of samples in the buffer.
        annealing: the path to p^2 / q; `resample` must be False.

    Raises:
        ValueError: a size is not a positive integer, or the buffer is smaller than `num_new`.

    Reference:
        Midgley et al., "Flow Annealed Importance Sampling Bootstrap", 2023, algorithm 2.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> def log_density(x):  # two modes
        ...     return jnp.logaddexp(-jnp.sum((x - 3) ** 2, -1), -jnp.sum((x + 3) ** 2, -1))
        >>> flow = dxf.transform(lambda: dxf.flows.nsf_coupling(2, num_layers=2))
        >>> fitted = dxf.fit_to_density(
        ...     flow, log_density, divergence=dxf.training.FAB(), key=0, num_steps=500)
        >>> x = flow.sample(fitted.params, 1, (1000,))
        >>> bool(400 < jnp.sum(x[:, 0] > 0) < 600)
        True
    """

    num_new: int = 256
    num_replays: int = 8
    buffer_size: int = 8192
    annealing: Annealing = dataclasses.field(default_factory=lambda: Annealing(2))

    def __post_init__(self):
        check_positive_int("num_new", self.num_new)
        check_positive_int("num_replays", self.num_replays)
        check_positive_int("buffer_size", self.buffer_size)
        if self.buffer_size < self.num_new:
            raise ValueError(
                "`buffer_size` must be at least `num_new`; got "
                f"buffer_size={self.buffer_size} and num_new={self.num_new}."
            )
        if self.annealing.resample:
            raise ValueError("`annealing` must not resample: the buffer does; got resample=True.")

    def start(self, flow: Flow, params: Params, target: Target, key: jax.Array) -> Replay:
        """Return a buffer full of annealed samples.

        Args:
            flow: the flow being trained.
            params: the parameters.
            target: the density, the context and the number of samples.
            key: random key.
        """
        tune_key, key = jax.random.split(key)
        log_densities, sample = self._path(flow, params, target)
        step_sizes = tuned_step_sizes(log_densities, sample, tune_key, self.annealing)
        x, log_w, log_q, acceptance = self._anneal(
            flow, params, target, key, step_sizes, self.buffer_size
        )
        ess, start = jnp.zeros((), log_w.dtype), jnp.zeros((), jnp.int32)
        return Replay(x, log_w, log_q, step_sizes, acceptance, ess, next=start, step=start)

    def __call__(self, flow: Flow, params: Params, target: Target, key: jax.Array) -> Loss:
        """Return the loss; see `Divergence`."""
        refill_key, replay_key = jax.random.split(key)
        held = jax.lax.stop_gradient(params)
        replay: Replay = target.memory
        replay = jax.lax.cond(
            replay.step % self.num_replays == 0,
            lambda replay: self._refill(flow, held, target, refill_key, replay),
            lambda replay: replay,
            replay,
        )
        shape = (target.num_samples, *replay.log_weights.shape[1:])
        chosen = rows_at(replay.log_weights, jax.random.uniform(replay_key, shape))
        x, old_log_q = (take_rows(leaf, chosen) for leaf in (replay.x, replay.log_q))
        new_log_q = flow.log_prob(params, x, target.context)
        log_ratio = old_log_q - jax.lax.stop_gradient(new_log_q)
        loss = -jnp.mean(jnp.minimum(jnp.exp(log_ratio), _MAX_RATIO) * new_log_q)
        # If all weights are zero, the choice is meaningless.
        is_empty = jnp.any(jnp.max(replay.log_weights, axis=0) == -jnp.inf)
        loss = jnp.where(is_empty, jnp.nan, loss)
        # The target p^2 / q changes with q.
        log_weights = take_rows(replay.log_weights, chosen) + log_ratio
        extras = {"ess": replay.ess, "acceptance": jnp.mean(replay.acceptance)}
        replay = replay._replace(
            log_weights=_put(replay.log_weights, chosen, log_weights),
            log_q=_put(replay.log_q, chosen, old_log_q - log_ratio),
            step=replay.step + 1,
        )
        return Loss(loss, extras=extras, memory=replay)

    def _refill(
        self, flow: Flow, params: Params, target: Target, key: jax.Array, replay: Replay
    ) -> Replay:
        """Replace the oldest samples by new ones."""
        x, log_w, log_q, acceptance = self._anneal(
            flow, params, target, key, replay.step_sizes, self.num_new
        )
        rows = (replay.next + jnp.arange(self.num_new)) % self.buffer_size
        largest = jnp.max(log_w, axis=0)
        weights = jnp.exp(log_w - jnp.where(jnp.isfinite(largest), largest, 0))
        ess = jnp.sum(weights, axis=0) ** 2 / jnp.maximum(jnp.sum(weights**2, axis=0), 1e-30)
        return Replay(
            x=replay.x.at[rows].set(x),
            log_weights=replay.log_weights.at[rows].set(log_w),
            log_q=replay.log_q.at[rows].set(log_q),
            step_sizes=self.annealing.adapt(replay.step_sizes, acceptance, _ADAPTATION),
            acceptance=acceptance,
            ess=jnp.mean(ess) / self.num_new,
            next=(replay.next + self.num_new) % self.buffer_size,
            step=replay.step,
        )

    def _path(self, flow: Flow, params: Params, target: Target):
        """Return the log-densities of q and of p^2 / q in base coordinates, and samples of q."""

        def log_densities(z):
            base = flow.log_prob_base(params, z, target.context)
            x, log_det = flow.forward(params, z, target.context)
            end = 2 * (target.log_density(x) + log_det) - base
            return base, end.astype(base.dtype)

        def sample(key, num):
            return target.divide(flow.sample_base(params, key, (num,), target.context))

        return log_densities, sample

    def _anneal(
        self,
        flow: Flow,
        params: Params,
        target: Target,
        key: jax.Array,
        step_sizes: jax.Array,
        num: int,
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """Return annealed samples, their log-weights, their log-density, and the acceptance."""
        log_densities, sample = self._path(flow, params, target)
        z_key, key = jax.random.split(key)
        z, log_w, acceptance = anneal(
            log_densities, sample(z_key, num), key, step_sizes, self.annealing
        )
        x, log_det = flow.forward(params, z, target.context)
        log_q = flow.log_prob_base(params, z, target.context) - log_det
        is_lost = ~(log_w < jnp.inf) | ~jnp.isfinite(log_q)
        return x, jnp.where(is_lost, -jnp.inf, log_w), log_q, acceptance


def _put(table: jax.Array, rows: jax.Array, values: jax.Array) -> jax.Array:
    """Return the table `[B, ...]` with values `[N, ...]` in rows chosen for each batch element."""
    return jnp.put_along_axis(table, rows, values, axis=0, inplace=False)
