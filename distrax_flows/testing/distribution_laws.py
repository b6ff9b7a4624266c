"""The laws that every distribution keeps."""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from distrax_flows._core.checks import check_positive, check_positive_int
from distrax_flows.testing.checks import Check, close, finite, same
from distrax_flows.testing.subject import SINGLE

__all__ = ["DISTRIBUTION_LAWS", "DistributionSubject"]

# The laws of distributions, by name.
DISTRIBUTION_LAWS: dict[str, "DistributionLaw"] = {}

_WRONG_DENSITY = "`log_prob` is not the density of what `sample` returns: a log-det or a normaliser"


class DistributionSubject:
    """Distribution to check laws on; the arguments are those of `check_distribution`."""

    def __init__(
        self,
        distribution: distrax.Distribution,
        *,
        other: distrax.Distribution | None = None,
        num_samples: int = 20_000,
        tolerance: float = 1e-4,
        seed: int = 0,
    ):
        if not isinstance(distribution, distrax.Distribution):
            raise TypeError(
                f"`distribution` must be a `distrax.Distribution`; got {distribution!r}. "
                "`distrax.as_distribution` converts TFP's."
            )
        self.distribution = distribution
        self.other = other
        self.num_samples = check_positive_int("num_samples", num_samples)
        self.tolerance = check_positive("tolerance", tolerance)
        self.seed = seed
        self.event_shape = tuple(distribution.event_shape)
        self.batch_shape = tuple(distribution.batch_shape)
        self.key = jax.random.key(seed)

    @functools.cached_property
    def _sampled(self) -> tuple[np.ndarray, np.ndarray]:
        def sample(distribution, key):
            return distribution.sample_and_log_prob(seed=key, sample_shape=(self.num_samples,))

        return jax.tree.map(np.asarray, jax.jit(sample)(self.distribution, self.key))

    @functools.cached_property
    def _sample(self) -> Callable[[distrax.Distribution, jax.Array], jax.Array]:
        return jax.jit(lambda d, key: d.sample(seed=key, sample_shape=(self.num_samples,)))

    def sample(self, key: jax.Array) -> np.ndarray:
        """Return what `sample` alone returns, `[num_samples, *batch_shape, *event_shape]`."""
        return np.asarray(self._sample(self.distribution, key))

    @property
    def samples(self) -> np.ndarray:
        """Samples, `[num_samples, *batch_shape, *event_shape]`."""
        return self._sampled[0]

    @property
    def log_prob(self) -> np.ndarray:
        """Their log-densities, `[num_samples, *batch_shape]`."""
        return self._sampled[1]

    @property
    def name(self) -> str:
        """The name of the distribution."""
        return self.distribution.name

    def first_member(self, samples: np.ndarray) -> np.ndarray:
        """Samples `[N, D]` of the first member of the batch, events flattened."""
        ndims = len(self.batch_shape)
        return samples[(slice(None), *[0] * ndims)].reshape(len(samples), -1)

    def density_at(self, events: np.ndarray) -> np.ndarray:
        """Densities `[N]` of the first member of the batch, at events `[N, D]`."""
        shape = (len(events), *[1] * len(self.batch_shape), *self.event_shape)
        x = np.broadcast_to(
            events.reshape(shape).astype(self.samples.dtype),
            (len(events), *self.batch_shape, *self.event_shape),
        )
        log_prob = np.asarray(_log_prob(self.distribution, x), np.float64)
        return np.exp(log_prob.reshape(len(events), -1)[:, 0])


# Compiled once for all laws that evaluate samples of one shape.
_log_prob = jax.jit(lambda distribution, x: distribution.log_prob(x))


DistributionLaw: TypeAlias = Callable[[DistributionSubject], Iterator[Check]]


def _law(law: DistributionLaw) -> DistributionLaw:
    DISTRIBUTION_LAWS[law.__name__] = law
    return law


