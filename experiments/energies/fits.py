"""A fit to a potential: found from a run before, or done, scored and kept."""

import functools
from typing import Any, NamedTuple

import jax
import optax

import distrax_flows as dxf
from experiments._common import device_name, num_parameters, score
from experiments._results import Results, Row
from experiments.energies.recipes import RECIPES, Recipe
from experiments.energies.settings import Settings
from experiments.energies.targets import Target

# The columns that say which fit a row is of.
IDENTITY = (
    "flow",
    "density",
    "seed",
    "num_layers",
    "hidden_sizes",
    "spline_reach",
    "learning_rate",
    "num_steps",
    "num_samples",
    "annealing",
    "gradient",
)

COLUMNS = (
    *IDENTITY,
    "num_params",
    "reverse_kl",
    "reverse_kl_stderr",
    "forward_kl",
    "forward_kl_stderr",
    "elbo",
    "log_z",
    "log_z_stderr",
    "true_log_z",
    "ess",
    "train_seconds",
    "compile_seconds",
    "jax_version",
    "device",
)


class Model(NamedTuple):
    """A flow for a target, and the columns that name it."""

    recipe: Recipe
    flow: dxf.Flow
    target: Target
    num_steps: int
    identity: Row


class Finished(NamedTuple):
    """A fit that is done: of which model, its row of the table, and its parameters."""

    model: Model
    row: Row
    params: Any

    def log_prob(self, z: jax.Array) -> jax.Array:
        """Its log-density."""
        return self.model.flow.log_prob(self.params, z)


def make_model(name: str, target: Target, settings: Settings) -> Model:
    """The flow of that name, of the sizes in the settings, on the support of the target."""
    recipe = RECIPES[name]
    num_steps = recipe.times * settings.num_steps
    num_layers = recipe.times * settings.num_layers
    reach = settings.spline_reach if recipe.has_splines else None
    flow = _make_flow(recipe, num_layers, settings.hidden_sizes, reach, target.support)
    identity = {
        "flow": name,
        "density": target.name,
        "num_layers": str(num_layers),
        "hidden_sizes": " ".join(map(str, settings.hidden_sizes)) if recipe.has_networks else "",
        "spline_reach": "" if reach is None else str(reach),
        "learning_rate": str(recipe.learning_rate),
        "num_steps": str(num_steps),
        "num_samples": str(settings.num_samples),
        "annealing": str(settings.annealing),
        "gradient": "path" if settings.path_gradient else "full",
    }
    return Model(recipe, flow, target, num_steps, identity)


def finished_fit(model: Model, seed: int, settings: Settings, results: Results) -> Finished:
    """The fit of a run before if there is one, else a new one."""
    identity = model.identity | {"seed": str(seed)}
    found = results.get(identity)
    if found is not None:
        return Finished(model, *found)
    train_key, score_key = jax.random.split(jax.random.key(seed))
    fit = dxf.fit_to_density(
        model.flow,
        model.target.log_density,
        key=train_key,
        num_steps=model.num_steps,
        num_samples=settings.num_samples,
        path_gradient=settings.path_gradient,
        annealing=_annealing(settings.annealing, model.num_steps),
        optimizer=dxf.training.cosine_adam(model.num_steps, model.recipe.learning_rate),
        # A draw may round to an end of z1's interval, where the flow has no density.
    )
    row = identity | scores(model, fit.params, score_key, settings.num_draws)
    row |= {
        "num_params": str(num_parameters(fit.params)),
        "train_seconds": f"{fit.history.train_seconds:.2f}",
        "compile_seconds": f"{fit.history.compile_seconds:.2f}",
        "jax_version": jax.__version__,
        "device": device_name(),
    }
    results.add(row, fit.params)
    return Finished(model, row, fit.params)


def scores(model: Model, params: Any, key: jax.Array, num_draws: int) -> Row:
    """The columns that say how good a fit is, on fresh draws of the flow and of the density."""
    flow, target = model.flow, model.target
    q_key, p_key = jax.random.split(key)
    found = dxf.diagnostics.evidence(
        flow, params, target.log_density, key=q_key, num_samples=num_draws
    )
    forward = score(
        jax.jit(target.log_prob),
        lambda z: flow.log_prob(params, z),
        target.sample(p_key, num_draws),
    )
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
    """The inverse temperature by the step: the paper's, from 0.01 to 1."""
    if share == 0:
        return None
    return optax.linear_schedule(0.01, 1.0, max(round(share * num_steps), 1))


# Cached, so that fits of all seeds, and to all targets of one support, share what JAX compiles.
@functools.lru_cache
def _make_flow(
    recipe: Recipe,
    num_layers: int,
    hidden_sizes: tuple[int, ...],
    reach: float | None,
    support: tuple[dxf.supports.Support, ...],
) -> dxf.Flow:
    options = {} if reach is None else {"range_min": -reach, "range_max": reach}
    return dxf.transform(
        lambda: recipe.build(
            2, num_layers=num_layers, hidden_sizes=hidden_sizes, support=support, **options
        )
    )
