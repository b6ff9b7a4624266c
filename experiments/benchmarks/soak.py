"""Memory of a long fit: alone, with checkpoints, and interrupted and resumed repeatedly.

    python -m experiments.benchmarks.soak

One process runs the same fit three times, with validation and averages, and records its own
resident memory. In the output folder, `soak.csv` has the measurements, and `soak.png` shows them.
"""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import psutil
from tqdm import tqdm

import distrax_flows as dxf
from distrax_flows.diagnostics import plotting
from experiments._command import check, quick_means, run
from experiments._summary import select
from experiments._table import Row, Table, as_row

PARTS = ("alone", "with checkpoints", "interrupted")


@quick_means(num_steps=300, life=100, every=50)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """A long fit, three times."""

    num_steps: int = 50_000  # Steps of each.
    life: int = 2_500  # Steps after which the third one is interrupted, each time.
    every: int = 1_000  # Steps between looks, validations included.
    batch_size: int = 128  # Rows of a batch, out of 10,000.
    seed: int = 0  # Of everything.
    output: Path = Path("figures/benchmarks")  # Folder for the table and the picture.
    quick: bool = False  # Few steps.


def main(settings: Settings) -> None:
    """Runs the fits, and prints their memory and whether all three end alike."""
    check(settings)
    table = Table(settings.output / "soak.csv", "part step lives memory_mb")
    losses = [fit(part, table, settings) for part in PARTS]
    draw(settings.output / "soak.png", table.rows)
    for part in PARTS:
        seen = select(table.rows, part=part)
        ends = ", ".join(
            f"{row['memory_mb']} MB at {int(row['step']):,}" for row in (seen[0], seen[-1])
        )
        print(f"{part}: {ends}; {seen[-1]['lives']} lives")
    same = all(np.array_equal(losses[0], loss) for loss in losses)
    print(f"the losses of all steps are the same bits: {same}")


def fit(part: str, table: Table, settings: Settings) -> np.ndarray:
    """Runs one fit to its end, across interruptions; adds rows, and returns its losses."""
    key = jax.random.key(settings.seed)
    data = dxf.densities.get("8gaussians").sample(seed=key, sample_shape=(10_000,))
    flow = dxf.transform(lambda: dxf.flows.realnvp(2, num_layers=4, hidden_sizes=(32,)))
    life = settings.life if part == "interrupted" else settings.num_steps
    born, lives, looked, ended = 0, 1, 0, False

    def look(step: int, params: Any) -> None:
        nonlocal looked, ended
        bar.update(step - bar.n)
        if step > looked:
            memory = round(psutil.Process().memory_info().rss / 2**20)
            table.add(as_row(part=part, step=step, lives=lives, memory_mb=memory))
            looked = step
        ended = born + life <= step < settings.num_steps
        if ended:
            raise KeyboardInterrupt

    with (
        tempfile.TemporaryDirectory() as folder,
        tqdm(total=settings.num_steps, desc=part, unit="step", disable=None) as bar,
    ):
        checkpoints = {} if part == "alone" else {"checkpoint_dir": folder, "resume": True}
        while True:
            try:
                fitted = dxf.fit(
                    flow,
                    data,
                    key=key,
                    num_steps=settings.num_steps,
                    batch_size=settings.batch_size,
                    validation=0.1,
                    ema_decay=0.999,
                    eval_every=settings.every,
                    checkpoint_seconds=1.0,
                    callback=look,
                    progress=False,
                    **checkpoints,
                )
                return fitted.history.loss
            except dxf.FitInterrupted as interrupted:
                if not ended:  # a real interrupt
                    raise
                born, lives, ended = len(interrupted.fit.history.loss), lives + 1, False


def draw(path: Path, rows: list[Row]) -> None:
    """Memory by steps."""
    figure, axes = plotting.panels(1, 1, size=4.0)
    ax = axes[0, 0]
    ax.set_box_aspect(0.6)
    for part in PARTS:
        points = [(int(row["step"]), int(row["memory_mb"])) for row in select(rows, part=part)]
        ax.plot(*zip(*points, strict=True), label=part)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("steps")
    ax.set_ylabel("resident memory, MB")
    ax.legend(loc="lower right")
    plotting.save_png(path, figure)


if __name__ == "__main__":
    run("experiments.benchmarks.soak", main, Settings)
