"""The whole experiment; the package's docstring says what it does."""

import itertools
from collections.abc import Iterator, Sequence

import jax
from tqdm import tqdm

from experiments._command import run
from experiments._common import device_name, format_table, use_compilation_cache
from experiments._results import Row, write_table
from experiments.nice_realnvp.fits import Fitted, fit, make_learner, once, twice
from experiments.nice_realnvp.inpainting import complete
from experiments.nice_realnvp.models import MODELS, SPLITS
from experiments.nice_realnvp.pictures import draw_flows, draw_grids, draw_inpainting
from experiments.nice_realnvp.settings import Settings, check
from experiments.toy_densities.target import make_target


def main(settings: Settings) -> None:
    """Runs the experiment.

    Raises:
        ValueError: a density, model or base does not exist, or a count is not positive.
    """
    check(settings)
    print(f"JAX {jax.__version__} on {device_name()}")
    total = len(settings.bases) * len(settings.models) * len(settings.densities) + len(SPLITS)
    with tqdm(total=total, unit="fit", disable=None) as bar:
        rows, fits = [], []
        for fitted in itertools.chain(fit_all(settings, bar), fit_splits(settings, bar)):
            rows.append(fitted.row)
            fits.append(fitted)
            write_table(settings.output / "results.csv", list(rows[0]), rows)
            bar.update()
    completed = []
    for name in settings.densities:
        completed += show(name, [fit for fit in fits if fit.row["density"] == name], settings)
        write_table(settings.output / "inpainting.csv", list(completed[0]), completed)
    for table in (rows, completed):
        print(format_table(list(table[0]), [list(row.values()) for row in table]), end="\n\n")


def fit_all(settings: Settings, bar: tqdm) -> Iterator[Fitted]:
    """Each model, on each base, to each density of the plane."""
    learners = {
        (base, name): make_learner(MODELS[name], 2, base, settings)
        for base in settings.bases
        for name in settings.models
    }
    for density in settings.densities:
        source = once(density)
        for (base, name), learner in learners.items():
            bar.set_description(f"{name}, {base} base, on {density}")
            # Two dimensions are split the same into halves and into even and odd.
            identity = {"density": density, "model": name, "base": base, "split": "half"}
            yield fit(learner, source, identity, settings)


def fit_splits(settings: Settings, bar: tqdm) -> Iterator[Fitted]:
    """RealNVP by each split, to two independent draws in one vector."""
    source, base = twice(settings.split_density), settings.bases[0]
    for split, model in SPLITS.items():
        bar.set_description(f"{split} split, on {source.name}")
        learner = make_learner(model, 4, base, settings)
        identity = {"density": source.name, "model": "realnvp", "base": base, "split": split}
        yield fit(learner, source, identity, settings)


def show(name: str, fits: Sequence[Fitted], settings: Settings) -> list[Row]:
    """Draws the fits to a density; the best of them completes points, a row per lost coordinate."""
    target = make_target(name, settings.batch_size, settings.grid_size)
    draw_flows(settings.output / f"{name}.png", target, fits)
    draw_grids(settings.output / f"{name}_grid.png", target, fits)
    best = min(fits, key=lambda fit: float(fit.row["kl"]))
    completions = [complete(best, target, lost, settings) for lost in (1, 0)]
    draw_inpainting(settings.output / f"{name}_inpainting.png", target, best, completions)
    return [completion.row for completion in completions]


if __name__ == "__main__":
    use_compilation_cache()
    run("experiments.nice_realnvp", main, Settings)