@_law
def shapes(subject: DistributionSubject) -> Iterator[Check]:
    """Samples have `sample_shape + batch_shape + event_shape`, log-densities all but the last."""
    remedy = "`event_shape` or `batch_shape` is wrong, or a reduction takes too many axes"
    for sample_shape in ((), (2, 3), (0,)):

        def sample(distribution, key, sample_shape=sample_shape):
            x, log_prob = distribution.sample_and_log_prob(seed=key, sample_shape=sample_shape)
            return x, log_prob, distribution.log_prob(x)

        x, log_prob, again = jax.eval_shape(sample, subject.distribution, subject.key)
        batch_shape = sample_shape + subject.batch_shape
        of = f"for sample_shape={sample_shape}"
        yield same(f"shape of samples, {of}", x.shape, batch_shape + subject.event_shape, remedy)
        yield same(f"shape of their log-densities, {of}", log_prob.shape, batch_shape, remedy)
        yield same(f"shape of `log_prob`, {of}", again.shape, batch_shape, remedy)


@_law
def seeds(subject: DistributionSubject) -> Iterator[Check]:
    """Samples are a function of the seed; members of a batch and samples are independent."""
    one, again = (subject.sample(subject.key)[:4] for _ in range(2))
    yield same("samples of one key differ", np.array_equal(one, again), True, "state")
    other = subject.sample(jax.random.fold_in(subject.key, 1))[:4]
    yield same("samples of two keys are equal", np.array_equal(one, other), False, "a fixed key")
    rows = one.reshape(-1, *subject.event_shape)
    yield same(
        "samples that are copies of each other",
        len(rows) - len(np.unique(rows, axis=0)),
        0,
        "noise is shared among members of the batch, or among samples",
    )


@_law
def sample_and_log_prob(subject: DistributionSubject) -> Iterator[Check]:
    """`sample_and_log_prob` returns what `sample` and `log_prob` return."""
    remedy = "the two ways take different keys, or one of them lacks a log-det"
    x = subject.sample(subject.key)
    yield close("samples", x, subject.samples, subject.tolerance, x, remedy)
    log_prob = np.asarray(_log_prob(subject.distribution, subject.samples))
    bound = 100 * subject.tolerance
    yield close("log-density of samples", log_prob, subject.log_prob, bound, x, remedy)


@_law
def normalisation(subject: DistributionSubject) -> Iterator[Check]:
    """The density integrates to one, in one and two dimensions."""
    size = math.prod(subject.event_shape)
    if size > 2:
        return
    # sinh: a fine grid where samples are, a coarse one far into the tails.
    samples = subject.first_member(subject.samples).astype(np.float64)
    middle = np.median(samples, axis=0)
    scale = np.subtract(*np.quantile(samples, [0.75, 0.25], axis=0)) / 2
    num = 20_001 if size == 1 else 801
    unit = np.sinh(8 * np.linspace(-1, 1, num)) / 8
    slopes = np.cosh(8 * np.linspace(-1, 1, num)) * 2 / (num - 1)
    grid = np.stack(np.meshgrid(*[unit] * size, indexing="ij"), axis=-1).reshape(-1, size)
    volumes = np.prod(np.meshgrid(*[slopes] * size, indexing="ij"), axis=0).reshape(-1)
    density = subject.density_at(middle + scale * grid)
    mass = float(np.sum(density * volumes) * np.prod(scale))
    error = math.inf if math.isnan(mass) else abs(mass - 1)
    yield Check("mass, less one", error, 1e-2, f"the mass is {mass:.6g}", _WRONG_DENSITY)


