"""Entry point of the experiment; see the docstring of the package."""

import functools

import jax
import numpy as np

import distrax_flows as dxf
from experiments._command import check, run
from experiments._common import batches_of, cost_cells, machine_cells, score, use_compilation_cache
from experiments._summary import format_rows
from experiments._table import Row, Table, as_row, cells_of
from experiments.flow_zoo.zoo import ZOO
from experiments.gaussian_mixtures.models import make_flow, make_mixture, make_optimizer
from experiments.gaussian_mixtures.pictures import draw
from experiments.gaussian_mixtures.settings import FLOWS, Settings

COLUMNS = (
    "flow dimension actnorm lu num_layers hidden_sizes num_steps batch_size seed nll entropy kl "
    "kl_stderr latent_mean latent_deviation num_params train_seconds compile_seconds jax_version "
    "device"
)
_PRINTED = (
    "flow dimension nll entropy kl kl_stderr latent_mean latent_deviation num_params "
    "train_seconds compile_seconds"
)


def main(settings: Settings) -> None:
    """Runs the experiment."""
    check(settings, choices={"flows": dict.fromkeys(FLOWS[1] + FLOWS[2]), "dimensions": FLOWS})
    rows = identities(settings)
    if not rows:
        raise ValueError(
            "`flows` must hold one that there is in the dimensions asked for; got "
            f"flows={settings.flows}, dimensions={settings.dimensions}."
        )
    table = Table(settings.output / "results.csv", COLUMNS)
    table.fill(rows, functools.partial(fit, settings=settings), "{flow} in {dimension}-D")
    print(format_rows(table.rows, _PRINTED))


def identities(settings: Settings) -> list[Row]:
    """The cells that identify each fit."""
    return [
        as_row(flow=flow, dimension=dimension, num_layers=ZOO[flow].layers(settings.num_layers))
        | cells_of(settings, "actnorm lu hidden_sizes num_steps batch_size seed")
        for dimension in settings.dimensions
        for flow in settings.flows
        if flow in FLOWS[dimension]
    ]


def fit(row: Row, settings: Settings) -> tuple[Row, None]:
    """Fits, scores and draws a flow."""
    name, event_size = row["flow"], int(row["dimension"])
    mixture, flow = make_mixture(event_size), make_flow(name, event_size, settings)
    train_key, score_key, sample_key = jax.random.split(jax.random.key(settings.seed), 3)
    fitted = dxf.fit(
        flow,
        lambda key: mixture.sample(seed=key, sample_shape=(settings.batch_size,)),
        key=train_key,
        num_steps=settings.num_steps,
        optimizer=make_optimizer(name, event_size, settings.num_steps),
    )
    params = fitted.params
    x = mixture.sample(seed=score_key, sample_shape=(settings.num_draws,))
    scored = score(jax.jit(mixture.log_prob), functools.partial(flow.log_prob, params), x)
    z = np.concatenate([flow.inverse(params, batch)[0] for batch in batches_of(x)])
    samples = flow.sample(params, sample_key, (settings.num_draws,))
    mean, deviation = (
        ", ".join(f"{value:z.2f}" for value in values) for values in (z.mean(axis=0), z.std(axis=0))
    )
    draw(
        settings.output / f"{event_size}d-{name}.png",
        mixture,
        (np.asarray(x), z, np.asarray(samples)),
        (
            f"data\nentropy {scored.entropy:.3f} nats",
            f"data, carried to the base\nmean {mean}, deviation {deviation}",
            f"samples of {name}\nKL {scored.kl:.4f} nats",
        ),
    )
    latent = {"latent_mean": mean, "latent_deviation": deviation}
    return scored.cells() | latent | cost_cells(fitted) | machine_cells(), None


if __name__ == "__main__":
    use_compilation_cache()
    run("experiments.gaussian_mixtures", main, Settings)
