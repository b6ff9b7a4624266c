"""The whole experiment; the package's docstring says what it does."""

import jax
import numpy as np
from tqdm import tqdm

import distrax_flows as dxf
from experiments._command import run
from experiments._common import (
    batches_of,
    device_name,
    format_table,
    num_parameters,
    score,
    use_compilation_cache,
)
from experiments._results import Row, write_table
from experiments.flow_zoo.zoo import ZOO
from experiments.gaussian_mixtures.models import make_flow, make_mixture, make_optimizer_for
from experiments.gaussian_mixtures.pictures import draw
from experiments.gaussian_mixtures.settings import Settings, tasks

# Columns of `results.csv` that are printed too.
_PRINTED = (
    "flow", "dimension", "nll", "entropy", "kl", "kl_stderr", "latent_mean", "latent_deviation",
    "num_params", "train_seconds", "compile_seconds",
)  # fmt: skip


def main(settings: Settings) -> None:
    """Runs the experiment.

    Raises:
        ValueError: a flow or a dimension is none of those offered, or nothing remains to fit.
    """
    pairs = tasks(settings)
    print(f"JAX {jax.__version__} on {device_name()}")
    settings.output.mkdir(parents=True, exist_ok=True)
    rows = []
    with tqdm(pairs, unit="fit", disable=None) as bar:
        for name, event_size in bar:
            bar.set_description(f"{name} in {event_size}-D")
            rows.append(_run(name, event_size, settings))
            write_table(settings.output / "results.csv", list(rows[0]), rows)
    print(format_table(_PRINTED, [[row[column] for column in _PRINTED] for row in rows]))


def _run(name: str, event_size: int, settings: Settings) -> Row:
    """Fits, scores and draws; returns the row of the table."""
    mixture, flow = make_mixture(event_size), make_flow(name, event_size, settings)
    train_key, score_key, sample_key = jax.random.split(jax.random.key(settings.seed), 3)
    fit = dxf.fit(
        flow,
        lambda key: mixture.sample(seed=key, sample_shape=(settings.batch_size,)),
        key=train_key,
        num_steps=settings.num_steps,
        optimizer=make_optimizer_for(name, event_size, settings),
    )
    x = mixture.sample(seed=score_key, sample_shape=(settings.num_draws,))
    scored = score(jax.jit(mixture.log_prob), lambda batch: flow.log_prob(fit.params, batch), x)
    z = np.concatenate([flow.inverse(fit.params, batch)[0] for batch in batches_of(x)])
    samples = flow.sample(fit.params, sample_key, (settings.num_draws,))
    mean, deviation = (
        ", ".join(f"{value:z.2f}" for value in row) for row in (z.mean(axis=0), z.std(axis=0))
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
    return {
        "flow": name,
        "dimension": str(event_size),
        "actnorm": str(settings.actnorm),
        "lu": str(settings.lu),
        "num_layers": str(ZOO[name].layers(settings.num_layers)),
        "hidden_sizes": " ".join(map(str, settings.hidden_sizes)),
        "num_steps": str(settings.num_steps),
        "batch_size": str(settings.batch_size),
        "seed": str(settings.seed),
        "nll": f"{scored.nll:.4f}",
        "entropy": f"{scored.entropy:.4f}",
        "kl": f"{scored.kl:.4f}",
        "kl_stderr": f"{scored.kl_stderr:.4f}",
        "latent_mean": mean,
        "latent_deviation": deviation,
        "num_params": str(num_parameters(fit.params)),
        "train_seconds": f"{fit.history.train_seconds:.1f}",
        "compile_seconds": f"{fit.history.compile_seconds:.1f}",
        "jax_version": jax.__version__,
        "device": device_name(),
    }


if __name__ == "__main__":
    use_compilation_cache()
    run("experiments.gaussian_mixtures", main, Settings)
