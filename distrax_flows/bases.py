"""Base distributions that learn with the flow, and the uniform one.

    flow = dxf.transform(lambda: flows.realnvp(2, base=bases.gaussian_mixture(2, 8)))

Each function returns a distribution of event shape `(D,)` and batch shape `()`, for the `base` of a
builder of `distrax_flows.flows`. Call it where the flow is built, inside the Haiku transform: but
for `uniform`, it makes parameters of its own, in a scope of their own. They start as float32; in a
flow of float64 the samples are float64. Scales are bounded, as those of layers are: with
`max_log_scale` a, they stay between `exp(-a)` and `exp(a)`.
"""

import math
from collections.abc import Sequence

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from tensorflow_probability.substrates import jax as tfp

from distrax_flows._checks import (
    check_choice,
    check_positive,
    check_positive_int,
    check_resolution,
)
from distrax_flows._numerics import align, soft_clip
from distrax_flows._types import Shape

__all__ = ["gaussian", "gaussian_mixture", "logistic", "student_t", "uniform"]


def gaussian(event_size: int, *, max_log_scale: float = 5.0) -> distrax.Distribution:
    """Gaussian with a learned mean and deviation of each dimension; standard at the start.

    Args:
        event_size: number of dimensions, D.
        max_log_scale: bound of the logarithms of the deviations.

    Raises:
        ValueError: `event_size` is not a positive integer, or `max_log_scale` not above 0.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.nice(2, base=dxf.bases.gaussian(2)))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 2)))
        >>> print(f"{flow.log_prob(params, jnp.zeros(2)):.4f}")
        -1.8379
    """
    with hk.name_scope("gaussian_base"):
        return distrax.Independent(distrax.Normal(*_loc_and_scale(event_size, max_log_scale)), 1)


def logistic(event_size: int, *, max_log_scale: float = 5.0) -> distrax.Distribution:
    """Logistic with a learned location and scale of each dimension; standard at the start.

    NICE's base. Its tails fall like `exp(-|x|)`: data far out have gradients of bounded size.

    Args:
        event_size: number of dimensions, D.
        max_log_scale: bound of the logarithms of the scales.

    Raises:
        ValueError: `event_size` is not a positive integer, or `max_log_scale` not above 0.

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
        return distrax.Independent(distrax.Logistic(*_loc_and_scale(event_size, max_log_scale)), 1)


def student_t(
    event_size: int, *, df: float = 5.0, max_log_scale: float = 5.0
) -> distrax.Distribution:
    """Student's t with learned degrees of freedom, location and scale of each dimension.

        p(x_d) ~ (1 + z_d^2 / df_d)^(-(df_d + 1) / 2),   z_d = (x_d - loc_d) / scale_d

    For heavy tails: they fall like `|x|^(-df - 1)`, and moments of order df and above are infinite.
    A Lipschitz flow has no heavier tails than its base: on a Gaussian one it has no heavy tails,
    whatever it learns. Here df learns what the data ask for.

    Traps. Draws of a thousand scales do occur; there `log_prob(sample)` is as exact as the round
    trip of such a number. With `standardize=True` and data of infinite variance, the deviation is
    that of the largest outlier. Degrees of freedom stay above 0.5, as draws would overflow single
    precision below.

    Args:
        event_size: number of dimensions, D.
        df: degrees of freedom at the start, above 0.5.
        max_log_scale: bound of the logarithms of the scales, and of the factor that `df - 0.5`
            has learned.

    Raises:
        ValueError: `event_size` is not a positive integer, `df` is not above 0.5, or
            `max_log_scale` not above 0.

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
        loc, scale = _loc_and_scale(event_size, max_log_scale)
        log_factor = hk.get_parameter("log_df_factor", loc.shape, init=jnp.zeros)
        learned_df = 0.5 + (df - 0.5) * jnp.exp(soft_clip(log_factor, max_log_scale))
        return _StudentT(learned_df, loc, scale)


