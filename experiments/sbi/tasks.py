"""Tasks of simulation-based inference: priors and simulators of the benchmark sbibm.

Lueckmann et al., "Benchmarking Simulation-Based Inference", 2021, appendix T.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.ode import odeint
from jaxtyping import Array, Float

import distrax_flows as dxf
from distrax_flows import supports


class Task(NamedTuple):
    """A prior of parameters and a simulator of data."""

    prior: distrax.Distribution
    simulate: Callable[[jax.Array, jax.Array], jax.Array]  # of a key and parameters `[N, D]`
    support: supports.Support  # of each parameter under the prior
    published_c2st: float  # mean over ten observations of NPE-NSF with 10,000 simulations
    # of the data, which the posterior is conditioned on
    features: Callable[[jax.Array], jax.Array] = lambda x: x
    is_discrete: bool = False  # whether data are integers, or a function of integers

    def sample(self, key: jax.Array, num: int) -> tuple[jax.Array, jax.Array]:
        """Parameters from the prior, `[N, D]`, and data simulated from each, `[N, C]`."""
        prior_key, key = jax.random.split(key)
        theta = jnp.asarray(self.prior.sample(seed=prior_key, sample_shape=(num,)))
        return theta, self.simulate(key, theta)


def _uniform(size: int, bound: float) -> distrax.Distribution:
    return distrax.Independent(distrax.Uniform(jnp.full(size, -bound), jnp.full(size, bound)), 1)


def two_moons() -> Task:
    """Half a ring, whose place depends on the parameters up to a reflection: two crescents."""

    def simulate(key: jax.Array, theta: Float[Array, "N 2"]) -> Float[Array, "N 2"]:
        angle_key, radius_key = jax.random.split(key)
        shape = theta.shape[:1]
        angle = jax.random.uniform(angle_key, shape, minval=-math.pi / 2, maxval=math.pi / 2)
        radius = 0.1 + 0.01 * jax.random.normal(radius_key, shape)
        ring = jnp.stack([radius * jnp.cos(angle) + 0.25, radius * jnp.sin(angle)], axis=-1)
        total, difference = theta[:, 0] + theta[:, 1], theta[:, 1] - theta[:, 0]
        return ring + jnp.stack([-jnp.abs(total), difference], axis=-1) / math.sqrt(2)

    return Task(_uniform(2, 1.0), simulate, supports.interval(-1.0, 1.0), 0.606)


def slcp() -> Task:
    """Simple likelihood, complex posterior: four points of a Gaussian in the plane."""

    def simulate(key: jax.Array, theta: Float[Array, "N 5"]) -> Float[Array, "N 8"]:
        scales, rho = theta[:, 2:4] ** 2, jnp.tanh(theta[:, 4])
        first, second = jax.random.normal(key, (2, len(theta), 4))
        mixed = rho[:, None] * first + jnp.sqrt(1 - rho[:, None] ** 2) * second
        noise = jnp.stack([first, mixed], axis=-1)  # [N, 4, 2]
        return (theta[:, None, :2] + scales[:, None] * noise).reshape(-1, 8)

    return Task(_uniform(5, 3.0), simulate, supports.interval(-3.0, 3.0), 0.901)


def gaussian_mixture() -> Task:
    """The common mean of two Gaussians, one wide and one narrow."""

    def simulate(key: jax.Array, theta: Float[Array, "N 2"]) -> Float[Array, "N 2"]:
        kind_key, key = jax.random.split(key)
        is_wide = jax.random.bernoulli(kind_key, 0.5, (len(theta), 1))
        return theta + jnp.where(is_wide, 1.0, 0.1) * jax.random.normal(key, theta.shape)

    return Task(_uniform(2, 10.0), simulate, supports.interval(-10.0, 10.0), 0.661)


def gaussian_linear() -> Task:
    """The mean of a Gaussian in ten dimensions; prior and noise have variance 0.1."""
    scale = math.sqrt(0.1)
    prior = distrax.MultivariateNormalDiag(jnp.zeros(10), jnp.full(10, scale))

    def simulate(key: jax.Array, theta: Float[Array, "N 10"]) -> Float[Array, "N 10"]:
        return theta + scale * jax.random.normal(key, theta.shape)

    return Task(prior, simulate, supports.real(), 0.552)


def sir() -> Task:
    """Contact and recovery rate of an epidemic; ten counts of the infected in samples of 1,000."""
    loc, scale = jnp.log(jnp.array([0.4, 0.125])), jnp.array([0.5, 0.2])
    prior = distrax.Independent(distrax.Transformed(distrax.Normal(loc, scale), dxf.Exp()), 1)
    population = 1e6
    days = 17.0 * jnp.arange(10)

    @jax.vmap
    def infected(theta: jax.Array) -> jax.Array:
        contact, recovery = theta

        def slope(state, time):
            del time
            susceptible, infected = state
            new = contact * susceptible * infected
            return -new, new - recovery * infected

        # Shares of the population, so that single precision is enough.
        start = (jnp.float32(1 - 1 / population), jnp.float32(1 / population))
        return odeint(slope, start, days, rtol=1e-6, atol=1e-10)[1]

    def simulate(key: jax.Array, theta: Float[Array, "N 2"]) -> Float[Array, "N 10"]:
        share = jnp.clip(infected(theta), 0.0, 1.0)
        return jax.random.binomial(key, 1000.0, share)

    def features(x: Float[Array, "... 10"]) -> Float[Array, "... 10"]:
        # Anscombe's transform: the noise of a binomial count then has about the same variance
        # whatever its mean.
        return jnp.arcsin(jnp.sqrt((x + 0.375) / 1000.75))

    return Task(prior, simulate, supports.log_scale(), 0.680, features, is_discrete=True)


def bernoulli_glm() -> Task:
    """Offset and filter of a neuron that answers white noise by spikes: a linear model."""
    size = 9
    difference = np.eye(size) - np.eye(size, k=-1)
    smooth = difference @ difference + np.diag(np.sqrt(np.arange(size) / size))
    precision = np.zeros((1 + size, 1 + size))
    precision[0, 0] = 0.5
    precision[1:, 1:] = smooth.T @ smooth
    prior = distrax.MultivariateNormalTri(
        jnp.zeros(1 + size), jnp.asarray(np.linalg.cholesky(np.linalg.inv(precision)), jnp.float32)
    )
    # The stimulus of the benchmark, from NumPy's old generator.
    stimulus = np.random.RandomState(42).randn(100)
    lags = [np.append(np.zeros(lag), stimulus[: 100 - lag]) for lag in range(size)]
    design = jnp.asarray(np.stack([np.ones(100), *lags], axis=-1), jnp.float32)

    def simulate(key: jax.Array, theta: Float[Array, "N 10"]) -> Float[Array, "N 10"]:
        spikes = jax.random.bernoulli(key, jax.nn.sigmoid(theta @ design.T))
        return spikes.astype(theta.dtype) @ design  # number of spikes, spike-triggered average

    return Task(prior, simulate, supports.real(), 0.678, is_discrete=True)


TASKS: dict[str, Callable[[], Task]] = {
    function.__name__: functools.cache(function)
    for function in (two_moons, slcp, gaussian_mixture, gaussian_linear, sir, bernoulli_glm)
}
