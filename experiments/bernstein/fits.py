"""Fits and their scores."""

import functools
from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import distrax_flows as dxf
from distrax_flows import families, flows
from experiments._common import cost_cells, num_parameters, score
from experiments._table import Row, as_row
from experiments.bernstein import targets
from experiments.bernstein.settings import Settings
from experiments.bernstein.targets import COLUMNS, LEVELS, LINES, Line

_NUM_CELLS = 20_000  # of a quadrature


class Fitted(NamedTuple):
    """A fitted flow."""

    flow: dxf.Flow
    params: Any


def identities(settings: Settings) -> list[Row]:
    """The cells that identify each row: a fit on the line, a column, or a regression."""
    lines = [
        as_row(part="line", density=line.name, flow="bernstein", degree=degree)
        for degree in sorted({*settings.degrees, settings.degree})
        for line in LINES
    ]
    columns = [
        as_row(part="columns", density=line.name, flow="bernstein", degree=settings.degree)
        for line in COLUMNS
    ]
    degrees = {"bernstein": settings.regression_degree, "gaussian": None}
    regressions = [
        as_row(part="regression", density="branches", flow=flow, degree=degree)
        for flow, degree in degrees.items()
    ]
    return lines + columns + regressions


def fit(row: Row, settings: Settings) -> tuple[Row, Fitted]:
    """Fits and scores the flow of a row."""
    if row["part"] == "regression":
        return _fit_regression(row["flow"], settings)
    if row["part"] == "columns":
        lines, flow = COLUMNS, make_column_flow(settings.degree)
    else:
        lines = tuple(line for line in LINES if line.name == row["density"])
        flow = make_line_flow(int(row["degree"]))
    fitted = _fit_lines(flow, tuple(line.name for line in lines), settings)
    scored = _quadrature(lines, [line.name for line in lines].index(row["density"]), flow, fitted)
    num_params = {"num_params": str(num_parameters(fitted.params) // len(lines))}
    return cost_cells(fitted) | num_params | scored, Fitted(flow, fitted.params)


# Flows are cached, so that all fits of one compile once.
@functools.cache
def make_line_flow(degree: int) -> dxf.Flow:
    """A flow on the line."""
    return dxf.transform(lambda: flows.bernstein(degree=degree, standardize=True))


@functools.cache
def make_column_flow(degree: int) -> dxf.Flow:
    """One flow of all independent columns, each on its own support."""
    support = [column.support for column in COLUMNS]
    return dxf.transform(
        lambda: flows.bernstein(len(COLUMNS), degree=degree, standardize=True, support=support)
    )


def draw_lines(lines: tuple[Line, ...], key: jax.Array, num: int) -> Float[Array, "num D"]:
    """Samples of independent columns, one for each density."""
    keys = jax.random.split(key, len(lines))
    pairs = zip(lines, keys, strict=True)
    return jnp.stack([line.density.sample(seed=key, sample_shape=num) for line, key in pairs], -1)


def column_log_probs(flow: dxf.Flow, params: Any, y: Float[Array, "N D"]) -> Float[Array, "N D"]:
    """Log-density of each column of a flow whose columns are independent.

    It uses the slope of each dimension's map; the log-det of the flow is only their sum.
    """
    z, slope = jax.jvp(lambda y: flow.inverse(params, y)[0], (y,), (jnp.ones_like(y),))
    return jax.scipy.stats.norm.logpdf(z) + jnp.log(slope)


def quantiles(fitted: Fitted, x: Float[np.ndarray, " N"]) -> Float[np.ndarray, "L N"]:
    """Quantiles of the response at `LEVELS`: images of the base's, as the flow is increasing."""
    z = jax.scipy.special.ndtri(jnp.array(LEVELS))[:, None, None]
    y, _ = fitted.flow.forward(fitted.params, z, jnp.asarray(x, jnp.float32)[:, None])
    return np.asarray(y[..., 0])


def pit(fitted: Fitted, y: Float[Array, "N 1"], x: Float[Array, "N 1"]) -> Float[np.ndarray, " N"]:
    """The flow's CDF of the response at y: uniform if the flow is correct."""
    z, _ = fitted.flow.inverse(fitted.params, y, x)
    return np.asarray(jax.scipy.special.ndtr(z[:, 0]))


# Cached, as the columns are rows of one fit.
@functools.cache
def _fit_lines(flow: dxf.Flow, names: tuple[str, ...], settings: Settings) -> dxf.Fit:
    by_name = {line.name: line for line in (*LINES, *COLUMNS)}
    lines = tuple(by_name[name] for name in names)
    return dxf.fit(
        flow,
        lambda key: draw_lines(lines, key, settings.batch_size),
        key=jax.random.key(settings.seed),
        num_steps=settings.num_steps,
        # Without networks, each parameter acts on the density directly: large steps are safe.
        optimizer=dxf.training.cosine_adam(settings.num_steps, 0.1, clip_norm=1.0),
    )


def _quadrature(lines: tuple[Line, ...], d: int, flow: dxf.Flow, fitted: dxf.Fit) -> Row:
    """The score of column `d`, by quadrature."""
    y = jnp.asarray(np.stack([line.grid(_NUM_CELLS) for line in lines], axis=-1), jnp.float32)
    log_q = np.asarray(column_log_probs(flow, fitted.params, y)[:, d], float)
    log_p = np.asarray(lines[d].density.log_prob(y[:, d]), float)
    mass = np.exp(log_p) * (lines[d].high - lines[d].low) / _NUM_CELLS
    entropy, nll = -np.sum(mass * log_p), -np.sum(mass * log_q)
    return {"entropy": f"{entropy:.6f}", "nll": f"{nll:.6f}", "kl": f"{nll - entropy:.6f}"}


def _fit_regression(name: str, settings: Settings) -> tuple[Row, Fitted]:
    """Fits the conditional density, and scores it on held-out pairs."""
    network = {"hidden_sizes": settings.hidden_sizes, "activation": jax.nn.silu}

    def make(context):
        options = {"context": context, "standardize": True, **network}
        if name == "gaussian":
            # An explicit base tells the flow that a Gaussian is intended.
            normal = distrax.Independent(distrax.Normal(jnp.zeros(1), jnp.ones(1)), 1)
            return flows.independent(1, families.affine(), base=normal, **options)
        return flows.bernstein(1, degree=settings.regression_degree, **options)

    flow = dxf.transform(make)
    train_key, score_key = jax.random.split(jax.random.key(settings.seed))
    fit = dxf.fit(
        flow,
        lambda key: targets.draw_pairs(key, settings.batch_size),
        key=train_key,
        num_steps=settings.regression_steps,
        optimizer=dxf.training.cosine_adam(settings.regression_steps, 0.005, clip_norm=1.0),
    )
    fitted = Fitted(flow, fit.params)
    y, x = targets.draw_pairs(score_key, settings.num_draws)
    scored = score(
        jax.jit(lambda pairs: targets.log_prob(pairs[:, 0], pairs[:, 1])),
        lambda pairs: flow.log_prob(fit.params, pairs[:, :1], pairs[:, 1:]),
        jnp.concatenate([y, x], axis=-1),
    )
    u = pit(fitted, y, x)
    grid = np.linspace(-1.0, 1.0, 401)
    reached = targets.cdf(jnp.asarray(quantiles(fitted, grid)), jnp.asarray(grid)[None])
    others = {
        "quantile_error": f"{np.abs(np.asarray(reached) - np.array(LEVELS)[:, None]).mean():.4f}",
        "coverage_50": f"{np.mean((u > 0.25) & (u < 0.75)):.4f}",
        "coverage_90": f"{np.mean((u > 0.05) & (u < 0.95)):.4f}",
    }
    return scored.cells() | others | cost_cells(fit), fitted
