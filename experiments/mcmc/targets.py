"""Target densities, and what is known about their moments."""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from sklearn.datasets import load_breast_cancer

from distrax_flows import densities

_normal = jax.scipy.stats.norm.logpdf

# Coaching effects on the SAT and their standard errors: Rubin 1981, Gelman et al. 2013, table 5.2.
EFFECTS = np.array([28, 8, -3, 7, -1, 1, 18, 12], np.float32)
STDERRS = np.array([15, 10, 16, 11, 9, 11, 10, 18], np.float32)


@dataclasses.dataclass(frozen=True)
class Moments:
    """Means and standard deviations of the scored coordinates, each `[S]`."""

    mean: np.ndarray
    scale: np.ndarray


@dataclasses.dataclass(frozen=True)
class Target:
    """A density, and what it takes to score its samples.

    Without exact moments, a long run of NUTS supplies them. It samples z, where `straighten(z)` is
    x and the log-determinant of its Jacobian, or x itself if there is no `straighten`.
    """

    names: tuple[str, ...]  # of the coordinates
    log_density: Callable[[jax.Array], jax.Array]  # from `[..., D]` to `[...]`
    shown: tuple[int, int]  # coordinates in pictures
    scored: tuple[int, ...]  # coordinates whose samples are scored
    moments: Moments | None = None  # exact ones
    straighten: Callable[[jax.Array], tuple[jax.Array, jax.Array]] | None = None
    sample: Callable[[jax.Array, int], jax.Array] | None = None  # exact samples, of key and number

    @property
    def size(self) -> int:
        """The number of coordinates, D."""
        return len(self.names)


def banana() -> Target:
    """A parabola of Gaussian width."""
    density = densities.get("banana")
    return Target(
        names=("x1", "x2"),
        log_density=density.log_prob,
        shown=(0, 1),
        scored=(0, 1),
        moments=Moments(np.array([-1, 0]), np.sqrt([2.75, 3])),
        sample=lambda key, num: density.sample(seed=key, sample_shape=(num,)),
    )


def funnel() -> Target:
    """Neal's funnel: v ~ N(0, 3^2), and nine x_i ~ N(0, e^v) given v.

    Only v is scored: squares of x have such heavy tails that no sample average of them is reliable.
    """

    def log_density(x: Float[Array, "... 10"]) -> Float[Array, "..."]:
        v, rest = x[..., 0], x[..., 1:]
        return _normal(v, 0, 3) + _normal(rest, 0, jnp.exp(v / 2)[..., None]).sum(-1)

    def sample(key: jax.Array, num: int) -> Float[Array, "num 10"]:
        z = jax.random.normal(key, (num, 10))
        v = 3 * z[:, :1]
        return jnp.concatenate([v, jnp.exp(v / 2) * z[:, 1:]], axis=-1)

    return Target(
        names=("v", *(f"x{i}" for i in range(1, 10))),
        log_density=log_density,
        shown=(1, 0),
        scored=(0,),
        moments=Moments(np.zeros(1), np.full(1, 3.0)),
        sample=sample,
    )


def eight_schools() -> Target:
    """Eight schools, centred: a funnel of their effects theta over the logarithm of their spread.

    theta_i ~ N(mu, tau^2), y_i ~ N(theta_i, s_i^2), mu ~ N(0, 5^2), tau ~ half-Cauchy(5).
    """

    def log_density(x: Float[Array, "... 10"]) -> Float[Array, "..."]:
        log_tau, mu, theta = x[..., 0], x[..., 1], x[..., 2:]
        tau = jnp.exp(log_tau)
        log_prior = math.log(2 / (5 * math.pi)) - jnp.log1p((tau / 5) ** 2) + log_tau
        log_effects = _normal(theta, mu[..., None], tau[..., None]).sum(-1)
        return (
            log_prior + _normal(mu, 0, 5) + log_effects + _normal(EFFECTS, theta, STDERRS).sum(-1)
        )

    def straighten(z: Float[Array, "... 10"]) -> tuple[jax.Array, jax.Array]:
        log_tau, mu = z[..., :1], z[..., 1:2]
        theta = mu + jnp.exp(log_tau) * z[..., 2:]
        return jnp.concatenate([log_tau, mu, theta], axis=-1), 8 * z[..., 0]

    return Target(
        names=("log_tau", "mu", *(f"theta{i}" for i in range(1, 9))),
        log_density=log_density,
        shown=(2, 0),
        scored=tuple(range(10)),
        straighten=straighten,
    )


def logistic() -> Target:
    """Logistic regression of breast_cancer: an intercept, 30 features, priors N(0, 1)."""
    features, labels = load_breast_cancer(return_X_y=True)
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    design = jnp.asarray(np.insert(features, 0, 1, axis=1), jnp.float32)  # `[569, 31]`
    signs = jnp.asarray(2 * labels - 1, jnp.float32)

    def log_density(x: Float[Array, "... 31"]) -> Float[Array, "..."]:
        log_likelihood = jax.nn.log_sigmoid(signs * (x @ design.T)).sum(-1)
        return log_likelihood + _normal(x).sum(-1)

    return Target(
        names=("intercept", *(f"w{i}" for i in range(1, 31))),
        log_density=log_density,
        shown=(1, 3),  # mean radius and mean perimeter, which are almost the same feature
        scored=tuple(range(31)),
    )


TARGETS: dict[str, Callable[[], Target]] = {
    function.__name__: functools.cache(function)
    for function in (banana, funnel, eight_schools, logistic)
}
