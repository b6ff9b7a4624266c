"""Measurements of a law: errors with their bounds and locations."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from distrax_flows._core.types import ArrayLike

__all__ = ["Check", "close", "finite", "none", "same", "show"]

_SHAPE = (
    "give the output and the log-det the full batch shape, by jnp.broadcast_to; distrax sums a "
    "log-det that lacks it to a scalar without a word"
)
_NOT_FINITE = (
    "jnp.where hands the NaN of a branch not taken on to the gradient: make the argument of sqrt, "
    "log or a division safe first; and bound what is learned before exp"
)


class Check(NamedTuple):
    """One measurement of a law.

    Attributes:
        what: quantity measured, and its direction.
        error: the worst error, or the number of offenders; infinite if NaN occurred.
        bound: the largest error allowed; 0 for a number of offenders.
        where: location of the worst error, and the value found there.
        remedy: the usual cause of a larger error.
    """

    what: str
    error: float
    bound: float
    where: str = ""
    remedy: str = ""

    @property
    def holds(self) -> bool:
        """Whether the error stays within the bound."""
        return self.error <= self.bound


def close(
    what: str, got: np.ndarray, wanted: np.ndarray, bound: float, events: np.ndarray, remedy: str
) -> Check:
    """Compare values of events `[N, ...]`; relative where they exceed one."""
    if got.shape != wanted.shape:
        return same(f"shape of the {what}", got.shape, wanted.shape, _SHAPE)
    got, wanted = (np.reshape(values, (len(events), -1)) for values in (got, wanted))
    with np.errstate(all="ignore"):
        errors = np.abs(got - wanted) / np.maximum(1.0, np.abs(wanted))
    errors = np.where(np.isnan(errors), np.inf, errors)
    n, i = np.unravel_index(np.argmax(errors), errors.shape)
    found = f"got {got[n, i]:.6g}, expected {wanted[n, i]:.6g}"
    return Check(what, float(errors[n, i]), bound, f"at {_at(events, n)}: {found}", remedy)


def same(what: str, got: Any, wanted: Any, remedy: str = _SHAPE) -> Check:
    """Compare two shapes, dtypes or counts."""
    return Check(what, float(got != wanted), 0.0, f"got {got}, expected {wanted}", remedy)


def none(what: str, offenders: Sequence[str], remedy: str) -> Check:
    """Count offenders."""
    where = f"{len(offenders)}: {', '.join(offenders[:8])}{', ...' * (len(offenders) > 8)}"
    return Check(what, float(len(offenders)), 0.0, where, remedy)


def finite(what: str, tree: Any, events: np.ndarray) -> Check:
    """Count the events `[N, ...]` that have a non-finite value in the tree, `[N, ...]`."""
    bad = np.zeros(len(events), bool)
    for leaf in jax.tree.leaves(tree):
        bad |= ~np.isfinite(leaf.reshape(len(events), -1)).all(axis=1)
    where = f"not finite for {bad.sum()} of {bad.size} events, first at {_at(events, bad.argmax())}"
    return Check(what, float(bad.sum()), 0.0, where, _NOT_FINITE)


def show(values: ArrayLike) -> str:
    """Show an array on one line."""
    text = np.array2string(
        np.asarray(values),
        threshold=8,
        separator=", ",
        formatter={"float_kind": lambda x: f"{x:.6g}"},
    )
    return " ".join(text.split())


def _at(events: np.ndarray, n: Any) -> str:
    return f"event {n} = {show(events[n])}"
