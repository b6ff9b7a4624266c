"""Flows, and their sizes and training on each data set."""

from collections.abc import Callable
from typing import Any, NamedTuple

import distrax
import jax

import distrax_flows as dxf

_LARGE = 20_000  # rows from which a file does not count as small


class Recipe(NamedTuple):
    """Sizes and training of a flow."""

    num_layers: int  # layers
    hidden_sizes: tuple[int, ...]  # hidden units of each network
    num_bins: int  # bins of each spline; other flows have none
    learning_rate: float  # initial rate of Adam; a cosine decays it to zero
    # a step shrinks the networks' matrices by this times the learning rate
    weight_decay: float
    ema_decay: float  # of the moving average of the parameters, which is validated and kept
    batch_size: int  # rows of a batch, at most all rows
    num_steps: int  # maximum number of steps
    eval_every: int  # steps between validations
    patience: int  # validations without improvement that end a fit


def _lu(x: jax.Array) -> distrax.Bijector:
    return dxf.modules.LULinearLayer()(x)


def _splines(structure: Callable[..., distrax.Transformed]) -> Callable[..., distrax.Transformed]:
    """Splines alone, with linear maps between layers, as in the paper on spline flows."""

    def build(size: int, num_bins: int, **options: Any) -> distrax.Transformed:
        return structure(size, dxf.families.spline(num_bins), between=_lu, **options)

    return build


FLOWS: dict[str, Callable[..., distrax.Transformed]] = {
    "maf": lambda size, num_bins, **options: dxf.flows.maf(size, **options),
    "realnvp": lambda size, num_bins, **options: dxf.flows.realnvp(size, **options),
    "nsf_coupling": _splines(dxf.flows.coupling),
    "nsf_autoregressive": _splines(dxf.flows.autoregressive),
    "glow": lambda size, num_bins, **options: dxf.flows.glow(size, **options),
}


def recipe_for(dataset: str, flow: str, num_rows: int) -> Recipe:
    """The recipe of a flow on a named set, or on another one with that many training rows."""
    if dataset in _AFFINE_SIZES:
        num_layers, units = _SPLINE_SIZES if flow.startswith("nsf") else _AFFINE_SIZES[dataset]
        recipe = _LARGE_SET._replace(num_layers=num_layers, hidden_sizes=(units, units))
        # The smallest of the five by far.
        return recipe._replace(weight_decay=1.0) if dataset == "miniboone" else recipe
    if dataset not in _SMALL_SETS and num_rows >= _LARGE:
        return _LARGE_SET
    with_linear_maps, without = _SMALL_SETS.get(dataset, _SMALL_SETS["breast_cancer"])
    return without if flow in _WITHOUT_LINEAR_MAPS else with_linear_maps


# With few rows, heavy weight decay pulls networks towards constants. With linear maps between
# the layers, a Gaussian of any covariance remains. MAF and RealNVP have no such maps: they need
# larger networks, with less decay, to represent linear dependence, too.
_WITHOUT_LINEAR_MAPS = ("maf", "realnvp")
_SMALL_SET = Recipe(
    num_layers=4,
    hidden_sizes=(64,),
    num_bins=4,
    learning_rate=1e-3,
    weight_decay=10.0,
    ema_decay=0.99,
    batch_size=64,
    num_steps=5_000,
    eval_every=50,
    patience=20,
)
_WINE = _SMALL_SET._replace(hidden_sizes=(32,), learning_rate=3e-4, eval_every=25, patience=30)
_DIGITS = _SMALL_SET._replace(batch_size=128)
_SMALL_SETS = {
    "breast_cancer": (_SMALL_SET, _SMALL_SET._replace(hidden_sizes=(128,), weight_decay=3.0)),
    "wine": (_WINE, _WINE),
    "digits": (_DIGITS, _DIGITS._replace(hidden_sizes=(128,), weight_decay=3.0)),
}
_LARGE_SET = Recipe(
    num_layers=8,
    hidden_sizes=(128, 128),
    num_bins=8,
    learning_rate=5e-4,
    weight_decay=0.0,
    ema_decay=0.999,
    batch_size=256,
    num_steps=200_000,
    eval_every=2_000,
    patience=15,
)
# Layers, and units of two hidden layers, of MAF and RealNVP: from `run_experiments.py` in
# https://github.com/gpapamak/maf, which tries 5 and 10 layers with one and two hidden layers each,
# and for BSDS300 with 512 and 1024 units. Glow's are the same.
_AFFINE_SIZES = {
    "power": (10, 100),
    "gas": (10, 100),
    "hepmass": (5, 512),
    "miniboone": (5, 512),
    "bsds300": (5, 1024),
}
# Those of neural spline flows: the defaults of `experiments/uci.py` in
# https://github.com/bayesiains/nsf, where networks are residual. The paper's own may differ by set.
_SPLINE_SIZES = (10, 256)
