"""Bases of independent dimensions, with learned locations and scales."""

import math

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped
from tensorflow_probability.substrates import jax as tfp

from distrax_flows._core.checks import as_event_shape, check_positive
from distrax_flows._core.numerics import align, soft_clip
from distrax_flows._core.types import ArrayLike, Shape

__all__ = ["gaussian", "logistic", "student_t"]


def gaussian(event_shape: int | Shape, *, max_log_scale: float = 5.0) -> distrax.Distribution:
    """Return a Gaussian with learned mean and standard deviation of each dimension.

    It starts as a standard normal.

    Args:
        event_shape: number of dimensions, D, or the shape of events of another rank.
        max_log_scale: bound of the logarithms of the standard deviations.

    Raises:
        ValueError: a size is not a positive integer, or `max_log_scale` is not above 0.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.nice(2, base=dxf.bases.gaussian(2)))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 2)))
        >>> print(f"{flow.log_prob(params, jnp.zeros(2)):.4f}")
        -1.8379
    """
    with hk.name_scope("gaussian_base"):
        loc, scale = _loc_and_scale(event_shape, max_log_scale)
        return distrax.Independent(distrax.Normal(loc, scale), loc.ndim)


def logistic(event_shape: int | Shape, *, max_log_scale: float = 5.0) -> distrax.Distribution:
    """Return a logistic with learned location and scale of each dimension, initially standard.

    This is NICE's base. Its tails fall like `exp(-|x|)`, so data far out have bounded gradients.

    Args:
        event_shape: number of dimensions, D, or the shape of events of another rank.
        max_log_scale: bound of the logarithms of the scales.

    Raises:
        ValueError: a size is not a positive integer, or `max_log_scale` is not above 0.

    Reference:
        Dinh et al., "NICE: Non-linear Independent Components Estimation", 2014, section 3.4.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.nice(2, base=dxf.bases.logistic(2)))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 2)))
        >>> print(f"{flow.log_prob(params, jnp.zeros(2)):.4f}")
        -2.7726
    """
    with hk.name_scope("logistic_base"):
        loc, scale = _loc_and_scale(event_shape, max_log_scale)
        return distrax.Independent(distrax.Logistic(loc, scale), loc.ndim)


def student_t(
    event_shape: int | Shape, *, df: float = 5.0, max_log_scale: float = 5.0
) -> distrax.Distribution:
    """Return Student's t with learned degrees of freedom, location and scale of each dimension.

        p(x_d) ~ (1 + z_d^2 / df_d)^(-(df_d + 1) / 2),   z_d = (x_d - loc_d) / scale_d

    For heavy tails: they fall like `|x|^(-df - 1)`, and moments of order df and above are infinite.
    A Lipschitz flow has no heavier tails than its base: on a Gaussian base it has no heavy tails,
    whatever it learns. Here df is learned from the data.

    Caution: samples a thousand scales out do occur, where `log_prob(sample)` is only as exact as
    the round trip of such a number. With `standardize=True` and data of infinite variance, the
    largest outlier sets the standard deviation. Degrees of freedom stay above 0.5; below it,
    samples would overflow single precision.

    Args:
        event_shape: number of dimensions, D, or the shape of events of another rank.
        df: degrees of freedom at the start, above 0.5.
        max_log_scale: bound of the logarithms of the scales, and of the learned factor of
            `df - 0.5`.

    Raises:
        ValueError: a size is not a positive integer, `df` is not above 0.5, or `max_log_scale` is
            not above 0.

    Reference:
        Jaini et al., "Tails of Lipschitz Triangular Flows", 2020: tail-adaptive flows.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.realnvp(2, base=dxf.bases.student_t(2)))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 2)))
        >>> print(f"{flow.log_prob(params, jnp.array([1000.0, 0.0])):.4f}")
        -38.5555
    """
    if not 0.5 < df < math.inf:
        raise ValueError(f"`df` must be a finite number above 0.5; got {df=}.")
    with hk.name_scope("student_t_base"):
        loc, scale = _loc_and_scale(event_shape, max_log_scale)
        log_factor = hk.get_parameter("log_df_factor", loc.shape, init=jnp.zeros)
        learned_df = 0.5 + (df - 0.5) * jnp.exp(soft_clip(log_factor, max_log_scale))
        return _StudentT(learned_df, loc, scale)


def _loc_and_scale(event_shape: int | Shape, max_log_scale: float) -> tuple[jax.Array, jax.Array]:
    shape = as_event_shape(event_shape)
    check_positive("max_log_scale", max_log_scale)
    loc = hk.get_parameter("loc", shape, init=jnp.zeros)
    log_scale = hk.get_parameter("log_scale", shape, init=jnp.zeros)
    return loc, jnp.exp(soft_clip(log_scale, max_log_scale))


class _StudentT(distrax.Distribution):
    """Independent t distributions of the entries of an event; all arguments `[*event_shape]`."""

    def __init__(self, df: jax.Array, loc: jax.Array, scale: jax.Array):
        super().__init__()
        self._df = df
        self._loc = loc
        self._scale = scale

    @property
    def event_shape(self) -> Shape:
        return self._loc.shape

    @property
    def batch_shape(self) -> Shape:
        return ()

    def log_prob(self, value: Shaped[ArrayLike, "..."]) -> Float[Array, "..."]:
        axes = tuple(range(-self._loc.ndim, 0))
        value, df, loc, scale = align(value, self._df, self._loc, self._scale)
        z = (value - loc) / scale
        # The log-ratio of gamma functions in one: their difference would cancel for a large df.
        log_normalizer = tfp.math.lbeta(jnp.full_like(df, 0.5), df / 2) + 0.5 * jnp.log(df)
        exponent = (df + 1) / 2 * tfp.math.log1psquare(z / jnp.sqrt(df))
        return jnp.sum(-exponent - log_normalizer - jnp.log(scale), axis=axes)

    def _sample_n(self, key: jax.Array, n: int) -> Float[Array, "n ..."]:
        noise = jax.random.t(key, self._df[None], (n, *self._loc.shape), self._loc.dtype)
        return self._loc[None] + self._scale[None] * noise
