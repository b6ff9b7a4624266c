"""Laws of distributions, for bases, toy densities and flows; and that each law can fail."""

import functools
import math

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_bases import BASES, made
from test_modules import jittered

import distrax_flows as dxf
from distrax_flows import densities, families, flows, supports, testing

KEY = jax.random.key(0)
NETWORK = {"num_layers": 2, "hidden_sizes": (8,)}


def normal(*shape):
    zeros = jnp.zeros(shape)
    return distrax.Independent(distrax.Normal(zeros, zeros + 1), len(shape))


@functools.cache
def flow(name):
    make, shape, context = {
        "realnvp": (lambda: flows.realnvp(2, **NETWORK), (2,), None),
        "spline": (lambda: flows.nsf_coupling(1, **NETWORK), (1,), None),
        "scalar": (lambda: flows.independent((), families.spline()), (), None),
        "matrix": (lambda: flows.independent((2, 2), families.spline()), (2, 2), None),
        "conditional": (
            lambda context: flows.maf(2, context=context, **NETWORK),
            (2,),
            jnp.linspace(-1.0, 1.0, 3)[:, None],
        ),
        "supports": (
            lambda: flows.maf(
                2, support=[supports.positive(), supports.interval(0.0, 1.0)], **NETWORK
            ),
            (2,),
            None,
        ),
        "circle": (
            lambda: flows.nsf_coupling(2, support=supports.circle(), **NETWORK),
            (2,),
            None,
        ),
    }[name]
    made = dxf.transform(make)
    x = jax.random.uniform(KEY, (3, *shape), minval=0.1, maxval=0.9)
    params = jittered(made.init(KEY, x, context), scale=0.1)
    return made, params, context


FLOWS = [
    "realnvp",
    "conditional",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("spline", "scalar", "matrix", "supports", "circle")
    ),
]


@pytest.mark.parametrize("name", FLOWS)
def test_flows_keep_the_laws(name):
    made, params, context = flow(name)
    moved = jax.tree.map(lambda leaf: leaf + 0.1, params)
    other = made.distribution(moved, context)
    report = testing.check_distribution(made.distribution(params, context), other=other)
    assert report.worst["kl_divergence"] is not None


@pytest.mark.parametrize("name", BASES)
def test_bases_keep_the_laws(name):
    # A box has an edge: where it is met, a grid of the plane counts its cell half.
    laws = set(testing.DISTRIBUTION_LAWS) - ({"normalisation"} if name == "uniform" else set())
    other = None if name == "uniform" else normal(2)
    testing.check_distribution(made(name), other=other, laws=laws)


@pytest.mark.slow
@pytest.mark.parametrize("name", densities.names())
def test_toy_densities_keep_the_laws(name):
    # Edges, again; test_densities integrates each to 1e-3 by its own rule.
    laws = set(testing.DISTRIBUTION_LAWS) - {"normalisation", "finite_gradients"}
    testing.check_distribution(densities.get(name), laws=laws, num_samples=5_000, tolerance=1e-3)


class Broken(distrax.Distribution):
    """A standard normal with a fault."""

    def __init__(self, fault, event_shape=(2,), batch_shape=()):
        super().__init__()
        self._fault = fault
        self._event_shape = event_shape
        self._batch_shape = batch_shape
        self._scale = jnp.ones(())

    @property
    def event_shape(self):
        return self._event_shape

    @property
    def batch_shape(self):
        return self._batch_shape

    def log_prob(self, value):
        fault = self._fault
        squares = -0.5 * value**2 - 0.5 * math.log(2 * math.pi)
        if fault == "gradient":
            squares = squares - jnp.sqrt(0.0 * value * value)
        log_prob = jnp.sum(squares, axis=-1)
        if fault == "normaliser":
            log_prob = log_prob + 0.5
        if fault == "dtype":
            log_prob = log_prob + np.zeros(())
        if fault == "shape":
            log_prob = log_prob[..., None]
        return log_prob

    def _sample_n(self, key, n):
        if self._fault == "seed":
            key = jax.random.key(0)
        shape = (n, *self._batch_shape, *self._event_shape)
        if self._fault == "shared":
            shape = (n, *[1] * len(self._batch_shape), *self._event_shape)
        x = jax.random.normal(key, shape)
        x = jnp.broadcast_to(x, (n, *self._batch_shape, *self._event_shape))
        return 1.5 * x if self._fault == "scale" else x

    def _sample_n_and_log_prob(self, key, n):
        if self._fault == "another key":
            key = jax.random.fold_in(key, 1)
        x = self._sample_n(key, n)
        return x, self.log_prob(x)

    def kl_divergence(self, other_dist, **kwargs):
        if self._fault == "divergence":
            return jnp.zeros(self._batch_shape)
        raise NotImplementedError


def test_a_right_one_keeps_all():
    testing.check_distribution(Broken(""))
    testing.check_distribution(Broken("", batch_shape=(3,)), other=normal(2))


@pytest.mark.parametrize(
    ("fault", "law"),
    [
        ("shape", "shapes"),
        ("seed", "seeds"),
        ("shared", "seeds"),
        ("another key", "sample_and_log_prob"),
        ("normaliser", "normalisation"),
        ("normaliser", "samples_against_density"),
        ("scale", "samples_against_density"),
        ("dtype", "dtypes"),
        ("gradient", "finite_gradients"),
        ("divergence", "kl_divergence"),
    ],
)
def test_each_law_can_be_broken(fault, law):
    batch_shape = (3,) if fault == "shared" else ()
    other = distrax.Independent(distrax.Normal(jnp.ones(2), jnp.ones(2)), 1)
    distribution = Broken(fault, batch_shape=batch_shape)
    with pytest.raises(AssertionError, match=f"{law}: "):
        testing.check_distribution(distribution, other=other, laws=[law])


def test_state_outside_of_the_instance_is_found():
    class Elsewhere(Broken):
        offsets = {}  # noqa: RUF012

        def log_prob(self, value):
            return super().log_prob(value) + self.offsets.get(id(self), 0.0)

    distribution = Elsewhere("")
    Elsewhere.offsets[id(distribution)] = 2.0
    with pytest.raises(AssertionError, match="is_a_pytree: "):
        testing.check_distribution(distribution, laws=["is_a_pytree"])


@pytest.mark.usefixtures("wrong_types")
def test_what_is_no_distribution_is_refused():
    with pytest.raises(TypeError, match=r"`distribution` must be a `distrax\.Distribution`"):
        testing.check_distribution(3)
    with pytest.raises(ValueError, match="`laws` must be names among"):
        testing.check_distribution(normal(2), laws=["shape"])
