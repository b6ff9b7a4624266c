"""Entry point of the experiment; see the docstring of the package."""

import functools

from experiments._command import check, run
from experiments._common import use_compilation_cache
from experiments._plane import make_target, planar_densities
from experiments._summary import format_rows, select_fits
from experiments._table import Table
from experiments.nice_realnvp.fits import fit, identities
from experiments.nice_realnvp.inpainting import complete
from experiments.nice_realnvp.models import BASES, LABELS
from experiments.nice_realnvp.pictures import draw_flows, draw_grids, draw_inpainting
from experiments.nice_realnvp.settings import Settings

COLUMNS = (
    "density model base split num_params kl kl_stderr nll entropy train_seconds compile_seconds"
)
INPAINTING = (
    "density model base lost log_p_start log_p_completed log_p_draws log_p_highest "
    "mode_error_start mode_error_completed mode_error_draws"
)


def main(settings: Settings) -> None:
    """Runs the experiment."""
    planar = planar_densities()
    choices = {"densities": planar, "models": LABELS, "bases": BASES, "split_density": planar}
    check(settings, choices=choices)
    output = settings.output
    table = Table(output / "results.csv", COLUMNS)
    compute = functools.partial(fit, settings=settings)
    fits = table.fill(identities(settings), compute, "{model}, {base} base, on {density}")
    completed = Table(output / "inpainting.csv", INPAINTING)
    for name in settings.densities:
        target = make_target(name, settings.batch_size, settings.grid_size)
        shown = select_fits(fits, density=name)
        draw_flows(output / f"{name}.png", target, shown)
        draw_grids(output / f"{name}_grid.png", target, shown)
        best = min(shown, key=lambda fit: float(fit.row["kl"]))
        completions = [complete(best, target, lost, settings) for lost in (1, 0)]
        draw_inpainting(output / f"{name}_inpainting.png", target, best, completions)
        for completion in completions:
            completed.add(completion.row)
    print(format_rows(table.rows, COLUMNS), format_rows(completed.rows, INPAINTING), sep="\n\n")


if __name__ == "__main__":
    use_compilation_cache()
    run("experiments.nice_realnvp", main, Settings)
