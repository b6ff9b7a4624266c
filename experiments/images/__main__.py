"""Entry point of the experiment; see the docstring of the package."""

from experiments._command import run
from experiments._common import use_compilation_cache
from experiments._table import Row, Table
from experiments.images.datasets import load
from experiments.images.fits import as_finished, fit, identities
from experiments.images.pictures import draw_flow, draw_samples, draw_scores
from experiments.images.settings import Settings, check_settings
from experiments.images.tables import scores

COLUMNS = (
    "flow dataset seed num_layers num_scales hidden_size num_blocks learning_rate weight_decay "
    "ema_decay batch_size num_steps eval_every patience num_params best_step last_step "
    "bits_per_dim stderr importance_weighted changed_pixels train_seconds compile_seconds "
    "jax_version device"
)


def main(settings: Settings) -> None:
    """Runs the experiment."""
    check_settings(settings)
    images = load(settings.dataset, settings.data_dir)
    folder = settings.output / images.name
    table = Table(folder / "results.csv", COLUMNS, keep_params=True, resume=settings.resume)

    def compute(row: Row):
        return fit(row["flow"], images, int(row["seed"]), settings)

    fits = table.fill(identities(images, settings), compute, "{flow} on {dataset}")
    first = [
        as_finished(finished, images, settings)
        for finished in fits
        if finished.row["seed"] == str(settings.seeds[0])
    ]
    rows = [finished.row for finished in fits]
    draw_scores(folder / "scores.png", rows, images)
    draw_samples(folder / "samples.png", first, images)
    for finished in first:
        draw_flow(folder / f"{finished.row['flow']}.png", finished, images)
    print(scores(rows, images.name))


if __name__ == "__main__":
    use_compilation_cache()
    run("experiments.images", main, Settings)
