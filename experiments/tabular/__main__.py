"""Entry point of the experiment; see the docstring of the package."""

from experiments._command import run
from experiments._common import use_compilation_cache
from experiments._table import Row, Table
from experiments.tabular.fits import as_sampler, fit, identities, load_splits
from experiments.tabular.pictures import draw_set
from experiments.tabular.settings import Settings, check_settings
from experiments.tabular.tables import beside_published, gains, scores

COLUMNS = (
    "flow dataset seed num_train num_layers hidden_sizes num_bins learning_rate weight_decay "
    "ema_decay batch_size num_steps eval_every patience ridge num_params best_step train "
    "validation test test_stderr num_test train_seconds compile_seconds jax_version device"
)


def main(settings: Settings) -> None:
    """Runs the experiment."""
    check_settings(settings)
    path = settings.output / "results.csv"
    table = Table(path, COLUMNS, keep_params=True, resume=settings.resume)
    rows: list[Row] = []
    remarks: list[str] = []
    for name in settings.datasets:
        first = load_splits(name, settings.seeds[0], settings)

        def compute(row: Row, name: str = name):
            seed = int(row["seed"])
            return fit(row["flow"], load_splits(name, seed, settings), seed, settings)

        fits = table.fill(identities(first, settings), compute, "{flow} on {dataset}")
        samplers = [as_sampler(finished, first, settings) for finished in fits]
        draw_set(settings.output / f"{first.name}.png", first, samplers)
        found = [finished.row for finished in fits]
        rows += found
        remarks += beside_published(first, found)
    print(scores(rows), gains(rows), *remarks, sep="\n\n")


if __name__ == "__main__":
    use_compilation_cache()
    run("experiments.tabular", main, Settings)
