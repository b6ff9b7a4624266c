"""Saved flows: one self-describing file that needs no other code.

The file is a zip archive of `flow.json`, which describes it to people and programs; the arrays,
which `numpy.load` reads from it; and `make.pkl`, the function that builds the flow.
"""

import json
import os
import pickle
import platform
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
import jax
import jax.numpy as jnp
import numpy as np

from distrax_flows._core.files import open_atomic
from distrax_flows._core.versions import source_of, versions, warn_of_versions
from distrax_flows.functional._transform import evaluation, transform, transform_with_state
from distrax_flows.functional.flow import Flow, Params, StatefulFlow

__all__ = ["LoadError", "Loaded", "load", "save"]

_FORMAT = 1


class LoadError(Exception):
    """A file that is not a saved flow, is damaged, or cannot be used here."""


class Loaded(NamedTuple):
    """A flow loaded from a file.

    Attributes:
        flow: the flow, of the saved type.
        params: its parameters.
        info: content of `flow.json`: versions, shapes of parameters, source of the builder.
    """

    flow: Any
    params: Params
    info: dict[str, Any]


def save(path: str | os.PathLike, flow: Flow | StatefulFlow, params: Params) -> None:
    """Save a flow with its parameters as one file, which `load` can read in any other process.

    The file holds the function given to `transform`, and everything it refers to. An importable
    function, or a `functools.partial` of one such as
    `functools.partial(flows.maf, 2, num_layers=8)`, is stored by name. A lambda or a function of a
    script is stored as code, which only the same minor version of Python can read.

    The file is written under another name and then renamed: an earlier file at `path` stays until
    the new one is complete.

    Args:
        path: path of the file; its folder must exist.
        flow: the flow.
        params: its parameters, such as `fit(...).params`; also those of an ensemble.

    Raises:
        TypeError: `flow` is not a flow, or its builder cannot be pickled.
        FileNotFoundError: the folder of `path` does not exist.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp, os, tempfile
        >>> flow = dxf.transform(lambda: dxf.flows.maf(2, num_layers=2))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 2)))
        >>> path = os.path.join(tempfile.mkdtemp(), "maf.flow")
        >>> dxf.save(path, flow, params)
        >>> loaded = dxf.load(path)
        >>> print(f"{loaded.flow.log_prob(loaded.params, jnp.zeros(2)):.4f}")
        -1.8379
    """
    if not isinstance(flow, Flow | StatefulFlow):
        raise TypeError(f"`flow` must be what `transform` returns; got {type(flow).__name__}.")
    build, make = flow.builder
    pickled, by_name = _pickled(make)
    leaves, treedef = jax.tree.flatten(params)
    leaves = [np.asarray(leaf) for leaf in leaves]
    info = {
        "format": _FORMAT,
        "build": build.__name__,
        "make": {"stored": "by name" if by_name else "by code", "source": source_of(make)},
        "params": _encoded(jax.tree.unflatten(treedef, range(len(leaves)))),
        "arrays": [{"dtype": leaf.dtype.name, "shape": leaf.shape} for leaf in leaves],
        "versions": versions(),
    }
    with open_atomic(path) as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("flow.json", json.dumps(info, indent=1))
        archive.writestr("make.pkl", pickled)
        for index, leaf in enumerate(leaves):
            with archive.open(f"arrays/{index}.npy", "w") as entry:
                np.lib.format.write_array(entry, leaf, allow_pickle=False)


