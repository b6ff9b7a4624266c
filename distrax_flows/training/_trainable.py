"""Choice of the parameters that a fit trains."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import haiku as hk

from distrax_flows.functional.flow import Params
from distrax_flows.modules import is_fixed

__all__ = ["TrainableFn", "trained_names"]

# Maps a module name, a parameter name and its value to whether the parameter is trained.
TrainableFn: TypeAlias = Callable[[str, str, Any], bool]


def trained_names(
    params: Params, trainable: TrainableFn | Mapping[str, Mapping[str, bool]] | None
) -> frozenset[tuple[str, str]]:
    """Return the `(module, name)` of the parameters to train, without fixed ones.

    Raises:
        TypeError: `trainable` is neither a function nor a dictionary.
        ValueError: the entries of a dictionary are not those of the parameters, or nothing is
            trained.
    """
    names = {(module, name): value for module, name, value in hk.data_structures.traverse(params)}
    if trainable is None:
        chosen = set(names)
    elif isinstance(trainable, Mapping):
        entries = {
            (module, name): entry for module, name, entry in hk.data_structures.traverse(trainable)
        }
        if entries.keys() != names.keys():
            different = sorted(":".join(name) for name in entries.keys() ^ names.keys())
            raise ValueError(
                "`trainable` must have the entries of the parameters; these differ: "
                f"{different[:3]}{' and more' if len(different) > 3 else ''}. "
                "`jax.tree.map(lambda _: True, params)` has them all."
            )
        chosen = {name for name, entry in entries.items() if entry}
    elif callable(trainable):
        chosen = {name for name, value in names.items() if trainable(*name, value)}
    else:
        raise TypeError(
            "`trainable` must be a function `(module_name, name, value) -> bool`, or a dictionary "
            f"like the parameters; got {trainable!r}."
        )
    trained = frozenset(name for name in chosen if not is_fixed(*name))
    if trainable is not None and not trained:
        raise ValueError(
            "`trainable` must leave something to train; it chose none of the parameters "
            f"{sorted(':'.join(name) for name in names if not is_fixed(*name))}."
        )
    return trained
