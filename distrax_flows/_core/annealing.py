"""Annealed importance sampling and sequential Monte Carlo between two densities."""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows._core.checks import check_positive_int

__all__ = ["Annealed", "Annealing", "anneal", "rows_at", "take_rows", "tuned_step_sizes"]

# Maps points [S, ..., *event_shape] to their log-densities at the start and the end, both [S, ...].
LogDensities: TypeAlias = Callable[[jax.Array], tuple[jax.Array, jax.Array]]

_ACCEPTANCE = 0.65  # of Hamiltonian Monte Carlo; Beskos et al. 2013
_TUNING_ROUNDS = 30
_TUNING_SAMPLES = 64


@dataclasses.dataclass(frozen=True)
class Annealing:
    """A path of densities from q to p, and Hamiltonian Monte Carlo along it.

        log pi_k = (1 - b_k) log q + b_k log p,    b_k = k / (K + 1),    k = 1 .. K

    Samples of q move along the path in the coordinates of the flow's base, where one step size
    suits all directions if q is close to p. Step sizes adapt to an acceptance of 0.65.

    Attributes:
        num_temperatures: K, the number of densities between q and p. A sample costs
            `K * (num_leapfrog + 1)` gradients.
        num_leapfrog: leapfrog steps of each transition; one transition per density.
        resample: whether samples are resampled, systematically, whenever the effective sample size
            falls below half: sequential Monte Carlo. Otherwise, annealed importance sampling.

    Raises:
        ValueError: a number is not a positive integer.

    Reference:
        Neal, "Annealed importance sampling", 2001; Del Moral et al., "Sequential Monte Carlo
        samplers", 2006.

    Example:
        >>> import distrax_flows as dxf, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.realnvp(2))
        >>> params = flow.init_without_data(0)
        >>> found = dxf.diagnostics.evidence(
        ...     flow, params, lambda x: -0.125 * jnp.sum(x**2, -1), key=1, num_samples=2_000,
        ...     annealing=dxf.Annealing(num_temperatures=8),
        ... )
        >>> bool(abs(found.log_z - jnp.log(8 * jnp.pi)) < 3 * found.log_z_stderr)
        True
    """

    num_temperatures: int = 8
    num_leapfrog: int = 5
    resample: bool = False

    def __post_init__(self):
        check_positive_int("num_temperatures", self.num_temperatures)
        check_positive_int("num_leapfrog", self.num_leapfrog)

    @staticmethod
    def adapt(
        step_sizes: Float[Array, " K"], acceptance: Float[Array, " K"], rate: float | jax.Array
    ) -> Float[Array, " K"]:
        """Return step sizes, moved towards an acceptance of 0.65."""
        return (step_sizes * jnp.exp(rate * (acceptance - _ACCEPTANCE))).astype(step_sizes.dtype)


class Annealed(NamedTuple):
    """Annealed samples: `mean(exp(log_weights))` is unbiased for the ratio of normalisers.

    Attributes:
        z: samples, `[S, ..., *event_shape]`.
        log_weights: their log-weights, `[S, ...]`.
        acceptance: mean acceptance of the transitions at each temperature, `[K]`.
    """

    z: Float[Array, "S ..."]
    log_weights: Float[Array, "S ..."]
    acceptance: Float[Array, " K"]


def anneal(
    log_densities: LogDensities,
    z: Float[Array, "S ..."],
    key: jax.Array,
    step_sizes: Float[Array, " K"],
    annealing: Annealing,
) -> Annealed:
    """Move samples of one density towards another, and weigh them.

    TFP's own transitions use calls that JAX has deprecated, so they are not used here.
    """
    num = annealing.num_temperatures
    betas = jnp.arange(1, num + 1) / (num + 1)

    def move(carry, inputs):
        z, log_w, log_ratio = carry
        beta, step_size, key = inputs
        move_key, resample_key = jax.random.split(key)
        log_w = log_w + log_ratio / (num + 1)
        if annealing.resample:
            z, log_w = _resample(z, log_w, resample_key)
        z, log_ratio, acceptance = _hamiltonian(
            log_densities, beta, z, move_key, step_size, annealing.num_leapfrog
        )
        return (z, log_w, log_ratio), acceptance

    start, end = log_densities(z)
    carry = (z, jnp.zeros_like(end - start), end - start)
    inputs = (betas, step_sizes, jax.random.split(key, num))
    (z, log_w, log_ratio), acceptance = jax.lax.scan(move, carry, inputs)
    return Annealed(z, log_w + log_ratio / (num + 1), acceptance)


