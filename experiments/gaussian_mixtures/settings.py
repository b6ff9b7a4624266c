"""Settings of the experiment on mixtures of Gaussians."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from experiments._command import quick_means
from experiments.flow_zoo.zoo import ZOO

# Flows for one and for two dimensions. On the line, affine layers give a single Gaussian, and an
# autoregressive flow is the same as a coupling; in the plane, `bernstein` and `independent` cannot
# represent dependence.
FLOWS: dict[int, tuple[str, ...]] = {
    1: (
        "planar", "radial", "sylvester", "nsf_coupling", "bernstein",
        "coupling-logistic_mixture", "coupling-deep_sigmoidal", "coupling-sum_of_squares",
    ),
    2: tuple(name for name in ZOO if name not in ("bernstein", "independent-spline")),
}  # fmt: skip


@quick_means(num_layers=4, hidden_sizes=(16,), num_steps=500, num_draws=10_000)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Flows fitted to mixtures of Gaussians: a table, and a picture of each fit."""

    # Flows to fit, each in those dimensions where it makes sense.
    flows: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--flow"])] = (
        "planar", "radial", "sylvester", "realnvp", "glow", "maf", "nsf_coupling",
        "nsf_autoregressive", "bernstein", "bernstein_autoregressive",
    )  # fmt: skip
    dimensions: tuple[int, ...] = (1, 2)  # 1 for the mixture on the line, 2 for that in the plane.
    actnorm: bool = False  # Put an `ActNormLayer` between layers.
    lu: bool = False  # Put an `LULinearLayer` there, in place of what mixes the dimensions.
    num_layers: int = 8  # Layers of each flow; four times as many thin ones; `bernstein` has one.
    hidden_sizes: tuple[int, ...] = (64, 64)  # Hidden units of each network.
    num_steps: int = 3_000  # Training steps of each fit.
    batch_size: int = 256  # Fresh samples of each step.
    num_draws: int = 100_000  # Samples that score a fit.
    seed: int = 0  # Of the fits and of the samples.
    output: Path = Path("figures/gaussian_mixtures")  # Folder to write into.
    quick: bool = False  # Small flows and few steps.
