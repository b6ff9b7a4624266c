"""The whole experiment; the package's docstring says what it does."""

import jax
from tqdm import tqdm

from experiments._command import run
from experiments._common import device_name, format_table, use_compilation_cache
from experiments._results import write_table
from experiments.bernstein import targets
from experiments.bernstein.column_pictures import draw_independent
from experiments.bernstein.fits import (
    HEADER,
    REGRESSIONS,
    Fitted,
    fit_columns,
    fit_line,
    fit_regression,
)
from experiments.bernstein.line_pictures import draw_degrees, draw_stages
from experiments.bernstein.regression_pictures import draw_regressions
from experiments.bernstein.settings import Settings, check
from experiments.bernstein.stages import take_apart


def main(settings: Settings) -> None:
    """Runs the experiment.

    Raises:
        ValueError: a count is not positive, there is no degree, or a degree is none that
            `BernsteinPolynomial` takes.
    """
    check(settings)
    print(f"JAX {jax.__version__} on {device_name()}")
    degrees = sorted({*settings.degrees, settings.degree})
    fits: list[Fitted] = []

    def keep(fitted: Fitted) -> Fitted:
        fits.append(fitted)
        rows = [row for fit in fits for row in fit.rows]
        write_table(settings.output / "results.csv", HEADER, rows)
        bar.update()
        return fitted

    lines = {}
    total = len(degrees) * len(targets.LINES) + 1 + len(REGRESSIONS)
    with tqdm(total=total, unit="fit", disable=None) as bar:
        for degree in degrees:
            for line in targets.LINES:
                bar.set_description(f"{line.name}, degree {degree}")
                lines[line.name, degree] = keep(fit_line(line, degree, settings))
        bar.set_description("columns")
        columns = keep(fit_columns(settings))
        regressions = {}
        for name in REGRESSIONS:
            bar.set_description(f"regression, {name}")
            regressions[name] = keep(fit_regression(name, settings))
    shown = jax.random.fold_in(
        jax.random.key(settings.seed), 1
    )  # fits have drawn from the key itself
    line_key, column_key, pair_key = jax.random.split(shown, 3)
    bimodal = targets.BIMODAL
    draw_stages(
        settings.output / "stages.png",
        bimodal,
        take_apart(lines[bimodal.name, settings.degree].params, settings.degree),
        bimodal.density.sample(seed=line_key, sample_shape=settings.num_draws),
    )
    draw_degrees(settings.output / "degrees.png", lines)
    draw_independent(settings.output / "columns.png", columns, column_key)
    draw_regressions(
        settings.output / "regression.png",
        regressions,
        *targets.draw_pairs(pair_key, settings.num_draws),
    )
    print(format_table(HEADER, [list(row.values()) for fit in fits for row in fit.rows]))


if __name__ == "__main__":
    use_compilation_cache()
    run("experiments.bernstein", main, Settings)