def tuned_step_sizes(
    log_densities: LogDensities,
    sample: Callable[[jax.Array, int], jax.Array],
    key: jax.Array,
    annealing: Annealing,
) -> Float[Array, " K"]:
    """Tune the step size of each temperature on samples of their own, so that weights stay exact.

    Args:
        log_densities: as in `anneal`.
        sample: maps a key and a number to samples of the starting density.
        key: random key.
        annealing: the path.
    """

    def tune(step_sizes, inputs):
        round_, key = inputs
        z_key, key = jax.random.split(key)
        z = sample(z_key, _TUNING_SAMPLES)
        annealed = anneal(log_densities, z, key, step_sizes, annealing)
        rate = 1.0 / (1 + 0.1 * round_)
        return annealing.adapt(step_sizes, annealed.acceptance, rate), None

    start = jnp.full(annealing.num_temperatures, 0.3)
    inputs = (jnp.arange(_TUNING_ROUNDS), jax.random.split(key, _TUNING_ROUNDS))
    return jax.lax.scan(tune, start, inputs)[0]


def _hamiltonian(
    log_densities: LogDensities,
    beta: jax.Array,
    z: jax.Array,
    key: jax.Array,
    step_size: jax.Array,
    num_leapfrog: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Take a step of Hamiltonian Monte Carlo at one temperature.

    Returns the samples, the differences of their log-densities, and the mean acceptance.
    """

    def evaluate(z):
        (start, end), pull = jax.vjp(log_densities, z)
        (force,) = pull((jnp.full_like(start, 1 - beta), jnp.full_like(end, beta)))
        return start, end - start, force

    def leap(_, state):
        z, momentum, (_, _, force) = state
        momentum = momentum + 0.5 * step_size * force
        z = z + step_size * momentum
        now = evaluate(z)
        return z, momentum + 0.5 * step_size * now[2], now

    beta, step_size = beta.astype(z.dtype), step_size.astype(z.dtype)
    momentum_key, accept_key = jax.random.split(key)
    momentum = jax.random.normal(momentum_key, z.shape, z.dtype)
    before = evaluate(z)
    moved, end_momentum, after = jax.lax.fori_loop(0, num_leapfrog, leap, (z, momentum, before))
    axes = tuple(range(before[0].ndim, z.ndim))

    def energy(now, momentum):
        return 0.5 * jnp.sum(momentum**2, axis=axes) - (now[0] + beta * now[1])

    log_accept = energy(before, momentum) - energy(after, end_momentum)
    # No transition goes where the density is NaN.
    accept = jnp.where(jnp.isnan(log_accept), 0.0, jnp.exp(jnp.minimum(log_accept, 0.0)))
    accepted = jax.random.uniform(accept_key, accept.shape, accept.dtype) < accept
    z = jnp.where(accepted.reshape(accepted.shape + (1,) * len(axes)), moved, z)
    return z, jnp.where(accepted, after[1], before[1]), jnp.mean(accept)


def _resample(z: jax.Array, log_w: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Resample systematically along the first axis, where the effective sample size is low."""
    num = len(log_w)
    log_mean = jax.nn.logsumexp(log_w, axis=0) - math.log(num)
    weights = jnp.exp(log_w - jnp.where(jnp.isfinite(log_mean), log_mean, 0))
    is_low = jnp.sum(weights, axis=0) ** 2 < 0.5 * num * jnp.sum(weights**2, axis=0)
    offsets = jax.random.uniform(key, log_mean.shape, log_w.dtype)

    each = jnp.arange(num).reshape(-1, *[1] * log_mean.ndim)
    chosen = jnp.where(is_low, rows_at(log_w, (each + offsets) / num), each)
    return take_rows(z, chosen), jnp.where(is_low, log_mean, log_w)


def rows_at(log_w: jax.Array, quantiles: jax.Array) -> jax.Array:
    """Return the rows of weights `[S, ...]` at quantiles `[R, ...]` of their distribution."""
    largest = jnp.max(log_w, axis=0)
    ends = jnp.cumsum(jnp.exp(log_w - jnp.where(jnp.isfinite(largest), largest, 0)), axis=0)

    def find(ends, quantiles):
        rows = jnp.searchsorted(ends, quantiles * ends[-1], side="right")
        return jnp.minimum(rows, len(ends) - 1)

    for _ in range(log_w.ndim - 1):
        find = jax.vmap(find, in_axes=(-1, -1), out_axes=-1)
    return find(ends, quantiles)


def take_rows(z: jax.Array, rows: jax.Array) -> jax.Array:
    """Return `z[rows[s, ...], ...]`, for rows `[R, ...]` chosen for each batch element."""
    rows = rows.reshape(rows.shape + (1,) * (z.ndim - rows.ndim))
    return jnp.take_along_axis(z, rows, axis=0)