def load(path: str | os.PathLike, make: Callable | None = None) -> Loaded:
    """Load what `save` wrote.

    The builder in the file is code, which `load` runs. Only load files you trust, as with any
    pickle.

    Args:
        path: path of the file.
        make: builder to use in place of the one in the file, if that cannot be used. No code in the
            file is then run.

    Returns:
        The flow, its parameters, and `flow.json`, which records the versions it was saved with.
        Other versions give a warning.

    Raises:
        LoadError: the file is not a saved flow, is damaged or of a later format; its builder cannot
            be used by this version of Python; or its arrays are float64 and JAX's x64 mode is off.
        FileNotFoundError: the file does not exist.
    """
    try:
        with Path(path).open("rb") as file, zipfile.ZipFile(file) as archive:
            info = json.loads(archive.read("flow.json"))
            _check_format(path, info)
            leaves = [
                _array(archive, f"arrays/{index}.npy", spec["dtype"])
                for index, spec in enumerate(info["arrays"])
            ]
            pickled = archive.read("make.pkl")
    except (FileNotFoundError, IsADirectoryError, PermissionError, LoadError):
        raise
    except Exception as error:  # a flipped bit in a header raises all kinds of errors
        raise LoadError(
            f"{path} must be a file that `save` wrote; it is another one, or damaged: {error}."
        ) from error
    if make is None:
        make = _unpickled(path, info, pickled)
    warn_of_versions(f"{path}", info["versions"])
    return Loaded(_BUILDS[info["build"]](make), _decoded(info["params"], leaves), info)


_BUILDS = {build.__name__: build for build in (transform, transform_with_state, evaluation)}


def _check_format(path: Any, info: dict[str, Any]) -> None:
    if info["format"] > _FORMAT:
        raise LoadError(
            f"{path} has format {info['format']}, of distrax_flows "
            f"{info['versions']['distrax_flows']}; this version reads up to {_FORMAT}. Upgrade."
        )
    dtypes = {spec["dtype"] for spec in info["arrays"]}
    wide = [dtype for dtype in dtypes if jax.dtypes.canonicalize_dtype(dtype) != dtype]
    if wide:
        raise LoadError(
            f"{path} holds arrays of {wide}, which JAX would round. Enable them: "
            '`jax.config.update("jax_enable_x64", True)`.'
        )


def _array(archive: zipfile.ZipFile, name: str, dtype: str) -> jax.Array:
    with archive.open(name) as entry:
        values = np.lib.format.read_array(entry, allow_pickle=False)
    return jnp.asarray(values.view(jnp.dtype(dtype)))  # NumPy has no name for bfloat16


def _pickled(make: Callable) -> tuple[bytes, bool]:
    """Return the pickled function, and whether it is stored by name alone."""
    try:
        by_name = pickle.dumps(make, protocol=4)  # that of Python 3.11 to 3.13
        if b"__main__" not in by_name:
            return by_name, True
    except Exception:  # of any kind: pickle searches all modules for the function
        pass
    try:
        return cloudpickle.dumps(make), False
    except Exception as error:
        raise TypeError(
            "`flow` must be built by a function that can be pickled; got one that refers to "
            f"something else: {error}. Let it make what it needs itself."
        ) from error


def _unpickled(path: Any, info: dict[str, Any], pickled: bytes) -> Callable:
    here, there = (
        version.split(".")[:2]
        for version in (platform.python_version(), info["versions"]["python"])
    )
    if info["make"]["stored"] == "by code" and here != there:
        raise LoadError(
            f"{path} holds the code of a function for Python {'.'.join(there)}, which "
            f"{'.'.join(here)} cannot run. Write it again, and pass it as `load(path, make=...)`; "
            "saved as a `functools.partial` of a builder, it would load in any version. "
            f"Its source was:\n{info['make']['source']}"
        )
    try:
        return pickle.loads(pickled)
    except Exception as error:
        raise LoadError(
            f"The function in {path} that builds the flow cannot be loaded: "
            f"{type(error).__name__}: {error}. Make what it imports importable, or give another: "
            "`load(path, make=...)`."
        ) from error


def _encoded(tree: Any) -> Any:
    """Encode nested dictionaries and tuples of array numbers as JSON."""
    if isinstance(tree, Mapping):
        return {key: _encoded(entry) for key, entry in tree.items()}
    if isinstance(tree, tuple):
        return [_encoded(entry) for entry in tree]
    if isinstance(tree, int):
        return tree
    raise TypeError(f"`params` must be dictionaries and tuples of arrays; got {type(tree)}.")


def _decoded(encoded: Any, leaves: Sequence[jax.Array]) -> Params:
    if isinstance(encoded, dict):
        return {key: _decoded(entry, leaves) for key, entry in encoded.items()}
    if isinstance(encoded, list):
        return tuple(_decoded(entry, leaves) for entry in encoded)
    return leaves[encoded]
