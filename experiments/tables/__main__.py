"""Entry point of the experiment; see the docstring of the package."""

from typing import Any

import numpy as np

import distrax_flows as dxf
from experiments._command import run
from experiments._common import machine_cells, use_compilation_cache
from experiments._summary import mean_and_stderr, with_stderr
from experiments._table import Row, Table, as_row
from experiments.tables.baselines import ESTIMATORS, score
from experiments.tables.datasets import split
from experiments.tables.pictures import draw_gains, draw_table
from experiments.tables.settings import Settings, check_settings

COLUMNS = (
    "dataset seed num_train num_columns num_components flow num_layers hidden_sizes num_members "
    "fit_table fit_table_stderr fit_seconds "
    + " ".join(f"{name} gain_{name} gain_{name}_stderr {name}_setting" for name in ESTIMATORS)
    + " jax_version device"
)


def main(settings: Settings) -> None:
    """Runs the experiment."""
    check_settings(settings)
    table = Table(
        settings.output / "results.csv",
        COLUMNS,
        keep_params=True,
        num_names=2,
        resume=settings.resume,
    )
    identities = [
        as_row(dataset=name, seed=seed) for name in settings.datasets for seed in settings.seeds
    ]
    fits = table.fill(identities, lambda row: _compare(row, settings), "{dataset}, seed {seed}")
    rows = [fit.row for fit in fits]
    draw_gains(settings.output / "gains.png", rows)
    print(_text(rows))


def _compare(row: Row, settings: Settings) -> tuple[Row, dict]:
    """The scores of all estimators on a split of a table."""
    train, test = split(row["dataset"], int(row["seed"]))
    changes: dict[str, Any] = {
        name: value
        for name in ("num_steps", "num_members")
        if (value := getattr(settings, name)) is not None
    }
    density = dxf.fit_table(train, key=int(row["seed"]), progress=False, **changes)
    log_probs = density.log_prob(test)
    found, stderr = mean_and_stderr(log_probs)
    recipe = density.spec.recipe
    cells = as_row(
        num_train=len(train),
        num_columns=train.shape[1],
        num_components=density.spec.num_components,
        flow=recipe.flow,
        num_layers=recipe.num_layers,
        hidden_sizes=recipe.hidden_sizes,
        num_members=recipe.num_members,
        fit_table=f"{found:.4f}",
        fit_table_stderr=f"{stderr:.4f}",
        fit_seconds=f"{dict(density.spec.facts)['seconds']:.1f}",
    )
    for name in ESTIMATORS:
        others, setting = score(name, density.spec.columns, train, test)
        gain, stderr = mean_and_stderr(log_probs - others)
        cells |= {
            name: f"{others.mean():.4f}",
            f"gain_{name}": f"{gain:.4f}",
            f"gain_{name}_stderr": f"{stderr:.4f}",
            f"{name}_setting": setting,
        }
    if row["seed"] == str(settings.seeds[0]):
        draw_table(settings.output / f"{row['dataset']}.png", density, train)
    return cells | machine_cells(), {"density": {"log_prob": log_probs}}


def _text(rows: list[Row]) -> str:
    lines = ["Gains of fit_table in nats per row, with standard errors over the test rows:"]
    for row in rows:
        gains = [
            f"{name} {with_stderr(float(row[f'gain_{name}']), float(row[f'gain_{name}_stderr']))}"
            for name in ESTIMATORS
        ]
        worst = min(
            float(row[f"gain_{name}"]) / max(float(row[f"gain_{name}_stderr"]), 1e-9)
            for name in ESTIMATORS
        )
        mark = "" if worst > -2 else "  WORSE beyond two standard errors"
        lines.append(f"{row['dataset']:14} seed {row['seed']}  {',  '.join(gains)}{mark}")
    seconds = np.mean([float(row["fit_seconds"]) for row in rows])
    return "\n".join([*lines, f"fit_table took {seconds:.0f} s on average."])


if __name__ == "__main__":
    use_compilation_cache()
    run("experiments.tables", main, Settings)
