"""Networks in bfloat16 compared with networks in float32: time, accuracy, and KL of fits.

python -m experiments.benchmarks.precision
"""

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import jmp
import numpy as np

import distrax_flows as dxf
from experiments._command import check, quick_means, run
from experiments._common import machine_cells, score, use_compilation_cache
from experiments._plane import planar_densities
from experiments._summary import format_rows
from experiments._table import Row, Table, as_row, progress
from experiments.benchmarks._timing import milliseconds

POLICIES = {
    "float32": None,
    "bfloat16": jmp.get_policy("params=float32,compute=bfloat16,output=float32"),
}
COLUMNS = (
    "flow networks gradient_ms ratio ratio_q25 ratio_q75 log_prob_error log_prob_error_max "
    "round_trip_max kl kl_stderr device"
)


@quick_means(
    flows=("realnvp",), event_size=4, num_layers=2, hidden_size=8, batch_size=10, repeats=3,
    num_steps=200,
)  # fmt: skip
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Each flow with networks of either precision; bijectors are in float32."""

    # Builders of `distrax_flows.flows`.
    flows: tuple[str, ...] = ("realnvp", "maf", "nsf_coupling", "nsf_autoregressive")
    event_size: int = 64  # Dimensions, of what is timed.
    num_layers: int = 5  # Layers, of what is timed.
    hidden_size: int = 512  # Units of each of two hidden layers, of what is timed.
    batch_size: int = 1_000  # Rows, of what is timed.
    repeats: int = 11  # Rounds.
    density: str = "gaussian_blobs"  # What is fitted: one of `distrax_flows.densities`.
    num_steps: int = 5_000  # Steps of the fit, of 128 fresh samples.
    seed: int = 0  # Of the fit and its samples.
    output: Path = Path("figures/benchmarks")  # Folder for `precision.csv`.
    quick: bool = False  # One small flow and few steps.


def main(settings: Settings) -> None:
    """Measures, prints a table and writes `precision.csv`."""
    check(settings, choices={"flows": dxf.flows.__all__, "density": planar_densities()})
    table = Table(settings.output / "precision.csv", COLUMNS)
    rows = [as_row(flow=flow) for flow in settings.flows]
    for row in progress(rows, "{flow}", "flow"):
        times = time_gradients(row["flow"], settings)
        for networks in POLICIES:
            ratio, low, high = np.quantile(times[networks] / times["float32"], [0.5, 0.25, 0.75])
            cells = as_row(
                networks=networks,
                gradient_ms=f"{np.median(times[networks]):.1f}",
                ratio=f"{ratio:.2f}",
                ratio_q25=f"{low:.2f}",
                ratio_q75=f"{high:.2f}",
                device=machine_cells()["device"],
            )
            table.add(row | cells | fit_and_check(row["flow"], networks, settings))
    print(format_rows(table.rows, COLUMNS))


def time_gradients(name: str, settings: Settings) -> dict[str, np.ndarray]:
    """Milliseconds of a value and gradient of the mean density, by precision of the networks."""
    x = jax.random.normal(jax.random.key(0), (settings.batch_size, settings.event_size))
    calls = {}
    for networks, policy in POLICIES.items():
        flow = make(name, settings.event_size, policy, settings.num_layers, settings.hidden_size)
        params = flow.init(jax.random.key(1), x)
        gradient = jax.jit(jax.value_and_grad(lambda p, flow=flow: flow.log_prob(p, x).mean()))
        calls[networks] = functools.partial(gradient, params)
    return milliseconds(calls, settings.repeats)


def fit_and_check(name: str, networks: str, settings: Settings) -> Row:
    """Fits a density in the plane, and compares with the same parameters in double precision."""
    density = dxf.densities.get(settings.density)
    flow = make(name, 2, POLICIES[networks], num_layers=8, hidden_size=64)
    fit_key, draw_key = jax.random.split(jax.random.key(settings.seed))

    def draw(key):
        return density.sample(seed=key, sample_shape=(128,))

    fitted = dxf.fit(flow, draw, key=fit_key, num_steps=settings.num_steps)
    x = density.sample(seed=draw_key, sample_shape=(10_000,))
    log_prob = flow.log_prob(fitted.params, x)
    z, _ = flow.inverse(fitted.params, x)
    back, _ = flow.forward(fitted.params, z)
    with jax.enable_x64(True):
        exact = make(name, 2, None, num_layers=8, hidden_size=64)
        params, wide = jax.tree.map(lambda a: a.astype(jnp.float64), (fitted.params, x))
        error = np.abs(np.asarray(exact.log_prob(params, wide)) - np.asarray(log_prob))
    fit = score(density.log_prob, functools.partial(flow.log_prob, fitted.params), x)
    return {
        "log_prob_error": f"{error.mean():.1e}",
        "log_prob_error_max": f"{error.max():.1e}",
        "round_trip_max": f"{float(jnp.abs(back - x).max()):.1e}",
        "kl": f"{fit.kl:.4f}",
        "kl_stderr": f"{fit.kl_stderr:.4f}",
    }


def make(
    name: str, event_size: int, policy: jmp.Policy | None, num_layers: int, hidden_size: int
) -> dxf.Flow:
    """A flow whose networks have that precision."""
    build, sizes = getattr(dxf.flows, name), (hidden_size, hidden_size)
    return dxf.transform(
        lambda: build(event_size, num_layers=num_layers, hidden_sizes=sizes, policy=policy)
    )


if __name__ == "__main__":
    use_compilation_cache()
    run("experiments.benchmarks.precision", main, Settings)
