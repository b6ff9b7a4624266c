"""Finished flows on disk: one file that says what it holds, and needs no other code to be used.

The file is a zip archive: `flow.json`, for people and for programs that want to know what it is;
the arrays; and `make.pkl`, the function that builds the flow.
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

from distrax_flows._versions import source_of, versions, warn_of_versions
from distrax_flows.flow import Flow, Params, StatefulFlow
from distrax_flows.transform import evaluation, transform, transform_with_state

__all__ = ["LoadError", "Loaded", "load", "save"]

_FORMAT = 1


class LoadError(Exception):
    """A file is not a saved flow, or is damaged, or cannot be used here."""


class Loaded(NamedTuple):
    """A flow from a file.

    Attributes:
        flow: the flow, of the type that was saved.
        params: its parameters.
        info: what `flow.json` says: versions, shapes of parameters, source of the builder.
    """

    flow: Any
    params: Params
    info: dict[str, Any]


def save(path: str | os.PathLike, flow: Flow | StatefulFlow, params: Params) -> None:
    """Saves a flow with its parameters as one file, which `load` reads in any other process.

    The file holds the function that was given to `transform`, and what that refers to. A function
    that can be imported, and a `functools.partial` of one such as
    `functools.partial(flows.maf, 2, num_layers=8)`, is stored by its name; a lambda or a function
    of a script by its code, which the same minor version of Python can read.

    Written aside and then renamed: an earlier file of that name stays until the new one is whole.

    Args:
        path: of the file; its folder must exist.
        flow: the flow.
        params: its parameters, as `fit(...).params` gives them; also those of an ensemble.

    Raises:
        TypeError: `flow` is no flow, or its builder cannot be pickled.

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
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("flow.json", json.dumps(info, indent=1))
                archive.writestr("make.pkl", pickled)
                for index, leaf in enumerate(leaves):
                    archive.writestr(f"arrays/{index}", leaf.tobytes())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def load(path: str | os.PathLike, make: Callable | None = None) -> Loaded:
    """Reads what `save` wrote.

    The builder in the file is code, which runs: load only what you trust, as with any pickle.

    Args:
        path: of the file.
        make: builds the flow in place of the function in the file, where that cannot be used;
            nothing in the file is run then.

    Returns:
        The flow, its parameters and `flow.json`, which names the versions it was saved with. Other
        versions give a warning.

    Raises:
        LoadError: the file is no saved flow, or damaged, or of a later format; its builder cannot
            be used by this version of Python; or its arrays are float64 and JAX is not.
        FileNotFoundError: there is no such file.
    """
    try:
        with Path(path).open("rb") as file, zipfile.ZipFile(file) as archive:
            info = json.loads(archive.read("flow.json"))
            _check_format(path, info)
            leaves = [
                _array(archive.read(f"arrays/{index}"), **spec)
                for index, spec in enumerate(info["arrays"])
            ]
            pickled = archive.read("make.pkl")
    except (FileNotFoundError, IsADirectoryError, PermissionError, LoadError):
        raise
    except Exception as error:  # a flipped bit in a header asks zipfile for all kinds of things
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


def _array(content: bytes, dtype: str, shape: list[int]) -> jax.Array:
    return jnp.asarray(np.frombuffer(content, jnp.dtype(dtype)).reshape(shape))


def _pickled(make: Callable) -> tuple[bytes, bool]:
    """The function, and whether its name is enough, anywhere."""
    try:
        by_name = pickle.dumps(make)
        if b"__main__" not in by_name:
            return by_name, True
    except Exception:  # of any kind: pickle looks for the function in every module there is
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
            f"{'.'.join(here)} cannot run. Write it anew, and give it as `load(path, make=...)`. "
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
    """Dictionaries and tuples, of the numbers of their arrays, as JSON."""
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
