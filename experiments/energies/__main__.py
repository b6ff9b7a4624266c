"""Entry point of the experiment; see the docstring of the package."""

import functools
from collections.abc import Sequence

import jax
import numpy as np

from experiments._command import check, run
from experiments._common import use_compilation_cache
from experiments._plane import Fitted, draw_overview, make_window
from experiments._summary import format_table, known, mean, select, select_fits
from experiments._table import Finished, Row, Table
from experiments.energies.fits import fit, flow_of, identities
from experiments.energies.recipes import RECIPES
from experiments.energies.settings import Settings
from experiments.energies.targets import TARGETS

COLUMNS = (
    "flow density seed num_layers hidden_sizes spline_reach learning_rate num_steps num_samples "
    "annealing gradient num_params reverse_kl reverse_kl_stderr forward_kl forward_kl_stderr elbo "
    "log_z log_z_stderr true_log_z ess train_seconds compile_seconds jax_version device"
)


def main(settings: Settings) -> None:
    """Runs the experiment."""
    choices = {"flows": RECIPES, "densities": TARGETS}
    check(settings, choices=choices, least={"num_draws": 2, "annealing": 0})
    if settings.annealing > 1:
        raise ValueError(f"`annealing` must be at most 1; got {settings.annealing}.")
    path = settings.output / "results.csv"
    table = Table(path, COLUMNS, keep_params=True, resume=settings.resume)
    compute = functools.partial(fit, settings=settings)
    fits = table.fill(identities(settings), compute, "{flow} on {density}")
    draw(fits, settings)
    print(summary([fit.row for fit in fits], settings))


def draw(fits: Sequence[Finished], settings: Settings) -> None:
    """All targets with the fits of the first seed."""
    rows = []
    for name in settings.densities:
        target, shown = TARGETS[name], []
        for row, params in select_fits(fits, density=name, seed=str(settings.seeds[0])):
            log_q = functools.partial(flow_of(row, settings).log_prob, params)
            shown.append(Fitted(RECIPES[row["flow"]].label, log_q, float(row["reverse_kl"])))
        log_p = jax.jit(target.log_prob)
        window = make_window(log_p, target.sample(jax.random.key(0), 100_000), settings.grid_size)
        plot_first = functools.partial(window.plot_density, log_prob=log_p)
        rows.append((name.upper(), window, plot_first, shown))
    draw_overview(settings.output / "overview.png", "target", rows)


def summary(rows: Sequence[Row], settings: Settings) -> str:
    """A table of scores and cost, by potential and flow: means over the seeds.

    The error of log Z is the estimate minus the truth, followed by the standard error that the
    estimate reports for one seed.
    """
    table = []
    for density in settings.densities:
        for flow in settings.flows:
            same = select(rows, density=density, flow=flow)
            error = mean(same, "log_z") - mean(same, "true_log_z")
            line = [
                f"{density}, {flow}",
                f"{mean(same, 'reverse_kl'):.4f} ± {mean(same, 'reverse_kl_stderr'):.4f}",
                f"{mean(same, 'forward_kl'):.4f} ± {mean(same, 'forward_kl_stderr'):.4f}",
                f"{mean(same, 'elbo'):.4f}",
                f"{error:+.4f} ± {mean(same, 'log_z_stderr'):.4f}",
                f"{100 * mean(same, 'ess'):.1f}",
                f"{mean(same, 'num_params'):,.0f}",
                f"{mean(same, 'train_seconds'):.1f}",
                f"{np.mean(known(same, 'compile_seconds')):.1f}",
            ]
            table.append(line)
    header = ["", "KL(q || p)", "KL(p || q)", "ELBO", "log Z - truth", "ESS, %"]
    return format_table([*header, "parameters", "train s", "compile s"], table)


if __name__ == "__main__":
    use_compilation_cache()
    run("experiments.energies", main, Settings)
