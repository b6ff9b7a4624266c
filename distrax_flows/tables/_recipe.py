"""The flow and the training that `fit_table` chooses by the size of a table."""

import dataclasses

from distrax_flows._core.checks import check_choice, check_positive, check_positive_int, check_sizes

__all__ = ["FLOWS", "Recipe", "recipe_for"]

FLOWS = ("nsf_coupling", "nsf_autoregressive", "realnvp", "maf")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A flow and its training.

    Attributes:
        flow: "nsf_coupling", "nsf_autoregressive", "realnvp" or "maf", with learned linear maps
            between their layers.
        num_layers: number of layers.
        hidden_sizes: hidden units of each network.
        num_bins: bins of each spline; the other flows have none.
        learning_rate: peak learning rate of Adam, after which a cosine decays it to zero.
        weight_decay: each step shrinks the networks' matrices by this times the learning rate.
        ema_decay: decay of the moving average of the parameters, which is validated and kept.
        batch_size: rows per batch, at most those of the training data.
        num_steps: maximum number of steps.
        eval_every: steps between validations.
        patience: validations without improvement that end a fit.
        num_members: number of fits, whose densities are averaged. Each holds out its share of the
            rows for validation, so that together they train on all rows; a single one holds out a
            tenth.

    Raises:
        ValueError: a value is out of range.
    """

    flow: str = "nsf_coupling"
    num_layers: int = 4
    hidden_sizes: tuple[int, ...] = (64,)
    num_bins: int = 4
    learning_rate: float = 1e-3
    weight_decay: float = 10.0
    ema_decay: float = 0.99
    batch_size: int = 64
    num_steps: int = 3_000
    eval_every: int = 50
    patience: int = 20
    num_members: int = 5

    def __post_init__(self):
        check_choice("flow", self.flow, FLOWS)
        check_sizes("hidden_sizes", self.hidden_sizes)
        counts = ["num_layers", "num_bins", "batch_size", "num_steps", "eval_every", "patience"]
        for name in [*counts, "num_members"]:
            check_positive_int(name, getattr(self, name))
        check_positive("learning_rate", self.learning_rate)
        if not self.weight_decay >= 0:
            raise ValueError(f"`weight_decay` must be at least 0; got {self.weight_decay}.")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"`ema_decay` must be in [0, 1); got {self.ema_decay}.")


def recipe_for(num_rows: int, num_columns: int) -> Recipe:
    """Return the recipe for tables of a size, the same for sizes that are close.

    Few rows get small networks, heavy weight decay and several members; many rows get larger
    networks, more steps and one member.

    Args:
        num_rows: number of rows.
        num_columns: number of columns.

    Raises:
        ValueError: a number is less than 1.
    """
    check_positive_int("num_columns", num_columns)
    check_positive_int("num_rows", num_rows)
    if num_rows < 400:
        return Recipe(num_layers=2, hidden_sizes=(32,), learning_rate=3e-4)
    if num_rows < 3_000:
        return Recipe()
    if num_rows < 30_000:
        return Recipe(
            num_layers=6,
            hidden_sizes=(64, 64),
            num_bins=8,
            weight_decay=1.0,
            ema_decay=0.999,
            batch_size=256,
            num_steps=8_000,
            eval_every=250,
            patience=6,
            num_members=2,
        )
    return Recipe(
        num_layers=8,
        hidden_sizes=(128, 128),
        num_bins=8,
        weight_decay=0.0,
        ema_decay=0.999,
        batch_size=512,
        num_steps=30_000,
        eval_every=1_000,
        patience=5,
        num_members=1,
    )
