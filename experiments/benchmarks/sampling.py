"""Time of sampling an autoregressive flow relative to its own density.

python -m experiments.benchmarks.sampling
"""

import dataclasses

import jax
import numpy as np

import distrax_flows as dxf
from experiments._command import check, quick_means, run
from experiments._summary import format_table
from experiments.benchmarks._timing import milliseconds


@quick_means(event_size=4, num_layers=2, hidden_size=16, batch_size=10, repeats=3)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Time of `Flow.sample` over that of `Flow.log_prob`, the same number of rows."""

    flows: tuple[str, ...] = ("maf", "nsf_autoregressive")  # Builders of `distrax_flows.flows`.
    event_size: int = 64  # Dimensions, D.
    num_layers: int = 5  # Layers.
    hidden_size: int = 512  # Units of each of two hidden layers.
    batch_size: int = 1_000  # Samples, and rows of data.
    repeats: int = 21  # Rounds.
    quick: bool = False  # Small flows and few rounds.


def main(settings: Settings) -> None:
    """Prints a row of medians for each flow."""
    check(settings, choices={"flows": dxf.flows.__all__})
    rows = []
    for name in settings.flows:
        times = time_flow(name, settings)
        sample, log_prob = (float(np.median(times[key])) for key in ("sample", "log_prob"))
        low, high = np.quantile(times["sample"] / times["log_prob"], [0.25, 0.75])
        spread = f"{low:.2f} - {high:.2f}"
        rows.append([name, f"{log_prob:.1f}", f"{sample:.1f}", f"{sample / log_prob:.2f}", spread])
    print(format_table(["flow", "log_prob, ms", "sample, ms", "ratio", "its quartiles"], rows))


def time_flow(name: str, settings: Settings) -> dict[str, np.ndarray]:
    """Times of both directions of one flow."""
    build = getattr(dxf.flows, name)
    sizes = (settings.hidden_size,) * 2
    flow = dxf.transform(
        lambda: build(settings.event_size, num_layers=settings.num_layers, hidden_sizes=sizes)
    )
    key, shape = jax.random.key(0), (settings.batch_size,)
    x = jax.random.normal(key, (*shape, settings.event_size))
    params = flow.init(key, x)
    return milliseconds(
        {
            "log_prob": lambda: flow.log_prob(params, x),
            "sample": lambda: flow.sample(params, key, shape),
        },
        settings.repeats,
    )


if __name__ == "__main__":
    run("experiments.benchmarks.sampling", main, Settings)
