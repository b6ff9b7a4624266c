"""Everything that an accelerator may change, in one command.

    make accelerator
    python -m experiments.benchmarks.accelerator --quick --output /tmp/accelerator

Accelerators multiply float32 matrices with fewer bits unless told otherwise: ten on recent GPUs
(TF32), eight on TPUs. `agreement.csv` has the errors of each flow, with random weights, under the
default precision of the device and under the highest:

* pass_against_steps: parameters of a masked network in one pass, against those of its steps, as a
  share of the largest; empty for flows that have none.
* round_trip, log_det: of `forward(inverse(x))`, and the sum of both log-dets.
* log_prob: against float64 on the CPU.

All are the largest of all events. Then the comparisons with peers and of precisions run, and the
fits of two toy densities. Their tables and pictures lie in a folder named by the device. On a
machine without an accelerator it runs on the CPU, with small flows: a rehearsal.
"""

import dataclasses
import importlib.util
import re
from pathlib import Path
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

import distrax_flows as dxf
from distrax_flows import modules
from experiments._command import check, quick_means, run
from experiments._common import machine_cells, use_compilation_cache
from experiments._summary import format_rows
from experiments._table import Row, Table, as_row, progress
from experiments.benchmarks import precision
from experiments.benchmarks.peers import __main__ as peers
from experiments.benchmarks.peers import settings as peers_settings
from experiments.toy_densities import __main__ as toy_densities

PRECISIONS = ("default", "highest")
COLUMNS = "flow precision pass_against_steps round_trip log_det log_prob jax_version device"
PARTS = ("agreement", "peers", "precision", "toys")

_PEERS = ("flowjax", "zuko")
_MASKED = ("maf", "iaf", "nsf_autoregressive", "bernstein_autoregressive")


@quick_means(flows=("realnvp", "maf"), event_size=8, num_layers=2, hidden_size=16, batch_size=32)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Agreement, speed and fits on the accelerator of this machine."""

    parts: tuple[str, ...] = PARTS  # Parts to run.
    # Builders of `distrax_flows.flows` whose agreement is measured.
    flows: tuple[str, ...] = (
        "realnvp", "nsf_coupling", "glow", "maf", "iaf", "nsf_autoregressive",
        "bernstein_autoregressive", "planar", "sylvester",
    )  # fmt: skip
    event_size: int = 64  # Dimensions of their events.
    num_layers: int = 5  # Their layers.
    hidden_size: int = 128  # Units of each of two hidden layers.
    batch_size: int = 1_000  # Events.
    output: Path = Path("figures/benchmarks")  # Folder that gets one named by the device.
    quick: bool = False  # Small flows, few steps; always on a machine without accelerator.


def main(settings: Settings) -> None:
    """Runs all parts."""
    check(settings, choices={"flows": dxf.flows.__all__, "parts": PARTS})
    device = jax.devices()[0]
    if device.platform == "cpu" and not settings.quick:
        print("There is no accelerator: this is a rehearsal on the CPU, with small flows.")
        settings = Settings(parts=settings.parts, output=settings.output, quick=True)
    folder = settings.output / re.sub(r"\W+", "_", device.device_kind.lower())
    parts = {
        "agreement": lambda: agree(folder, settings),
        "peers": lambda: compare_peers(folder, settings.quick),
        "precision": lambda: precision.main(
            precision.Settings(quick=settings.quick, output=folder)
            if settings.quick
            else precision.Settings(flows=("maf", "nsf_coupling"), num_steps=2_000, output=folder)
        ),
        "toys": lambda: fit_toys(folder / "toys", settings.quick),
    }
    for name in settings.parts:
        print(f"\n{name}")
        parts[name]()


def agree(folder: Path, settings: Settings) -> None:
    """Measures, prints and writes `agreement.csv`."""
    table = Table(folder / "agreement.csv", COLUMNS)
    for row in progress([as_row(flow=flow) for flow in settings.flows], "{flow}", "flow"):
        for name in PRECISIONS:
            with jax.default_matmul_precision(name):
                errors = measure(row["flow"], settings)
            table.add(row | as_row(precision=name) | errors | machine_cells())
    print(format_rows(table.rows, COLUMNS))


def measure(name: str, settings: Settings) -> Row:
    """Errors of a flow with random weights, under the precision in force."""
    hidden_sizes = (settings.hidden_size, settings.hidden_size)
    sizes = {} if name == "planar" else {"hidden_sizes": hidden_sizes}
    build = getattr(dxf.flows, name)
    x = jax.random.normal(jax.random.key(0), (settings.batch_size, settings.event_size))

    def make() -> dxf.Flow:
        return dxf.transform(
            lambda: build(settings.event_size, num_layers=settings.num_layers, **sizes)
        )

    flow = make()
    params = _random(flow.init(jax.random.key(1), x))
    z, log_det = flow.inverse(params, x)
    back, log_det_back = flow.forward(params, z)
    log_prob = np.asarray(flow.log_prob(params, x))
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        wide = jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float64), (params, x))
        exact = np.asarray(make().log_prob(*wide))
    cells = {
        "round_trip": jnp.abs(back - x).max(),
        "log_det": jnp.abs(log_det + log_det_back).max(),
        "log_prob": np.abs(log_prob - exact).max(),
    }
    if name in _MASKED:
        cells["pass_against_steps"] = pass_against_steps(x, settings.hidden_size)
    return {key: f"{float(value):.1e}" for key, value in cells.items()}


def pass_against_steps(x: jax.Array, hidden_size: int) -> jax.Array:
    """The largest difference of a masked network's parameters, as a share of the largest."""
    event_size = x.shape[-1]

    def both(x):
        made = modules.MADE(event_size, 3, (hidden_size, hidden_size), jnp.tanh)
        at_once = made(x)
        _, by_steps = made.unfold(lambda params, x_d: (x_d, params), x.T, x.shape[:1])
        return at_once, jnp.moveaxis(by_steps, 0, -2)

    network = hk.without_apply_rng(hk.transform(both))
    params = _random(network.init(jax.random.key(2), x))
    at_once, by_steps = jax.jit(network.apply)(params, x)
    return jnp.abs(at_once - by_steps).max() / jnp.abs(at_once).max()


def compare_peers(folder: Path, quick: bool) -> None:
    """The comparison with the peers that are installed."""
    peers_here = tuple(name for name in _PEERS if importlib.util.find_spec(name) is not None)
    libraries = ("ours", "bare", *peers_here)
    if quick:
        settings = peers_settings.Settings(
            quick=True, flows=("realnvp",), libraries=libraries[:2], starts=False, output=folder
        )
    else:
        settings = peers_settings.Settings(
            libraries=libraries, seconds=1.0, starts=False, output=folder
        )
    peers.main(settings)


def fit_toys(folder: Path, quick: bool) -> None:
    """Fits of two toy densities."""
    options: dict[str, Any] = (
        {"quick": True} if quick else {"densities": ("gaussian_blobs", "energy1")}
    )
    toy_densities.main(toy_densities.Settings(output=folder, **options))


@jax.jit
def _random(params):
    """Parameters away from the identity."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(3), len(leaves))
    return tree.unflatten(
        leaf + 0.1 * jax.random.normal(key, leaf.shape, leaf.dtype)
        for leaf, key in zip(leaves, keys, strict=True)
    )


if __name__ == "__main__":
    use_compilation_cache()
    run("experiments.benchmarks.accelerator", main, Settings)
