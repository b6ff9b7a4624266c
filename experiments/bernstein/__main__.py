"""Entry point of the experiment; see the docstring of the package."""

import functools

import jax

from distrax_flows import families
from experiments._command import check, run
from experiments._common import use_compilation_cache
from experiments._summary import format_rows, select_fits
from experiments._table import Table
from experiments.bernstein import targets
from experiments.bernstein.column_pictures import draw_columns
from experiments.bernstein.fits import fit, identities
from experiments.bernstein.line_pictures import draw_degrees, draw_stages
from experiments.bernstein.regression_pictures import draw_regressions
from experiments.bernstein.settings import Settings
from experiments.bernstein.stages import take_apart

COLUMNS = (
    "part density flow degree num_params entropy nll kl kl_stderr quantile_error coverage_50 "
    "coverage_90 train_seconds compile_seconds"
)


def main(settings: Settings) -> None:
    """Runs the experiment."""
    check(settings)
    for degree in (*settings.degrees, settings.degree, settings.regression_degree):
        families.bernstein(degree)  # raises an error for an invalid degree
    table = Table(settings.output / "results.csv", COLUMNS)
    compute = functools.partial(fit, settings=settings)
    fits = table.fill(identities(settings), compute, "{part}: {flow} on {density}")
    lines, columns, regressions = (
        select_fits(fits, part=part) for part in ("line", "columns", "regression")
    )
    # The fits use the key itself.
    shown = jax.random.fold_in(jax.random.key(settings.seed), 1)
    line_key, column_key, pair_key = jax.random.split(shown, 3)
    bimodal = targets.BIMODAL
    (staged,) = select_fits(lines, density=bimodal.name, degree=str(settings.degree))
    draw_stages(
        settings.output / "stages.png",
        bimodal,
        take_apart(staged.result.params, settings.degree),
        bimodal.density.sample(seed=line_key, sample_shape=settings.num_draws),
    )
    draw_degrees(settings.output / "degrees.png", lines)
    draw_columns(settings.output / "columns.png", columns, column_key)
    pairs = targets.draw_pairs(pair_key, settings.num_draws)
    draw_regressions(settings.output / "regression.png", regressions, *pairs)
    print(format_rows(table.rows, COLUMNS))


if __name__ == "__main__":
    use_compilation_cache()
    run("experiments.bernstein", main, Settings)
