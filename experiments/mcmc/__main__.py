"""Entry point of the experiment; see the docstring of the package."""

import functools
from collections.abc import Sequence

from experiments._command import check, run
from experiments._common import use_compilation_cache
from experiments._summary import format_table, mean, select, select_fits
from experiments._table import Row, Table
from experiments.mcmc.pictures import draw_ess, draw_samples
from experiments.mcmc.runs import identities, reference_identities, sample
from experiments.mcmc.settings import METHODS, Settings
from experiments.mcmc.targets import TARGETS, Moments

COLUMNS = (
    "target method seed min_ess ess_per_1000 ess_per_1000_all divergences r_hat mean_error "
    "sd_error ess ess_squares gradients warmup_gradients fit_gradients fit_seconds sample_seconds "
    "compile_seconds num_chains num_warmup num_draws num_layers hidden_sizes order "
    "num_steps num_samples learning_rate ema_decay num_rounds num_round_draws num_round_steps "
    "num_params jax_version device"
)


def main(settings: Settings) -> None:
    """Runs the experiment."""
    least = {"num_chains": 2, "num_warmup": 20, "num_draws": 4, "num_reference_draws": 4}
    check(settings, choices={"targets": TARGETS, "methods": METHODS}, least=least)
    table = Table(
        settings.output / "results.csv", COLUMNS, keep_params=True, resume=settings.resume
    )
    title = "{method} on {target}, seed {seed}"
    compute = functools.partial(sample, settings=settings, references={})
    references = table.fill(reference_identities(settings), compute, title)
    moments = {
        fit.row["target"]: Moments(fit.result["run"]["mean"], fit.result["run"]["scale"])
        for fit in references
    }
    compute = functools.partial(sample, settings=settings, references=moments)
    runs = table.fill(identities(settings), compute, title)
    shown = [*references, *select_fits(runs, seed=str(settings.seeds[0]))]
    draw_samples(settings.output / "samples.png", shown)
    draw_ess(settings.output / "ess.png", runs)
    print(summary([fit.row for fit in (*references, *runs)]))


def summary(rows: Sequence[Row]) -> str:
    """A table of the means over seeds, by target and method; errors are the largest of any seed."""
    columns = "min_ess ess_per_1000 ess_per_1000_all divergences"
    table = []
    for target, method in dict.fromkeys((row["target"], row["method"]) for row in rows):
        same = select(rows, target=target, method=method)
        errors = [
            "" if method == "reference" else f"{max(abs(float(row[name])) for row in same):.3f}"
            for name in ("mean_error", "sd_error")
        ]
        table.append(
            [
                f"{target}, {method}",
                *(f"{mean(same, name):,.1f}" for name in columns.split()),
                f"{max(float(row['r_hat']) for row in same):.3f}",
                *errors,
                f"{mean(same, 'sample_seconds'):.1f}",
            ]
        )
    header = [*columns.split(), "r_hat", "mean_error", "sd_error", "sample seconds"]
    return format_table(["", *header], table)


if __name__ == "__main__":
    use_compilation_cache()
    run("experiments.mcmc", main, Settings)