def gaussian_mixture(
    event_size: int,
    num_components: int,
    *,
    covariance: str = "diagonal",
    max_log_scale: float = 5.0,
) -> distrax.Distribution:
    """Mixture of K Gaussians with learned weights, means and covariances.

        p(x) = sum_k w_k N(x; m_k, L_k L_k^T),   L_k = diag(s_k) (I + C_k)

    with s_k the scales, and C_k zero ("diagonal") or strictly lower triangular ("full"). For data
    in separate clusters, which a flow can tear out of one Gaussian by steep layers only.

    At the start the weights are equal, the scales 1, and the means are drawn from N(0, 1): were
    they equal they would stay so.

    Trap: a draw carries gradients to the means and covariances and none to the weights, for the
    choice of a component is discrete. The density has gradients to all: fit by likelihood.

    Args:
        event_size: number of dimensions, D.
        num_components: number of Gaussians, K.
        covariance: "diagonal", or "full" for D (D - 1) / 2 more parameters a component.
        max_log_scale: bound of the logarithms of the scales.

    Raises:
        ValueError: a size is not a positive integer, `covariance` is neither of the two, or
            `max_log_scale` not above 0.

    Reference:
        Izmailov et al., "Semi-Supervised Learning with Normalizing Flows", 2020.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(
        ...     lambda: dxf.flows.realnvp(2, base=dxf.bases.gaussian_mixture(2, 3)))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 2)))
        >>> flow.sample(params, jax.random.key(1), (10,)).shape
        (10, 2)
    """
    event_size = check_positive_int("event_size", event_size)
    num_components = check_positive_int("num_components", num_components)
    check_choice("covariance", covariance, ("diagonal", "full"))
    check_positive("max_log_scale", max_log_scale)
    shape = (num_components, event_size)
    with hk.name_scope("gaussian_mixture_base"):
        logits = hk.get_parameter("logits", shape[:1], init=jnp.zeros)
        means = hk.get_parameter("means", shape, init=hk.initializers.RandomNormal())
        log_scales = hk.get_parameter("log_scales", shape, init=jnp.zeros)
        shears = None
        if covariance == "full":
            rows, columns = np.tril_indices(event_size, -1)
            entries = hk.get_parameter("shears", (num_components, rows.size), init=jnp.zeros)
            shears = jnp.zeros((*shape, event_size), entries.dtype)
            shears = shears.at[:, rows, columns].set(entries)
    return _GaussianMixture(logits, means, soft_clip(log_scales, max_log_scale), shears)


def uniform(
    event_size: int,
    low: float | Sequence[float] | np.ndarray = 0.0,
    high: float | Sequence[float] | np.ndarray = 1.0,
) -> distrax.Distribution:
    """Uniform on a box; nothing is learned.

    Trap: outside the box the log-density is -inf and its gradient zero, so that a flow cannot learn
    its way back. The flow must map the box onto itself, and the data must lie in it: take splines
    that are the identity outside the box, as below, all layers, and no `standardize`.

    So that rounding never costs a point its density, the box counts as 1e-5 of its larger end wider
    on each side.

    Args:
        event_size: number of dimensions, D.
        low: lower ends, a number for all dimensions or `[D]`.
        high: upper ends, likewise.

    Raises:
        ValueError: `event_size` is not a positive integer, an end has another shape or is not
            finite, or `low` is not less than `high`; or, in a flow, the dtype of the data has too
            few values between them.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> family = dxf.families.spline(8, 0.0, 1.0, "identity")
        >>> flow = dxf.transform(
        ...     lambda: dxf.flows.coupling(2, family, base=dxf.bases.uniform(2, 0.0, 1.0)))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 2)))
        >>> print(flow.log_prob(params, jnp.array([[0.5, 1.0], [0.5, 1.1]])))
        [  0. -inf]
    """
    event_size = check_positive_int("event_size", event_size)
    low, high = _ends("low", low, event_size), _ends("high", high, event_size)
    if not np.all(low < high):
        raise ValueError(
            f"`low` must be less than `high` in every dimension; got low={low.tolist()}, "
            f"high={high.tolist()}."
        )
    return _Uniform(tuple(low.tolist()), tuple(high.tolist()))


def _loc_and_scale(event_size: int, max_log_scale: float) -> tuple[jax.Array, jax.Array]:
    shape = (check_positive_int("event_size", event_size),)
    check_positive("max_log_scale", max_log_scale)
    loc = hk.get_parameter("loc", shape, init=jnp.zeros)
    log_scale = hk.get_parameter("log_scale", shape, init=jnp.zeros)
    return loc, jnp.exp(soft_clip(log_scale, max_log_scale))


def _ends(name: str, value: float | Sequence[float] | np.ndarray, event_size: int) -> np.ndarray:
    ends = np.asarray(value, np.float64)
    if ends.shape not in ((), (event_size,)) or not np.all(np.isfinite(ends)):
        raise ValueError(
            f"`{name}` must be a finite number, or {event_size} of them; got {name}={value!r}."
        )
    return np.broadcast_to(ends, (event_size,))


class _OfVectors(distrax.Distribution):
    """A distribution of vectors, without batch shape. Abstract."""

    def __init__(self, event_size: int):
        super().__init__()
        self._event_size = event_size

    @property
    def event_shape(self) -> Shape:
        return (self._event_size,)

    @property
    def batch_shape(self) -> Shape:
        return ()


