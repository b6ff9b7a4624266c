"""Flows as compiled functions, for programs without distrax, Haiku or this library."""

import functools
import importlib.util
import io
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from distrax_flows._core.checks import check_choice, check_positive_int
from distrax_flows._core.files import open_atomic
from distrax_flows._core.versions import versions
from distrax_flows.functional.flow import Flow, Params, StatefulFlow, events_of

__all__ = ["export"]

_METHODS = ("log_prob", "sample", "sample_and_log_prob", "forward", "inverse")
_PLATFORMS = ("cpu", "cuda", "rocm", "tpu")

_README = """\
A normalizing flow as functions that need only JAX: `pip install jax flatbuffers`.

    import io, json, zipfile
    import jax, jax.export, numpy as np

    with zipfile.ZipFile({name!r}) as file:
        arrays = np.load(io.BytesIO(file.read("params.npz")))
        params = [arrays[str(i)] for i in range(len(arrays))]
        methods = {{
            name: jax.export.deserialize(bytearray(file.read(name))).call
            for name in json.loads(file.read("flow.json"))["methods"]
        }}

Each takes `params` first, and any number N >= 1 of rows:

{signatures}

{shapes}
`keys` are [N, 2], uint32, one for each row:

    keys = jax.random.key_data(jax.random.split(jax.random.key(0), N))

`forward` and `inverse` return the value and the log-det. Call them within `jax.jit` for speed.
"""


def export(
    path: str | os.PathLike,
    flow: Flow,
    params: Params,
    *,
    context_size: int | None = None,
    methods: Sequence[str] = _METHODS,
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
) -> None:
    """Export a flow as functions that run wherever JAX does, without this library.

    The file is a zip archive: parameters as plain arrays, each method as portable StableHLO, and a
    `README.txt` with the lines that load them. Later versions of JAX read it for as long as
    `jax.export` guarantees, at least six months. To train a flow further, use `save` instead.

    The number of rows is arbitrary. Each row has its own key: its sample is that of
    `flow.sample(params, key)`.

    Args:
        path: path of the file; its folder must exist.
        flow: the flow; for a flow with state, its `evaluation`.
        params: its parameters.
        context_size: size C of the contexts of a conditional flow.
        methods: methods to export, among "log_prob", "sample", "sample_and_log_prob", "forward" and
            "inverse".
        platforms: platforms to run on, among "cpu", "cuda", "rocm" and "tpu".

    Raises:
        TypeError: `flow` is not a flow.
        ImportError: flatbuffers is missing.
        ValueError: `context_size` is missing, or given for a flow without context; or a method or a
            platform is unknown.

    Example:
        >>> import distrax_flows as dxf, io, jax, jax.export, numpy as np, os, tempfile, zipfile
        >>> flow = dxf.transform(lambda: dxf.flows.maf(2, num_layers=2))
        >>> path = os.path.join(tempfile.mkdtemp(), "maf.zip")
        >>> dxf.export(path, flow, flow.init_without_data(0))
        >>> with zipfile.ZipFile(path) as file:
        ...     arrays = np.load(io.BytesIO(file.read("params.npz")))
        ...     params = [arrays[str(i)] for i in range(len(arrays))]
        ...     log_prob = jax.export.deserialize(bytearray(file.read("log_prob"))).call
        >>> print(f"{log_prob(params, np.zeros((3, 2), np.float32))[0]:.4f}")
        -1.8379
    """
    if isinstance(flow, StatefulFlow) or not isinstance(flow, Flow):
        raise TypeError(
            f"`flow` must be what `transform` returns, or `flow.evaluation`; got {flow!r}."
        )
    for kind, names in (("methods", methods), ("platforms", platforms)):
        if isinstance(names, str):
            raise TypeError(f"`{kind}` must be a sequence of names; got {kind}={names!r}.")
    for name in methods:
        check_choice("methods", name, _METHODS)
    for name in platforms:
        check_choice("platforms", name, _PLATFORMS)
    if importlib.util.find_spec("flatbuffers") is None:
        raise ImportError("`export` needs flatbuffers: `pip install 'distrax_flows[export]'`.")
    if context_size is None and flow.needs_context:
        raise ValueError("`context_size` must be given: the flow needs a context; got None.")
    context = None
    if context_size is not None:
        context = jnp.zeros(check_positive_int("context_size", context_size))
    leaves, treedef = jax.tree.flatten(params)
    if any(leaf.dtype == jnp.bfloat16 for leaf in leaves):
        raise ValueError(
            "`params` must have dtypes that NumPy knows; got bfloat16. Convert them to float32."
        )
    needs_keys = flow.draws_random_numbers(params, context)
    exported, signatures = {}, {}
    for kind, names in (("methods", methods), ("platforms", platforms)):
        if isinstance(names, str):
            raise TypeError(f"`{kind}` must be a sequence of names; got {kind}={names!r}.")
    for name in methods:
        function, row = _function(flow, treedef, name, context, needs_keys)
        shapes = [jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype) for leaf in leaves]
        scope = jax.export.SymbolicScope()
        rows = [_batched(value, scope) for value in row.values()]
        exporter = jax.export.export(jax.jit(function), platforms=tuple(platforms))
        exported[name] = exporter(shapes, *rows).serialize()
        signatures[name] = f"{name}({', '.join(['params', *row])})"
    events = events_of(flow, context)
    info = {
        "methods": signatures,
        "event_shape": events.shape,
        "base_event_shape": events.base_shape,
        "context_size": context_size,
        "platforms": list(platforms),
        "versions": versions(),
    }
    arrays: dict[str, Any] = {str(index): leaf for index, leaf in enumerate(leaves)}
    saved = io.BytesIO()
    np.savez(saved, **arrays)
    with open_atomic(path) as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("README.txt", _readme(path, info))
        archive.writestr("flow.json", json.dumps(info, indent=1))
        archive.writestr("params.npz", saved.getvalue())
        for name, content in exported.items():
            archive.writestr(name, bytes(content))


