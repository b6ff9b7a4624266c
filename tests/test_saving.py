"""Saved flows: the same in another process; errors of bad files name them."""

import collections
import functools
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import distrax_flows as dxf

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)


def moved(params):
    """Parameters away from the identity."""
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(KEY, len(leaves))
    return jax.tree.unflatten(
        treedef,
        [
            leaf + 0.3 * jax.random.normal(key, leaf.shape, leaf.dtype)
            for key, leaf in zip(keys, leaves, strict=True)
        ],
    )


MAKE = functools.partial(dxf.flows.nice, 2, num_layers=2, hidden_sizes=(4,))


def saved(tmp_path, make=MAKE):
    flow = dxf.transform(make)
    params = moved(flow.init(KEY, X))
    dxf.save(tmp_path / "a.flow", flow, params)
    return flow, params


def test_loads_in_a_new_process_without_any_arguments(tmp_path):
    size = 2  # of the script's, which only the lambda knows
    script = tmp_path / "script.py"
    script.write_text(
        f"""
import jax, numpy as np, distrax_flows as dxf, sys
sizes = (4, 4)
event_size = {size}
flow = dxf.transform(lambda: dxf.flows.maf(event_size, num_layers=2, hidden_sizes=sizes))
x = np.load(sys.argv[1])
params = jax.tree.map(lambda leaf: leaf + 0.1, flow.init(jax.random.key(0), x))
dxf.save(sys.argv[2], flow, params)
np.save(sys.argv[3], flow.log_prob(params, x))
"""
    )
    paths = [str(tmp_path / name) for name in ("x.npy", "a.flow", "y.npy")]
    np.save(paths[0], X)
    subprocess.run([sys.executable, str(script), *paths], check=True)
    loaded = dxf.load(paths[1])
    np.testing.assert_allclose(loaded.flow.log_prob(loaded.params, X), np.load(paths[2]), rtol=1e-6)
    assert "dxf.flows.maf(event_size" in loaded.info["make"]["source"]
    assert loaded.info["make"]["stored"] == "by code"
    assert loaded.info["versions"]["jax"] == jax.__version__
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(loaded.params))


def test_a_function_that_can_be_imported_is_stored_by_name(tmp_path):
    flow, params = saved(tmp_path)
    loaded = dxf.load(tmp_path / "a.flow")
    assert loaded.info["make"]["stored"] == "by name"
    assert "nice" in loaded.info["make"]["source"]
    np.testing.assert_array_equal(loaded.flow.log_prob(loaded.params, X), flow.log_prob(params, X))
    jax.tree.map(np.testing.assert_array_equal, loaded.params, params)
    assert jax.tree.structure(loaded.params) == jax.tree.structure(params)


def stateful(is_training):
    batch_norm = dxf.modules.BatchNormLayer(is_training)
    between = dxf.modules.compose(batch_norm, lambda x: dxf.Reverse())
    return dxf.flows.nice(2, num_layers=2, hidden_sizes=(4,), between=between)


@pytest.mark.parametrize("evaluation", [False, True])
def test_a_flow_with_state(tmp_path, evaluation):
    flow = dxf.transform_with_state(stateful)
    variables = flow.init(KEY, X)
    expected = flow.evaluation.log_prob(variables, X)
    dxf.save(tmp_path / "a.flow", flow.evaluation if evaluation else flow, variables)
    loaded = dxf.load(tmp_path / "a.flow")
    assert type(loaded.flow) is (dxf.Flow if evaluation else dxf.StatefulFlow)
    again = loaded.flow if evaluation else loaded.flow.evaluation
    np.testing.assert_array_equal(again.log_prob(loaded.params, X), expected)


def test_an_ensemble_and_half_precision(tmp_path):
    flow = dxf.transform(MAKE)
    params = jax.vmap(flow.init, (0, None))(jax.random.split(KEY, 3), jnp.asarray(X))
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    dxf.save(tmp_path / "a.flow", flow, params)
    loaded = dxf.load(tmp_path / "a.flow").params
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(loaded))
    jax.tree.map(np.testing.assert_array_equal, loaded, params)


def test_double_precision_is_not_rounded_in_silence(tmp_path, x64):
    flow = dxf.transform(MAKE)
    params = flow.init(KEY, X.astype(float))
    dxf.save(tmp_path / "a.flow", flow, params)
    jax.tree.map(np.testing.assert_array_equal, dxf.load(tmp_path / "a.flow").params, params)
    with jax.enable_x64(False), pytest.raises(dxf.LoadError, match=r"float64.*jax_enable_x64"):
        dxf.load(tmp_path / "a.flow")


@pytest.mark.parametrize("damage", ["cut", "flipped", "other", "empty"])
def test_a_damaged_file_is_refused(tmp_path, damage):
    saved(tmp_path)
    path = tmp_path / "a.flow"
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        with zipfile.ZipFile(path) as archive:
            start = archive.getinfo("arrays/1.npy").header_offset
        content[start + 45] ^= 1
    elif damage == "other":
        content = b"PNG" * 100
    else:
        content = b""
    path.write_bytes(content)
    with pytest.raises(dxf.LoadError, match="must be a file that `save` wrote; it is another"):
        dxf.load(path)


