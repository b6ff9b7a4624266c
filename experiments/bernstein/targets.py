"""Densities on the line, of independent columns, and of a response given a covariate."""

from typing import NamedTuple

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from distrax_flows import supports

# Probabilities of the quantiles that are shown and scored.
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


class Line(NamedTuple):
    """A scalar density."""

    name: str  # in tables and titles
    density: distrax.Distribution  # its distribution, of event shape ()
    low: float  # lower end of an interval with all but 1e-6 of its mass, or of its support
    high: float  # upper end
    support: supports.Support = supports.real()  # of the flow that is fitted to it

    def grid(self, num: int) -> Float[np.ndarray, " num"]:
        """Centres of equal cells between the ends."""
        return self.low + (self.high - self.low) * (np.arange(num) + 0.5) / num


def _mixture(weights, kind, loc, scale) -> distrax.Distribution:
    components = kind(jnp.array(loc), jnp.array(scale))
    return distrax.MixtureSameFamily(distrax.Categorical(probs=jnp.array(weights)), components)


BIMODAL = Line("bimodal", _mixture([0.5, 0.5], distrax.Normal, [-2.0, 2.0], [1.0, 1.0]), -8.0, 8.0)
LINES = (
    BIMODAL,
    Line(
        "trimodal",
        _mixture([0.3, 0.45, 0.25], distrax.Gumbel, [-3.5, 0.0, 4.0], [0.6, 0.8, 0.5]),
        -6.0,
        14.0,
    ),
)
COLUMNS = (
    BIMODAL,
    Line("skewed", distrax.Gamma(2.0, 1.0), 0.0, 20.0, supports.positive()),
    Line("uniform", distrax.Uniform(-1.0, 1.0), -1.0, 1.0, supports.interval(-1.0, 1.0)),
)


class Branches(NamedTuple):
    """Parameters of a response given its covariate; see `draw_pairs`."""

    upper_weight: jax.Array
    loc: jax.Array
    scale: jax.Array


def branches(x: Float[Array, "..."]) -> Branches:
    """Branches that are separate at large x and merged at small x; widths and weights vary."""
    return Branches(
        upper_weight=jax.nn.sigmoid(1.5 * x), loc=1 + x, scale=0.4 + 0.15 * jnp.sin(4 * x)
    )


def draw_pairs(key: jax.Array, num: int) -> tuple[Float[Array, "num 1"], Float[Array, "num 1"]]:
    """Responses y and covariates x, which are uniform in [-1, 1].

    With g a Gumbel variable, whose density is skewed to the right,

        y = loc(x) + scale(x) g    with the probability upper_weight(x),
        y = -(loc(x) + scale(x) g)    otherwise.
    """
    key_x, key_branch, key_g = jax.random.split(key, 3)
    x = jax.random.uniform(key_x, (num, 1), minval=-1.0, maxval=1.0)
    at = branches(x)
    is_upper = jax.random.bernoulli(key_branch, at.upper_weight)
    away = at.loc + at.scale * jax.random.gumbel(key_g, x.shape)
    return jnp.where(is_upper, away, -away), x


def log_prob(y: Float[Array, "..."], x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Exact log-density of the response."""
    at = branches(x)
    gumbel = distrax.Gumbel(at.loc, at.scale)
    return jnp.logaddexp(
        jnp.log(at.upper_weight) + gumbel.log_prob(y),
        jnp.log1p(-at.upper_weight) + gumbel.log_prob(-y),
    )


def cdf(y: Float[Array, "..."], x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Exact CDF of the response at y."""
    at = branches(x)
    gumbel = distrax.Gumbel(at.loc, at.scale)
    return at.upper_weight * gumbel.cdf(y) + (1 - at.upper_weight) * (1 - gumbel.cdf(-y))


def quantiles(x: Float[np.ndarray, " N"]) -> Float[np.ndarray, "L N"]:
    """Exact quantiles of the response at `LEVELS`, to about 1e-3."""
    y = np.linspace(-12, 12, 4_801)
    rows = np.asarray(cdf(jnp.asarray(y)[None], jnp.asarray(x)[:, None]))
    return np.stack([np.interp(LEVELS, row, y) for row in rows], axis=-1)
