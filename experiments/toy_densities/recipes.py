"""How each flow is built and trained."""

import dataclasses
from collections.abc import Callable, Sequence

import distrax
import jax
import optax

import distrax_flows as dxf


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a flow is built and trained.

    Attributes:
        label: its name in pictures.
        build: from the number of layers and the hidden sizes to the flow.
        means: in words, what helps it.
        optimizer: from the number of steps to the optimizer; that of `dxf.fit` if None.
        ema_decay: as in `dxf.fit`.
    """

    label: str
    build: Callable[[int, Sequence[int]], distrax.Transformed]
    means: str
    optimizer: Callable[[int], optax.GradientTransformation] | None = None
    ema_decay: float | None = None

    def all_means(self) -> str:
        """What helps the flow, the moving average included."""
        return self.means + ("" if self.ema_decay is None else f"; EMA {self.ema_decay}")


def steep_silu(x: jax.Array) -> jax.Array:
    """`silu(2x)`: smooth, and as bent within the data's range as affine layers need."""
    return jax.nn.silu(2 * x)


def affine(build: Callable[..., distrax.Transformed]) -> Callable[..., distrax.Transformed]:
    """An affine flow of the plane, standardised, with smooth networks."""

    def sized(num_layers: int, hidden_sizes: Sequence[int]) -> distrax.Transformed:
        return build(
            2,
            num_layers=num_layers,
            hidden_sizes=hidden_sizes,
            activation=steep_silu,
            standardize=True,
        )

    return sized


RECIPES = {
    "maf": Recipe("MAF", affine(dxf.flows.maf), "standardised; silu(2x) networks", ema_decay=0.999),
    "realnvp": Recipe(
        "RealNVP", affine(dxf.flows.realnvp), "standardised; silu(2x) networks", ema_decay=0.999
    ),
    "nsf_coupling": Recipe(
        "Spline coupling",
        lambda num_layers, hidden_sizes: dxf.flows.coupling(
            2,
            dxf.families.chain(dxf.families.affine(), dxf.families.spline(num_bins=12)),
            num_layers=num_layers,
            hidden_sizes=hidden_sizes,
            standardize=True,
        ),
        "standardised; spline of 12 bins on [-5, 5] with linear tails, then affine, per coupling",
        ema_decay=0.999,
    ),
    "glow": Recipe(
        "Glow", affine(dxf.flows.glow), "standardised; silu(2x) networks", ema_decay=0.999
    ),
    "hint": Recipe(
        "HINT", affine(dxf.flows.hint), "standardised; silu(2x) networks", ema_decay=0.999
    ),
}
