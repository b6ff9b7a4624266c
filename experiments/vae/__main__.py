"""Entry point of the experiment; see the docstring of the package."""

import functools
from collections.abc import Sequence

from experiments._command import check, run
from experiments._common import use_compilation_cache
from experiments._digits import load_digits
from experiments._summary import (
    format_table,
    mean,
    mean_and_stderr,
    select,
    select_fits,
    with_stderr,
)
from experiments._table import Row, Table
from experiments.vae.fits import fit, identities, sizes
from experiments.vae.models import make_autoencoder, make_decode_mean
from experiments.vae.pictures import Autoencoder, draw_overview
from experiments.vae.settings import POSTERIORS, Settings

COLUMNS = (
    "posterior seed latent_size hidden_sizes num_layers flow_hidden_sizes num_steps batch_size "
    "learning_rate weight_decay num_samples num_params best_step elbo elbo_stderr "
    "importance_weighted importance_weighted_stderr train_elbo train_elbo_stderr "
    "train_importance_weighted train_importance_weighted_stderr train_seconds compile_seconds "
    "jax_version device"
)


def main(settings: Settings) -> None:
    """Runs the experiment."""
    check(settings, choices={"posteriors": POSTERIORS}, least={"weight_decay": 0})
    splits = load_digits()
    path = settings.output / "results.csv"
    table = Table(path, COLUMNS, keep_params=True, resume=settings.resume)
    compute = functools.partial(fit, splits=splits, settings=settings)
    fits = table.fill(identities(settings), compute, "{posterior}, seed {seed}")
    rows = [finished.row for finished in fits]
    autoencoders = {
        row["posterior"]: Autoencoder(
            make_autoencoder(row["posterior"], **sizes(row["posterior"], settings)),
            params,
            make_decode_mean(settings.hidden_sizes),
        )
        for row, params in select_fits(fits, seed=str(settings.seeds[0]))
    }
    draw_overview(settings.output / "overview.png", splits.test, rows, autoencoders)
    print(summary(rows))


def summary(rows: Sequence[Row]) -> str:
    """A table of bounds and cost by posterior: means over seeds, and their standard errors.

    Gains are over the first posterior, with the same seed.
    """
    names = list(dict.fromkeys(row["posterior"] for row in rows))
    first = {row["seed"]: row for row in select(rows, posterior=names[0])}
    table = []
    for name in names:
        group, line = select(rows, posterior=name), [name]
        for bound in ("elbo", "importance_weighted"):
            values = [float(row[bound]) for row in group]
            gains = [float(row[bound]) - float(first[row["seed"]][bound]) for row in group]
            line.append(with_stderr(*mean_and_stderr(values)))
            line.append("" if name == names[0] else with_stderr(*mean_and_stderr(gains)))
        line += [
            f"{mean(group, 'train_elbo'):.2f}",
            f"{mean(group, 'train_importance_weighted'):.2f}",
            group[0]["num_params"],
            f"{mean(group, 'best_step'):.0f}",
            f"{mean(group, 'train_seconds'):.0f}",
        ]
        table.append(line)
    gain = f"gain over {names[0]}"
    header = ["nats per image", "ELBO", gain, "importance-weighted", gain, "train ELBO", "train IW"]
    return format_table([*header, "parameters", "best step", "seconds"], table)


if __name__ == "__main__":
    use_compilation_cache()
    run("experiments.vae", main, Settings)
