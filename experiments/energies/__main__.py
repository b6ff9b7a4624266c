"""The whole experiment; the package's docstring says what it does."""

from collections.abc import Sequence

import jax
import numpy as np
from tqdm import tqdm

from experiments._command import run
from experiments._common import device_name, format_table, known, use_compilation_cache
from experiments._results import Results, Row
from experiments.energies.fits import COLUMNS, IDENTITY, finished_fit, make_model
from experiments.energies.pictures import draw_overview
from experiments.energies.settings import Settings, check
from experiments.energies.targets import TARGETS


def main(settings: Settings) -> None:
    """Runs the experiment.

    Raises:
        ValueError: a flow or density does not exist, or a setting is out of range; the table to
            resume has other columns.
    """
    check(settings)
    print(f"JAX {jax.__version__} on {device_name()}")
    results = Results(settings.output, COLUMNS, IDENTITY, resume=settings.resume)
    fits, shown = [], []
    total = len(settings.densities) * len(settings.flows) * len(settings.seeds)
    with tqdm(total=total, unit="fit", disable=None) as bar:
        for target in settings.densities:
            shown.append([])
            for flow in settings.flows:
                bar.set_description(f"{flow} on {target}")
                model = make_model(flow, TARGETS[target], settings)
                for seed in settings.seeds:
                    fits.append(finished_fit(model, seed, settings, results))
                    bar.update()
                shown[-1].append(fits[-len(settings.seeds)])
    draw_overview(settings.output / "overview.png", shown, settings.grid_size)
    print(summary([fit.row for fit in fits], settings))


def summary(rows: Sequence[Row], settings: Settings) -> str:
    """A table of scores and cost, by potential and flow: means over the seeds.

    The error of log Z is the estimate less the truth; beside it stands the standard error that the
    estimate claims, of one seed.
    """
    table = []
    for density in settings.densities:
        for flow in settings.flows:
            wanted = {"density": density, "flow": flow}
            group = [row for row in rows if wanted.items() <= row.items()]

            def mean(column: str, group: Sequence[Row] = group) -> float:
                return np.mean([float(row[column]) for row in group]).item()

            compile_seconds = known(float(row["compile_seconds"]) for row in group)
            table.append(
                [
                    f"{density}, {flow}",
                    f"{mean('reverse_kl'):.4f} ± {mean('reverse_kl_stderr'):.4f}",
                    f"{mean('forward_kl'):.4f} ± {mean('forward_kl_stderr'):.4f}",
                    f"{mean('elbo'):.4f}",
                    f"{mean('log_z') - mean('true_log_z'):+.4f} ± {mean('log_z_stderr'):.4f}",
                    f"{100 * mean('ess'):.1f}",
                    f"{mean('num_params'):,.0f}",
                    f"{mean('train_seconds'):.1f}",
                    f"{np.mean(compile_seconds):.1f}",
                ]
            )
    header = ["", "KL(q || p)", "KL(p || q)", "ELBO", "log Z - truth", "ESS, %"]
    return format_table([*header, "parameters", "train s", "compile s"], table)


if __name__ == "__main__":
    use_compilation_cache()
    run("experiments.energies", main, Settings)
