"""Entry point of the experiment; see the docstring of the package."""

import functools
from collections.abc import Sequence

from experiments._command import check, run
from experiments._common import use_compilation_cache
from experiments._summary import format_table, mean, select, select_fits
from experiments._table import Row, Table
from experiments.log_z.fits import fit, identities
from experiments.log_z.pictures import draw_samples
from experiments.log_z.recipes import DIVERGENCES
from experiments.log_z.settings import Settings
from experiments.log_z.targets import TARGETS

COLUMNS = (
    "target divergence seed num_layers hidden_sizes num_steps num_samples learning_rate annealing "
    "num_draws num_repeats log_z_error log_z_bias annealed_error annealed_bias ess annealed_ess "
    "pareto_k modes num_params fit_seconds jax_version device"
)


def main(settings: Settings) -> None:
    """Runs the experiment."""
    choices = {"targets": TARGETS, "divergence": {None, *DIVERGENCES}}
    check(settings, choices=choices, least={"num_draws": 1_000})
    table = Table(
        settings.output / "results.csv", COLUMNS, keep_params=True, resume=settings.resume
    )
    compute = functools.partial(fit, settings=settings)
    fits = table.fill(identities(settings), compute, "{target} by {divergence}, seed {seed}")
    draw_samples(settings.output / "samples.png", select_fits(fits, seed=str(settings.seeds[0])))
    print(summary([fit.row for fit in fits]))


def summary(rows: Sequence[Row]) -> str:
    """A table of means over seeds."""
    table = []
    for name in dict.fromkeys(row["target"] for row in rows):
        same = select(rows, target=name)
        published = TARGETS[name]().published_error
        table.append(
            [
                name,
                f"{mean(same, 'log_z_error'):.4f}",
                f"{mean(same, 'log_z_bias'):+.4f}",
                f"{mean(same, 'annealed_error'):.4f}",
                "" if published is None else f"{published:.4f}",
                f"{100 * mean(same, 'ess'):.1f}",
                f"{mean(same, 'pareto_k'):.2f}",
                " ".join(row["modes"] for row in same),
                f"{mean(same, 'fit_seconds'):.0f}",
            ]
        )
    header = "target,|error|,bias,annealed |error|,FAB's error,ESS %,k-hat,modes,fit seconds"
    return format_table(header.split(","), table)


if __name__ == "__main__":
    use_compilation_cache()
    run("experiments.log_z", main, Settings)