@_law
def samples_against_density(subject: DistributionSubject) -> Iterator[Check]:
    """The mean of r / p over samples of p is 1, for a narrow density r in the midst of them."""
    samples = subject.first_member(subject.samples).astype(np.float64)
    # Around the neighbours of one of them: there p is not thin, and no edge is near.
    unit = np.maximum(samples.std(axis=0), 1e-30)
    distance = np.sum(((samples - np.median(samples, axis=0)) / unit) ** 2, axis=-1)
    distance = np.sum(((samples - samples[np.argmin(distance)]) / unit) ** 2, axis=-1)
    neighbours = samples[np.argsort(distance)[: max(50, len(samples) // 50)]]
    middle, scale = neighbours.mean(axis=0), np.maximum(neighbours.std(axis=0) / 2, 1e-30)
    z = (samples - middle) / scale
    normaliser = (2 * math.pi) ** (samples.shape[1] / 2) * np.prod(scale)
    narrow = np.exp(-0.5 * np.sum(z * z, axis=-1)) / normaliser
    density = np.exp(subject.log_prob.reshape(subject.num_samples, -1)[:, 0].astype(np.float64))
    ratio = narrow / density
    error = float(ratio.std() / math.sqrt(ratio.size))
    # Where the estimate says nothing, as in many dimensions, no verdict is given.
    if not error < 0.2:
        return
    where = f"{ratio.mean():.4g} with a standard error of {error:.2g}"
    distance = abs(float(ratio.mean()) - 1)
    yield Check("mean of r / p, less one", distance, 5 * error, where, _WRONG_DENSITY)


@_law
def dtypes(subject: DistributionSubject) -> Iterator[Check]:
    """Samples have the distribution's dtype, and log-densities that of their argument."""
    remedy = "an array of another dtype meets the samples: make constants with x.dtype"
    dtype = np.dtype(subject.distribution.dtype)
    yield same("dtype of samples", subject.samples.dtype, dtype, remedy)
    yield same("dtype of their log-densities", subject.log_prob.dtype, dtype, remedy)
    if dtype == SINGLE:
        with jax.enable_x64(True):
            log_prob = jax.eval_shape(subject.distribution.log_prob, subject.samples[:3])
        yield same("dtype of `log_prob` of float32, with x64", log_prob.dtype, SINGLE, remedy)


@_law
def is_a_pytree(subject: DistributionSubject) -> Iterator[Check]:
    """It may be an argument of jit, and is whole after `tree_map`."""
    remedy = "a derived leaf goes stale, or an array is no attribute of the instance"
    leaves, structure = jax.tree.flatten(subject.distribution)
    rebuilt = structure.unflatten([jnp.array(leaf) for leaf in leaves])
    x = subject.samples
    log_prob = np.asarray(_log_prob(rebuilt, x))
    expected = np.asarray(subject.distribution.log_prob(jnp.asarray(x)))
    bound = 100 * subject.tolerance
    yield close("log-density after `tree_map`, in jit", log_prob, expected, bound, x, remedy)


@_law
def finite_gradients(subject: DistributionSubject) -> Iterator[Check]:
    """Log-densities of samples have finite gradients, in the sample and in all float leaves."""

    def total(leaves, x):
        return jnp.sum(build(leaves).log_prob(x))

    build, leaves = _float_leaves(subject.distribution)
    x = subject.samples[:50]
    by_leaves, by_sample = jax.jit(jax.grad(total, argnums=(0, 1)))(leaves, x)
    yield finite("gradient in the sample", np.asarray(by_sample), x)
    for leaf in by_leaves:
        yield finite("gradient in a leaf", np.asarray(leaf)[None], np.zeros(1))


@_law
def kl_divergence(subject: DistributionSubject) -> Iterator[Check]:
    """KL to itself is 0 and to `other` the mean of `log p - log q` over samples; or it refuses."""
    remedy = "distrax compares printed programs where it has no formula: estimate, or raise"
    for name, other in (("itself", subject.distribution), ("`other`", subject.other)):
        if other is None:
            continue
        log_q = np.asarray(_log_prob(other, subject.samples))
        difference = subject.log_prob.astype(np.float64) - log_q
        expected, error = difference.mean(axis=0), difference.std(axis=0) / len(difference) ** 0.5
        try:
            kl = np.asarray(_kl_divergence(subject.distribution, other, subject.key))
        except NotImplementedError:
            continue
        of = f"KL to {name}"
        yield same(f"shape of the {of}", kl.shape, subject.batch_shape, remedy)
        if np.isfinite(expected).all():
            # The value itself may be an estimate, of half as many samples.
            excess = np.max(np.abs(kl - expected) - 9 * error, initial=-math.inf)
            where = f"got {np.ravel(kl)[0]:.6g}, expected {np.ravel(expected)[0]:.6g}"
            yield Check(of, max(float(excess), 0.0), 100 * subject.tolerance, where, remedy)


@jax.jit
def _kl_divergence(p: Any, q: Any, key: jax.Array) -> jax.Array:
    try:
        return p.kl_divergence(q)
    except ValueError:  # estimated divergences need a seed
        return p.kl_divergence(q, seed=key)


def _float_leaves(distribution: distrax.Distribution) -> tuple[Callable, list]:
    """A distribution as a function of its floating leaves, and those leaves."""
    leaves, structure = jax.tree.flatten(distribution)
    is_float = [jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in leaves]

    def build(floats):
        rest = iter(floats)
        pairs = zip(leaves, is_float, strict=True)
        return structure.unflatten([next(rest) if own else leaf for leaf, own in pairs])

    return build, [leaf for leaf, own in zip(leaves, is_float, strict=True) if own]