def change_info(path: Path, **changes) -> None:
    """Writes the file anew, `flow.json` changed."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    info = json.loads(entries["flow.json"])
    for name, change in changes.items():
        info[name] = info[name] | change if isinstance(change, dict) else change
    entries["flow.json"] = json.dumps(info).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def test_later_formats_and_other_pythons_are_refused_with_a_way_out(tmp_path):
    path = tmp_path / "a.flow"
    flow, params = saved(tmp_path, make=lambda: dxf.flows.nice(2, num_layers=2, hidden_sizes=(4,)))
    change_info(path, format=2)
    with pytest.raises(dxf.LoadError, match=r"has format 2, of distrax_flows .*; .*Upgrade"):
        dxf.load(path)
    change_info(path, format=1, versions={"python": "3.8.1"})
    with pytest.raises(dxf.LoadError, match=r"for Python 3\.8, which 3\.\d+ cannot run"):
        dxf.load(path)
    with pytest.warns(RuntimeWarning, match="written by other versions.*`python` is 3.8.1 there"):
        loaded = dxf.load(path, make=MAKE)
    np.testing.assert_array_equal(loaded.flow.log_prob(loaded.params, X), flow.log_prob(params, X))


@pytest.mark.usefixtures("wrong_types")
def test_what_cannot_be_saved_leaves_the_earlier_file(tmp_path):
    flow, params = saved(tmp_path)
    before = (tmp_path / "a.flow").read_bytes()
    lock = (tmp_path / "other").open("w")
    with pytest.raises(TypeError, match="must be built by a function that can be pickled"):
        dxf.save(tmp_path / "a.flow", dxf.transform(lambda: (lock, dxf.flows.nice(2))[1]), params)
    with pytest.raises(TypeError, match="`params` must be dictionaries and tuples"):
        dxf.save(tmp_path / "a.flow", flow, [params])
    with pytest.raises(TypeError, match="`flow` must be what `transform` returns; got function"):
        dxf.save(tmp_path / "a.flow", lambda: None, params)
    lock.close()
    assert (tmp_path / "a.flow").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.flow", "other"]


def test_a_missing_folder_is_named_before_anything_is_written(tmp_path):
    flow, params = dxf.transform(lambda: dxf.flows.maf(2, num_layers=1)), {}
    with pytest.raises(FileNotFoundError, match=r"folder of the file must exist.*'.*/none'"):
        dxf.save(tmp_path / "none" / "maf.flow", flow, params)
    assert list(tmp_path.iterdir()) == []


def test_a_function_that_is_gone_is_named(tmp_path, monkeypatch):
    module = tmp_path / "vanishing.py"
    module.write_text("import distrax_flows as dxf\ndef make():\n    return dxf.flows.nice(2)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import vanishing

    flow = dxf.transform(vanishing.make)
    dxf.save(tmp_path / "a.flow", flow, flow.init(KEY, X))
    module.unlink()
    del sys.modules["vanishing"]
    with pytest.raises(dxf.LoadError, match=r"cannot be loaded: ModuleNotFoundError.*vanishing"):
        dxf.load(tmp_path / "a.flow")


def test_others_may_read_the_file(tmp_path):
    before = os.umask(0o022)
    saved(tmp_path)
    os.umask(before)
    assert (tmp_path / "a.flow").stat().st_mode & 0o777 == 0o644


def test_dictionaries_keep_their_arrays_in_any_order(tmp_path):
    flow, params = saved(tmp_path)
    turned = {key: dict(reversed(params[key].items())) for key in reversed(params)}
    turned = collections.OrderedDict(turned)
    dxf.save(tmp_path / "b.flow", flow, turned)
    loaded = dxf.load(tmp_path / "b.flow").params
    jax.tree.map(np.testing.assert_array_equal, loaded, params)


def test_flows_pickle():
    flow = dxf.transform(MAKE)
    again = pickle.loads(pickle.dumps(flow))
    params = moved(flow.init(KEY, X))
    np.testing.assert_array_equal(again.log_prob(params, X), flow.log_prob(params, X))


def test_numpy_reads_the_arrays(tmp_path):
    _, params = saved(tmp_path)
    with np.load(tmp_path / "a.flow") as file:
        for index, leaf in enumerate(jax.tree.leaves(params)):
            np.testing.assert_array_equal(file[f"arrays/{index}"], leaf)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.int8, bool])
def test_arrays_keep_their_dtype(tmp_path, dtype):
    flow = dxf.transform(MAKE)
    params = {"~": {"a": jnp.ones((2, 3), dtype), "b": jnp.ones((), dtype)}}
    dxf.save(tmp_path / "a.flow", flow, params)
    loaded = dxf.load(tmp_path / "a.flow").params
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(loaded))
