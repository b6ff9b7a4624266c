"""Rezende & Mohamed's potentials, and the exact properties of their densities."""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from distrax_flows import densities, supports

BOUND = 4.0  # of |z1|, where the density would otherwise be improper


def _w1(z1: jax.Array) -> jax.Array:
    return jnp.sin(math.pi * z1 / 2)


def _w2(z1: jax.Array) -> jax.Array:
    return 3 * jnp.exp(-0.5 * ((z1 - 1) / 0.6) ** 2)


def _w3(z1: jax.Array) -> jax.Array:
    return 3 * jax.nn.sigmoid((z1 - 1) / 0.3)


def _bump(distance: jax.Array, width: float) -> jax.Array:
    """The exponent of a Gaussian."""
    return -0.5 * (distance / width) ** 2


def u1(z: jax.Array) -> jax.Array:
    """Two lobes on a ring."""
    z1 = z[..., 0]
    lobes = jnp.logaddexp(_bump(z1 - 2, 0.6), _bump(z1 + 2, 0.6))
    return -_bump(jnp.linalg.norm(z, axis=-1) - 2, 0.4) - lobes


def u2(z: jax.Array) -> jax.Array:
    """A wave."""
    z1, z2 = z[..., 0], z[..., 1]
    return -_bump(z2 - _w1(z1), 0.4)


def u3(z: jax.Array) -> jax.Array:
    """A wave, split in the middle."""
    z1, z2 = z[..., 0], z[..., 1]
    off = z2 - _w1(z1)
    return -jnp.logaddexp(_bump(off, 0.35), _bump(off + _w2(z1), 0.35))


def u4(z: jax.Array) -> jax.Array:
    """A wave, split to the right."""
    z1, z2 = z[..., 0], z[..., 1]
    off = z2 - _w1(z1)
    return -jnp.logaddexp(_bump(off, 0.4), _bump(off + _w3(z1), 0.35))


@dataclasses.dataclass(frozen=True)
class Target:
    """A density given by its potential, and the exact values that score its fits."""

    name: str  # of the potential, and of the normalised density in `distrax_flows.densities`
    potential: Callable[[jax.Array], jax.Array]  # U, from `[..., 2]` to `[...]`
    bounded: bool  # whether z1 is bounded
    log_z: float  # logarithm of the integral of exp(-U)

    @property
    def support(self) -> tuple[supports.Support, supports.Support]:
        """The support of a flow that is fitted to it."""
        first = supports.interval(-BOUND, BOUND) if self.bounded else supports.real()
        return first, supports.real()

    def log_density(self, z: jax.Array) -> jax.Array:
        """-U, which is all that a fit sees."""
        if not self.bounded:
            return -self.potential(z)
        return jnp.where(jnp.abs(z[..., 0]) <= BOUND, -self.potential(z), -jnp.inf)

    def log_prob(self, z: jax.Array) -> jax.Array:
        """The normalised log-density, for scores and pictures."""
        return self.log_density(z) - self.log_z

    def sample(self, key: jax.Array, num: int) -> jax.Array:
        """Exact samples, `[num, 2]`, for scores and pictures."""
        return densities.get(self.name).sample(seed=key, sample_shape=(num,))


# Given z1, U2 - U4 are those of Gaussians, whose widths add up; U1 needs quadrature.
def _log_z(widths: float) -> float:
    return math.log(2 * BOUND * math.sqrt(2 * math.pi) * widths)


TARGETS = {
    target.name: target
    for target in (
        Target("u1", u1, bounded=False, log_z=1.8775016261),
        Target("u2", u2, bounded=True, log_z=_log_z(0.4)),
        Target("u3", u3, bounded=True, log_z=_log_z(0.35 + 0.35)),
        Target("u4", u4, bounded=True, log_z=_log_z(0.4 + 0.35)),
    )
}
