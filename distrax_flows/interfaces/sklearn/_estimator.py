"""Common parts of both estimators: parameters, training, and evaluation in chunks of few sizes."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from distrax_flows._core.checks import (
    check_positive,
    check_positive_int,
    check_sizes,
)
from distrax_flows._core.threads import one_blas_thread
from distrax_flows._core.types import ArrayLike
from distrax_flows.functional.flow import Flow
from distrax_flows.interfaces.sklearn._flows import FlowSpec, MakeFlow, flow_of
from distrax_flows.tables._recipe import Recipe, recipe_for
from distrax_flows.training import Batch, cosine_adam
from distrax_flows.training._fit import fit

__all__ = ["FlowEstimator", "distinct", "filled", "float_type", "map_rows", "pieces", "seed_of"]

_INIT_ROWS = 2**12
# The most weight decay of regressions; with 3, noise that depends on few columns becomes too even.
_MAX_DECAY, _MAX_DECAY_OF_FEW, _FEW_COLUMNS = 3.0, 1.0, 4
_FEW_HELD_OUT = 1_000  # with fewer rows than these, a tenth says little
_FEW_ROWS, _MANY_ROWS = 2**8, 2**13  # rows evaluated together


class FlowEstimator(BaseEstimator):
    """Base class of the estimators, which describe its parameters."""

    def __init__(
        self,
        flow: str | MakeFlow = "auto",
        *,
        num_layers: int | None = None,
        hidden_sizes: Sequence[int] | None = None,
        num_steps: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        weight_decay: float | None = None,
        validation_fraction: float | None = None,
        patience: int | None = None,
        random_state: Any = None,
        verbose: bool | int = False,
    ):
        self.flow = flow
        self.num_layers = num_layers
        self.hidden_sizes = hidden_sizes
        self.num_steps = num_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state
        self.verbose = verbose

    @property
    def flow_(self) -> Flow:
        """The flow, as `distrax_flows.transform` returns it."""
        check_is_fitted(self)
        return flow_of(self._spec)

    def _choose(self, num_rows: int, num_columns: int, is_conditional: bool) -> "Choice":
        """Return the choice for a table, with the parameters that the user gave.

        Raises:
            ValueError: a parameter is out of range, or a size is given beside a function.
        """
        given: dict[str, Any] = {}
        for name in ("num_layers", "hidden_sizes"):
            value = getattr(self, name)
            if value is not None and callable(self.flow):
                raise ValueError(
                    f"`{name}` must be None where `flow` is a function, which chooses its own "
                    f"sizes; got {name}={value!r}."
                )
        for name in ("num_layers", "num_steps", "batch_size", "patience"):
            if getattr(self, name) is not None:
                given[name] = check_positive_int(name, getattr(self, name))
        if self.hidden_sizes is not None:
            given["hidden_sizes"] = check_sizes("hidden_sizes", self.hidden_sizes)
        if self.learning_rate is not None:
            given["learning_rate"] = check_positive("learning_rate", self.learning_rate)
        if self.weight_decay is not None:
            if not 0 <= self.weight_decay < float("inf"):
                raise ValueError(
                    "`weight_decay` must be a finite number of at least 0; got "
                    f"weight_decay={self.weight_decay!r}."
                )
            given["weight_decay"] = float(self.weight_decay)
        if self.validation_fraction is not None and not 0 <= self.validation_fraction < 1:
            raise ValueError(
                "`validation_fraction` must be at least 0, for none, and less than 1; got "
                f"validation_fraction={self.validation_fraction!r}."
            )
        choice = choose(num_rows, num_columns, is_conditional)
        return Choice(
            dataclasses.replace(choice.recipe, **given),
            choice.validation if self.validation_fraction is None else self.validation_fraction,
        )

    def _train(self, spec: FlowSpec, choice: "Choice", data: Batch) -> None:
        """Fit a flow to distinct rows, and keep the result."""
        flow, (recipe, validation) = flow_of(spec), choice
        init_key, key = jax.random.split(jax.random.key(seed_of(self.random_state)))
        num_rows = len(data.x)
        num_held_out = max(1, round(validation * num_rows)) if validation else 0
        if num_held_out >= num_rows:
            num_held_out = 0
        num_trained = num_rows - num_held_out
        with one_blas_thread():
            fitted = fit(
                flow,
                data.x,
                key=key,
                context=data.context,
                weights=data.weights,
                params=flow.init(init_key, *_of_init(data)),
                num_steps=recipe.num_steps,
                # Few rows have few batch sizes, so that fits share compiled code.
                batch_size=min(recipe.batch_size, 1 << (num_trained.bit_length() - 1)),
                validation=validation if num_held_out else None,
                patience=recipe.patience if num_held_out else None,
                eval_every=recipe.eval_every if num_held_out else None,
                ema_decay=recipe.ema_decay,
                optimizer=cosine_adam(
                    recipe.num_steps, recipe.learning_rate, weight_decay=recipe.weight_decay
                ),
                progress=bool(self.verbose),
            )
        self._spec = spec
        self.recipe_ = recipe
        self.params_ = jax.tree.map(np.asarray, fitted.params)  # these pickle on any device
        self.history_ = fitted.history


class Choice(NamedTuple):
    """Choices made from the size of a table.

    Attributes:
        recipe: the flow and its training; a single fit.
        validation: fraction of the rows that is held out; 0 for none.
    """

    recipe: Recipe
    validation: float


def choose(num_rows: int, num_columns: int, is_conditional: bool) -> Choice:
    """Return the choice for a table; the same for close sizes, so that fits share compiled code."""
    recipe = dataclasses.replace(recipe_for(num_rows, num_columns), num_members=1)
    validation = 0.2 if num_rows < _FEW_HELD_OUT else 0.1
    if not is_conditional:
        return Choice(recipe, validation)
    # Only the networks see the context: they need two hidden layers, larger steps, and decay that
    # does not make them constant. With few columns they overfit little.
    most_decay = _MAX_DECAY if num_columns > _FEW_COLUMNS else _MAX_DECAY_OF_FEW
    recipe = dataclasses.replace(
        recipe,
        hidden_sizes=recipe.hidden_sizes[:1] * 2,
        learning_rate=1e-3,
        weight_decay=min(recipe.weight_decay, most_decay),
    )
    return Choice(recipe, validation)


def seed_of(random_state: Any) -> int:
    """Return a seed for JAX from an integer, a `RandomState` or None (a new seed)."""
    return int(check_random_state(random_state).randint(2**31 - 1))


def float_type() -> np.dtype:
    """Return the dtype in which JAX computes with floats."""
    return jnp.result_type(float)


class Distinct(NamedTuple):
    """Distinct rows.

    Attributes:
        rows: `[N, D]`, sorted.
        weights: `[N]`, the sum of the weights of each, all above 0; None if they are equal.
    """

    rows: np.ndarray
    weights: np.ndarray | None


def distinct(rows: np.ndarray, weights: np.ndarray | None) -> Distinct:
    """Merge equal rows, and drop those of weight zero.

    So a weight of two equals a row that occurs twice, bit for bit; the order of the rows changes
    nothing; and copies of a row are never held out from each other.
    """
    if weights is None:
        weights = np.ones(len(rows))
    rows, weights = rows[weights > 0], weights[weights > 0]
    order = np.lexsort(rows.T[::-1])
    rows, weights = rows[order], weights[order]
    is_new = np.append(True, (rows[1:] != rows[:-1]).any(axis=1))
    sums = np.add.reduceat(weights, np.flatnonzero(is_new))
    return Distinct(rows[is_new], None if (sums == sums[0]).all() else sums)


def _of_init(data: Batch) -> tuple[np.ndarray, np.ndarray | None]:
    """Return a fixed number of rows, each as often as its weight says, to initialise a flow."""
    num_rows = len(data.x)
    weights = np.ones(num_rows) if data.weights is None else np.asarray(data.weights, np.float64)
    total = np.cumsum(weights)
    at = (np.arange(_INIT_ROWS) + 0.5) / _INIT_ROWS * total[-1]
    rows = np.minimum(np.searchsorted(total, at), num_rows - 1)
    x, context = jax.tree.map(lambda table: np.asarray(table)[rows], (data.x, data.context))
    return x, context


def pieces(num_rows: int, sizes: Sequence[int] = (_FEW_ROWS, _MANY_ROWS)) -> Iterator[slice]:
    """Cut rows into slices of few sizes, the last of which may reach beyond the end.

    So functions of the rows are compiled once for each size, whatever the number of rows.
    """
    start = 0
    while start < num_rows:
        fitting = [size for size in sizes if start + size <= num_rows]
        stop = start + max(fitting, default=min(sizes))
        yield slice(start, stop)
        start = stop


def filled(table: np.ndarray, piece: slice) -> np.ndarray:
    """Return a piece of a table, filled up with copies of its last row."""
    rows = table[piece]
    surplus = piece.stop - piece.start - len(rows)
    return np.pad(rows, ((0, surplus), (0, 0)), mode="edge")


def map_rows(
    f: Callable[..., ArrayLike], *tables: np.ndarray, sizes: Sequence[int] = (_FEW_ROWS, _MANY_ROWS)
) -> np.ndarray:
    """Call a function on rows of tables, piece by piece, and join the results, in float64."""
    num_rows = len(tables[0])
    results = [
        np.asarray(f(*(filled(table, piece) for table in tables)), np.float64)
        for piece in pieces(num_rows, sizes)
    ]
    return np.concatenate(results)[:num_rows]