class _StudentT(_OfVectors):
    """Independent t distributions; all arguments `[D]`."""

    def __init__(self, df: jax.Array, loc: jax.Array, scale: jax.Array):
        super().__init__(loc.size)
        self._df = df
        self._loc = loc
        self._scale = scale

    def log_prob(self, value: Float[Array, "... D"]) -> Float[Array, "..."]:
        value, df, loc, scale = align(value, self._df, self._loc, self._scale)
        z = (value - loc) / scale
        # The log of a ratio of gamma functions, whose difference would cancel for a large df.
        log_normalizer = tfp.math.lbeta(jnp.full_like(df, 0.5), df / 2) + 0.5 * jnp.log(df)
        exponent = (df + 1) / 2 * tfp.math.log1psquare(z / jnp.sqrt(df))
        return jnp.sum(-exponent - log_normalizer - jnp.log(scale), axis=-1)

    def _sample_n(self, key: jax.Array, n: int) -> Float[Array, "n D"]:
        noise = jax.random.t(key, self._df[None], (n, self._event_size), self._loc.dtype)
        return self._loc[None] + self._scale[None] * noise


class _GaussianMixture(_OfVectors):
    """The mixture of `gaussian_mixture`: weights from `logits` `[K]`, `L_k` from the last two."""

    def __init__(
        self,
        logits: Float[Array, " K"],
        means: Float[Array, "K D"],
        log_scales: Float[Array, "K D"],
        shears: Float[Array, "K D D"] | None,
    ):
        super().__init__(means.shape[-1])
        self._logits = logits
        self._means = means
        self._log_scales = log_scales
        self._shears = shears

    def log_prob(self, value: Float[Array, "... D"]) -> Float[Array, "..."]:
        value, means, log_scales = align(value[..., None, :], self._means, self._log_scales)
        z = (value - means) * jnp.exp(-log_scales)
        if self._shears is not None:
            z = jax.vmap(_unshear, in_axes=(0, -2), out_axes=-2)(self._shears, z)
        log_normalizer = jnp.sum(log_scales, axis=-1) + 0.5 * z.shape[-1] * math.log(2 * math.pi)
        log_weights, log_normalizer, squares = align(
            jax.nn.log_softmax(self._logits), log_normalizer, jnp.sum(z * z, axis=-1)
        )
        return jax.nn.logsumexp(log_weights - 0.5 * squares - log_normalizer, axis=-1)

    def _sample_n(self, key: jax.Array, n: int) -> Float[Array, "n D"]:
        component_key, noise_key = jax.random.split(key)
        component = jax.random.categorical(component_key, self._logits, shape=(n,))
        z = jax.random.normal(noise_key, (n, self._event_size), self._means.dtype)
        if self._shears is not None:
            chosen = jax.nn.one_hot(component, self._logits.size, dtype=z.dtype)
            z = z + jnp.einsum("nk,kij,nj->ni", chosen, self._shears, z)
        return self._means[component] + jnp.exp(self._log_scales[component]) * z


def _unshear(shear: Float[Array, "D D"], z: Float[Array, "... D"]) -> Float[Array, "... D"]:
    """Solves `(I + shear) x = z`."""
    columns = z.reshape(-1, z.shape[-1]).T
    solved = jax.scipy.linalg.solve_triangular(shear, columns, lower=True, unit_diagonal=True)
    return solved.T.reshape(z.shape)


class _Uniform(_OfVectors):
    """Uniform on a box, whose ends are static: exact in any precision."""

    def __init__(self, low: tuple[float, ...], high: tuple[float, ...]):
        super().__init__(len(low))
        self._low = low
        self._high = high
        # Its dtype is that of samples: a leaf, so that it is widened where parameters are.
        self._zero = jnp.zeros((), jnp.float32)

    def log_prob(self, value: Float[Array, "... D"]) -> Float[Array, "..."]:
        for ends in zip(self._low, self._high, strict=True):
            check_resolution("[low, high]", *ends, value.dtype)
        low, high = np.array(self._low), np.array(self._high)
        slack = 1e-5 * np.maximum(np.abs(low), np.abs(high))
        value, lowest, highest = align(
            value, jnp.asarray(low - slack, value.dtype), jnp.asarray(high + slack, value.dtype)
        )
        inside = jnp.all((lowest <= value) & (value <= highest), axis=-1)
        return jnp.where(inside, -np.sum(np.log(high - low)), -jnp.inf).astype(value.dtype)

    def _sample_n(self, key: jax.Array, n: int) -> Float[Array, "n D"]:
        dtype = self._zero.dtype
        low, high = (jnp.asarray(end, dtype)[None] for end in (self._low, self._high))
        return jax.random.uniform(key, (n, self._event_size), dtype, low, high)
