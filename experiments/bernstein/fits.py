"""Fits, their scores, and rows of the table."""

import functools
from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

import distrax_flows as dxf
from distrax_flows import families, flows
from experiments._common import num_parameters, score
from experiments._results import Row
from experiments.bernstein import targets
from experiments.bernstein.settings import Settings
from experiments.bernstein.targets import LEVELS, Line

HEADER = (
    "part", "density", "flow", "degree", "num_params", "entropy", "nll", "kl", "kl_stderr",
    "quantile_error", "coverage_50", "coverage_90", "train_seconds", "compile_seconds",
)  # fmt: skip

REGRESSIONS = ("bernstein", "gaussian")

_NUM_CELLS = 20_000  # of a quadrature


class Fitted(NamedTuple):
    """A fit, with its rows of the table.

    Attributes:
        flow: the flow.
        params: its parameters.
        rows: one for each density it was fitted to.
    """

    flow: dxf.Flow
    params: Any
    rows: list[Row]


@functools.cache
def make_line_flow(degree: int) -> dxf.Flow:
    """A flow on the line; one object for all densities, as fits of it then compile once."""
    return dxf.transform(lambda: flows.bernstein(degree=degree, standardize=True))


def fit_line(line: Line, degree: int, settings: Settings) -> Fitted:
    """Fits a density on the line."""
    flow = make_line_flow(degree)
    fit = _fit_columns(flow, (line,), settings)
    return Fitted(flow, fit.params, _column_rows("line", flow, fit, (line,), degree))


def fit_columns(settings: Settings) -> Fitted:
    """Fits one flow to independent columns."""
    columns = targets.COLUMNS
    flow = dxf.transform(
        lambda: flows.bernstein(
            len(columns),
            degree=settings.degree,
            standardize=True,
            support=[column.support for column in columns],
        )
    )
    fit = _fit_columns(flow, columns, settings)
    return Fitted(flow, fit.params, _column_rows("columns", flow, fit, columns, settings.degree))


def draw_columns(lines: tuple[Line, ...], key: jax.Array, num: int) -> Float[Array, "num D"]:
    """Draws of independent columns."""
    keys = jax.random.split(key, len(lines))
    pairs = zip(lines, keys, strict=True)
    return jnp.stack([line.density.sample(seed=key, sample_shape=num) for line, key in pairs], -1)


def column_log_probs(flow: dxf.Flow, params: Any, y: Float[Array, "N D"]) -> Float[Array, "N D"]:
    """Log-density of each column, of a flow whose columns are independent.

    The slope of each dimension's own map, which the flow's log-det has added up.
    """
    z, slope = jax.jvp(lambda y: flow.inverse(params, y)[0], (y,), (jnp.ones_like(y),))
    return jax.scipy.stats.norm.logpdf(z) + jnp.log(slope)


def fit_regression(name: str, settings: Settings) -> Fitted:
    """Fits the conditional density, by one of `REGRESSIONS`, and scores it on held-out pairs."""
    network = {"hidden_sizes": settings.hidden_sizes, "activation": jax.nn.silu}

    def make(context):
        if name == "gaussian":
            # With the base said, the flow knows that a Gaussian is what is meant.
            normal = distrax.Independent(distrax.Normal(jnp.zeros(1), jnp.ones(1)), 1)
            options = {"context": context, "standardize": True, "base": normal}
            return flows.independent(1, families.affine(), **options, **network)
        return flows.bernstein(
            1, degree=settings.regression_degree, context=context, standardize=True, **network
        )

    flow = dxf.transform(make)
    train_key, score_key = jax.random.split(jax.random.key(settings.seed))
    fit = dxf.fit(
        flow,
        lambda key: targets.draw_pairs(key, settings.batch_size),
        key=train_key,
        num_steps=settings.regression_steps,
        optimizer=_optimizer(0.005, settings.regression_steps),
    )
    fitted = Fitted(flow, fit.params, [])
    y, x = targets.draw_pairs(score_key, settings.num_draws)
    scored = score(
        jax.jit(lambda pairs: targets.log_prob(pairs[:, 0], pairs[:, 1])),
        lambda pairs: flow.log_prob(fit.params, pairs[:, :1], pairs[:, 1:]),
        jnp.concatenate([y, x], axis=-1),
    )
    u = pit(fitted, y, x)
    grid = np.linspace(-1.0, 1.0, 401)
    reached = targets.cdf(jnp.asarray(quantiles(fitted, grid)), jnp.asarray(grid)[None])
    row = _row(
        fit,
        part="regression",
        density="branches",
        flow=name,
        degree=str(settings.regression_degree) if name == "bernstein" else "",
        num_params=str(num_parameters(fit.params)),
        entropy=f"{scored.entropy:.4f}",
        nll=f"{scored.nll:.4f}",
        kl=f"{scored.kl:.5f}",
        kl_stderr=f"{scored.kl_stderr:.5f}",
        quantile_error=f"{np.abs(np.asarray(reached) - np.array(LEVELS)[:, None]).mean():.4f}",
        coverage_50=f"{np.mean((u > 0.25) & (u < 0.75)):.4f}",
        coverage_90=f"{np.mean((u > 0.05) & (u < 0.95)):.4f}",
    )
    return fitted._replace(rows=[row])


