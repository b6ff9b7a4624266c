"""The whole experiment; the package's docstring says what it does."""

import csv
from collections.abc import Sequence
from pathlib import Path

import jax
import tyro
from tqdm import tqdm

from experiments._common import device_name, format_table, use_compilation_cache
from experiments._results import Row
from experiments.nice_realnvp.fits import Fitted, fit, make_learner, once, twice
from experiments.nice_realnvp.inpainting import complete
from experiments.nice_realnvp.models import MODELS, SPLITS
from experiments.nice_realnvp.pictures import draw_flows, draw_grids, draw_inpainting
from experiments.nice_realnvp.settings import Settings, check, quick
from experiments.toy_densities.target import make_target


def main(settings: Settings) -> None:
    """Runs the experiment.

    Raises:
        ValueError: a density, model or base does not exist, or a count is not positive.
    """
    check(settings)
    if settings.quick:
        settings = quick(settings)
    print(f"JAX {jax.__version__} on {device_name()}")
    settings.output.mkdir(parents=True, exist_ok=True)
    total = len(settings.bases) * len(settings.models) * len(settings.densities) + len(SPLITS)
    with tqdm(total=total, unit="fit", disable=None) as bar:
        fits = fit_all(settings, bar)
        splits = fit_splits(settings, bar)
    completed = []
    for name in settings.densities:
        completed += show(name, [fit for fit in fits if fit.row["density"] == name], settings)
    rows = [fit.row for fit in [*fits, *splits]]
    for name, table in (("results.csv", rows), ("inpainting.csv", completed)):
        _write(settings.output / name, table)
        print(format_table(list(table[0]), [list(row.values()) for row in table]), end="\n\n")


def fit_all(settings: Settings, bar: tqdm) -> list[Fitted]:
    """Each model, on each base, to each density of the plane."""
    learners = {
        (base, name): make_learner(MODELS[name], 2, base, settings)
        for base in settings.bases
        for name in settings.models
    }
    fits = []
    for density in settings.densities:
        source = once(density)
        for (base, name), learner in learners.items():
            bar.set_description(f"{name}, {base} base, on {density}")
            # Two dimensions are split the same into halves and into even and odd.
            identity = {"density": density, "model": name, "base": base, "split": "half"}
            fits.append(fit(learner, source, identity, settings))
            bar.update()
    return fits


def fit_splits(settings: Settings, bar: tqdm) -> list[Fitted]:
    """RealNVP by each split, to two independent draws in one vector."""
    source, base, fits = twice(settings.split_density), settings.bases[0], []
    for split, model in SPLITS.items():
        bar.set_description(f"{split} split, on {source.name}")
        learner = make_learner(model, 4, base, settings)
        identity = {"density": source.name, "model": "realnvp", "base": base, "split": split}
        fits.append(fit(learner, source, identity, settings))
        bar.update()
    return fits


def show(name: str, fits: Sequence[Fitted], settings: Settings) -> list[Row]:
    """Draws the fits to a density; the best of them completes points, a row per lost coordinate."""
    target = make_target(name, settings.batch_size, settings.grid_size)
    draw_flows(settings.output / f"{name}.png", target, fits)
    draw_grids(settings.output / f"{name}_grid.png", target, fits)
    best = min(fits, key=lambda fit: float(fit.row["kl"]))
    completions = [complete(best, target, lost, settings) for lost in (1, 0)]
    draw_inpainting(settings.output / f"{name}_inpainting.png", target, best, completions)
    return [completion.row for completion in completions]


def _write(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    use_compilation_cache()
    main(tyro.cli(Settings, prog="python -m experiments.nice_realnvp"))
