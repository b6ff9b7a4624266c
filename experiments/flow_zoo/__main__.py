"""The whole experiment; the package's docstring says what it does."""

from collections.abc import Sequence

import jax
import numpy as np
from tqdm import tqdm

from experiments._command import run
from experiments._common import device_name, format_table, known, use_compilation_cache
from experiments._results import Results, Row
from experiments.flow_zoo.fits import COLUMNS, IDENTITY, finished_fit, make_model, timed_fits
from experiments.flow_zoo.pictures import draw_sheet
from experiments.flow_zoo.settings import Settings, check
from experiments.toy_densities.target import make_target


def main(settings: Settings) -> None:
    """Runs the experiment.

    Raises:
        ValueError: a flow or density does not exist, or is not one of the plane; the table to
            resume has other columns.
    """
    check(settings)
    print(f"JAX {jax.__version__} on {device_name()}")
    results = Results(settings.output, COLUMNS, IDENTITY, resume=settings.resume)
    targets = [
        make_target(name, settings.batch_size, settings.grid_size) for name in settings.densities
    ]
    fits = []
    with tqdm(total=len(settings.flows) * len(targets), unit="fit", disable=None) as bar:
        for name in settings.flows:
            model = make_model(name, settings)
            for target in targets:
                bar.set_description(f"{name} on {target.name}")
                fits.append(finished_fit(model, target, settings, results))
                bar.update()
    print("timing ...")
    fits = timed_fits(fits, settings.repeats, results)
    for target in targets:
        path = settings.output / f"{target.name}.png"
        draw_sheet(path, target, [fit for fit in fits if fit.target is target])
    print(summary([fit.row for fit in fits], settings))


def summary(rows: Sequence[Row], settings: Settings) -> str:
    """A table of KL, flow by density, and costs: means over the densities.

    A flow is compiled once, for its first density: that is what it costs. Its disagreement is the
    largest difference between the log-densities that it samples and evaluates with.
    """
    table = []
    for name in settings.flows:
        same_flow = [row for row in rows if row["flow"] == name]
        values = {
            column: [float(row[column]) for row in same_flow]
            for column in ("train_seconds", "compile_seconds", "log_prob_ms", "sample_ms")
        }
        table.append(
            [
                name,
                *(f"{float(row['kl']):.4f} ± {float(row['kl_stderr']):.4f}" for row in same_flow),
                f"{max(float(row['disagreement']) for row in same_flow):.0e}",
                f"{int(same_flow[0]['num_params']):,}",
                f"{np.mean(values['train_seconds']):.1f}",
                f"{np.max(known(values['compile_seconds'])):.1f}",
                f"{np.mean(values['log_prob_ms']):.1f}",
                f"{np.mean(values['sample_ms']):.1f}",
            ]
        )
    header = [
        "KL(p || q), nats",
        *settings.densities,
        *("disagreement", "parameters", "train s", "compile s", "log_prob ms", "sample ms"),
    ]
    return format_table(header, table)


if __name__ == "__main__":
    use_compilation_cache()
    run("experiments.flow_zoo", main, Settings)