def quantiles(
    fitted: Fitted, x: Float[np.ndarray, " N"], levels: tuple[float, ...] = LEVELS
) -> Float[np.ndarray, "L N"]:
    """Quantiles of the response: the flow is increasing, so they are images of the base's."""
    z = jax.scipy.special.ndtri(jnp.array(levels))[:, None, None]
    y, _ = fitted.flow.forward(fitted.params, z, jnp.asarray(x, jnp.float32)[:, None])
    return np.asarray(y[..., 0])


def pit(fitted: Fitted, y: Float[Array, "N 1"], x: Float[Array, "N 1"]) -> Float[np.ndarray, " N"]:
    """The flow's probability of a response of at most y: uniform if the flow is right."""
    z, _ = fitted.flow.inverse(fitted.params, y, x)
    return np.asarray(jax.scipy.special.ndtr(z[:, 0]))


@functools.cache
def _optimizer(learning_rate: float, num_steps: int) -> optax.GradientTransformation:
    schedule = optax.cosine_decay_schedule(learning_rate, num_steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))


def _fit_columns(flow: dxf.Flow, lines: tuple[Line, ...], settings: Settings) -> dxf.Fit:
    return dxf.fit(
        flow,
        lambda key: draw_columns(lines, key, settings.batch_size),
        key=jax.random.key(settings.seed),
        num_steps=settings.num_steps,
        # Each parameter is a number that the density shows directly: large steps are safe.
        optimizer=_optimizer(0.1, settings.num_steps),
    )


def _column_rows(
    part: str, flow: dxf.Flow, fit: dxf.Fit, lines: tuple[Line, ...], degree: int
) -> list[Row]:
    """A row for each column, by quadrature."""
    y = np.stack([line.grid(_NUM_CELLS) for line in lines], axis=-1)
    log_q = np.asarray(column_log_probs(flow, fit.params, jnp.asarray(y, jnp.float32)), float)
    rows = []
    for d, line in enumerate(lines):
        log_p = np.asarray(line.density.log_prob(jnp.asarray(y[:, d], jnp.float32)), float)
        mass = np.exp(log_p) * (line.high - line.low) / _NUM_CELLS
        entropy, nll = -np.sum(mass * log_p), -np.sum(mass * log_q[:, d])
        row = _row(
            fit,
            part=part,
            density=line.name,
            flow="bernstein",
            degree=str(degree),
            num_params=str(num_parameters(fit.params) // len(lines)),
            entropy=f"{entropy:.4f}",
            nll=f"{nll:.4f}",
            kl=f"{nll - entropy:.5f}",
        )
        rows.append(row)
    return rows


def _row(fit: dxf.Fit, **columns: str) -> Row:
    """A row of the table; cells that do not apply stay empty."""
    columns["train_seconds"] = f"{fit.history.train_seconds:.1f}"
    columns["compile_seconds"] = f"{fit.history.compile_seconds:.1f}"
    return {column: columns.get(column, "") for column in HEADER}
