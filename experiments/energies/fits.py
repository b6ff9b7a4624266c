"""Fits to a potential, and their scores."""

import functools
from typing import Any

import jax
import optax

import distrax_flows as dxf
from experiments._common import cost_cells, machine_cells, score
from experiments._table import Row, as_row
from experiments.energies.recipes import RECIPES
from experiments.energies.settings import Settings
from experiments.energies.targets import TARGETS, Target


def identities(settings: Settings) -> list[Row]:
    """The cells that identify each fit."""
    return [
        as_row(
            flow=flow,
            density=density,
            seed=seed,
            num_layers=RECIPES[flow].times * settings.num_layers,
            hidden_sizes=settings.hidden_sizes if RECIPES[flow].has_networks else None,
            spline_reach=settings.spline_reach if RECIPES[flow].has_splines else None,
            learning_rate=RECIPES[flow].learning_rate,
            num_steps=RECIPES[flow].times * settings.num_steps,
            num_samples=settings.num_samples,
            annealing=settings.annealing,
            gradient="path" if settings.path_gradient else "full",
        )
        for density in settings.densities
        for flow in settings.flows
        for seed in settings.seeds
    ]


def fit(row: Row, settings: Settings) -> tuple[Row, Any]:
    """Fits a flow; returns its scores and cost, and its parameters."""
    recipe, target = RECIPES[row["flow"]], TARGETS[row["density"]]
    flow, num_steps = flow_of(row, settings), recipe.times * settings.num_steps
    train_key, score_key = jax.random.split(jax.random.key(int(row["seed"])))
    fitted = dxf.fit_to_density(
        flow,
        target.log_density,
        key=train_key,
        num_steps=num_steps,
        num_samples=settings.num_samples,
        divergence=dxf.training.ReverseKL(settings.path_gradient),
        annealing=_annealing(settings.annealing, num_steps),
        optimizer=dxf.training.cosine_adam(num_steps, recipe.learning_rate),
    )
    scored = scores(flow, target, fitted.params, score_key, settings.num_draws)
    return scored | cost_cells(fitted) | machine_cells(), fitted.params


def flow_of(row: Row, settings: Settings) -> dxf.Flow:
    """The flow of a row, of the sizes in the settings, on the support of its target."""
    support = TARGETS[row["density"]].support
    return _make_flow(
        row["flow"], settings.num_layers, settings.hidden_sizes, settings.spline_reach, support
    )


# Cached, so that fits of all seeds, and to all targets of one support, share compiled code.
@functools.lru_cache
def _make_flow(
    name: str,
    num_layers: int,
    hidden_sizes: tuple[int, ...],
    reach: float,
    support: tuple[dxf.supports.Support, ...],
) -> dxf.Flow:
    recipe = RECIPES[name]
    options = {"num_layers": recipe.times * num_layers, "support": support}
    if recipe.has_splines:
        options |= {"range_min": -reach, "range_max": reach}
    return dxf.transform(lambda: recipe.build(2, hidden_sizes=hidden_sizes, **options))


def scores(flow: dxf.Flow, target: Target, params: Any, key: jax.Array, num_draws: int) -> Row:
    """The cells with the scores of a fit, on fresh samples of the flow and of the density."""
    q_key, p_key = jax.random.split(key)
    found = dxf.diagnostics.evidence(
        flow, params, target.log_density, key=q_key, num_samples=num_draws
    )
    log_q = functools.partial(flow.log_prob, params)
    forward = score(jax.jit(target.log_prob), log_q, target.sample(p_key, num_draws))
    return {
        "reverse_kl": f"{target.log_z - found.elbo:.6f}",
        "reverse_kl_stderr": f"{found.elbo_stderr:.6f}",
        "forward_kl": f"{forward.kl:.6f}",
        "forward_kl_stderr": f"{forward.kl_stderr:.6f}",
        "elbo": f"{found.elbo:.6f}",
        "log_z": f"{found.log_z:.6f}",
        "log_z_stderr": f"{found.log_z_stderr:.6f}",
        "true_log_z": f"{target.log_z:.6f}",
        "ess": f"{found.ess / num_draws:.4f}",
    }


def _annealing(share: float, num_steps: int) -> optax.Schedule | None:
    """Schedule of the inverse temperature: the paper's, from 0.01 to 1."""
    if share == 0:
        return None
    return optax.linear_schedule(0.01, 1.0, max(round(share * num_steps), 1))