def _function(
    flow: Flow, treedef: Any, name: str, context: jax.Array | None, needs_keys: bool
) -> tuple[Callable[..., Any], dict[str, jax.Array]]:
    """Return a method as a function of leaves and of batches of rows, and an example of a row."""
    samples = name in ("sample", "sample_and_log_prob")
    events = events_of(flow, context)
    row: dict[str, Any] = {}
    if not samples:
        shape = events.base_shape if name == "forward" else events.shape
        row["z" if name == "forward" else "x"] = jnp.zeros(shape)
    if context is not None:
        row["context"] = context
    if samples or needs_keys:
        row["keys"] = jnp.zeros(2, jnp.uint32)

    def of_row(params, *values):
        given = dict(zip(row, values, strict=True))
        key = jax.random.wrap_key_data(given["keys"]) if "keys" in given else None
        method = getattr(flow, name)
        if samples:
            return method(params, key, (), given.get("context"))
        return method(params, values[0], given.get("context"), key=key)

    def function(leaves, *rows):
        params = jax.tree.unflatten(treedef, leaves)
        return jax.vmap(functools.partial(of_row, params))(*rows)

    return function, row


def _batched(value: jax.Array, scope: jax.export.SymbolicScope) -> jax.ShapeDtypeStruct:
    (num_rows,) = jax.export.symbolic_shape("n", scope=scope)
    return jax.ShapeDtypeStruct((num_rows, *value.shape), value.dtype)


def _readme(path: str | os.PathLike, info: dict[str, Any]) -> str:
    shapes = {"x": info["event_shape"], "z": info["base_event_shape"]}
    if info["context_size"] is not None:
        shapes["context"] = (info["context_size"],)
    lines = [f"`{name}` is {['N', *shape]}".replace("'N'", "N") for name, shape in shapes.items()]
    return _README.format(
        name=Path(path).name,
        signatures="\n".join(f"    {text}" for text in info["methods"].values()),
        shapes=", ".join(lines) + ".",
    )
