"""The whole experiment; the package's docstring says what it does."""

from collections.abc import Sequence

import jax
import numpy as np
from tqdm import tqdm

from experiments._command import run
from experiments._common import device_name, format_table, use_compilation_cache
from experiments._results import Row
from experiments.toy_densities.fits import as_fitted, finished_fit, make_model
from experiments.toy_densities.pictures import draw_density, draw_overview
from experiments.toy_densities.results import open_results
from experiments.toy_densities.settings import Settings, check
from experiments.toy_densities.target import make_target


def main(settings: Settings) -> None:
    """Runs the experiment.

    Raises:
        ValueError: a flow or density does not exist, or is not one of the plane; the table to
            resume has other columns.
    """
    check(settings)
    print(f"JAX {jax.__version__} on {device_name()}")
    models = [make_model(name, settings) for name in settings.flows]
    results = open_results(settings.output, resume=settings.resume)
    rows, drawn = [], []
    total = len(models) * len(settings.densities) * len(settings.seeds)
    with tqdm(total=total, unit="fit", disable=None) as bar:
        for name in settings.densities:
            target = make_target(name, settings.batch_size, settings.grid_size)
            for seed in settings.seeds:
                finished = []
                for model in models:
                    bar.set_description(f"{model.name} on {name}")
                    finished.append(finished_fit(model, target, seed, settings, results))
                    bar.update()
                rows += [fit.row for fit in finished]
                if seed == settings.seeds[0]:
                    fits = [as_fitted(*pair, target) for pair in zip(models, finished, strict=True)]
                    draw_density(settings.output / f"{name}.png", target, fits)
                    drawn.append((target, fits))
    draw_overview(settings.output / "overview.png", drawn)
    print(summary(rows, settings))


def summary(rows: Sequence[Row], settings: Settings) -> str:
    """A table of KL, flow by density, and cost: means over the seeds."""

    def mean(column: str, **wanted: str) -> float:
        return np.mean([float(row[column]) for row in rows if wanted.items() <= row.items()]).item()

    table = [
        [
            flow,
            *(f"{mean('kl', flow=flow, density=name):.4f}" for name in settings.densities),
            f"{mean('num_params', flow=flow):,.0f}",
            f"{mean('train_seconds', flow=flow):.1f}",
        ]
        for flow in settings.flows
    ]
    header = ["KL(p || q), nats", *settings.densities, "parameters", "seconds"]
    return format_table(header, table)


if __name__ == "__main__":
    use_compilation_cache()
    run("experiments.toy_densities", main, Settings)
