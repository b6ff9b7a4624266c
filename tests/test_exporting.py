"""Exported flows run without the library, and as they do within it."""

import functools
import json
import re
import subprocess
import sys
import textwrap
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_flows import BUILDERS, build
from test_image_flows import BUILDERS as IMAGE_BUILDERS
from test_modules import jittered

import distrax_flows as dxf
from distrax_flows import flows

KEYS = jax.random.split(jax.random.key(0), 5)
SMALL = {"num_layers": 1, "hidden_sizes": (4,)}


def loaded(path):
    """Run the lines of the README in the file, as a reader would."""
    with zipfile.ZipFile(path) as file:
        code = "\n".join(re.findall(r"^    (.*)$", file.read("README.txt").decode(), re.MULTILINE))
    code = code[: code.index("log_prob(")].replace(f"'{path.name}'", f"{str(path)!r}")
    namespace: dict = {}
    exec(code, namespace)
    return namespace["params"], namespace["methods"]


@pytest.mark.parametrize("num_rows", [pytest.param(1, marks=pytest.mark.slow), 5])
def test_exported_methods_are_those_of_the_flow(num_rows, tmp_path):
    flow = dxf.transform(
        lambda context: flows.nsf_coupling(2, context=context, num_bins=4, **SMALL)
    )
    x, context = jax.random.normal(KEYS[0], (2, 5, 2))
    params = jittered(flow.init(0, x, context))
    path = tmp_path / "flow.zip"
    dxf.export(path, flow, params, context_size=2, platforms=["cpu"])
    leaves, methods = loaded(path)
    x, context, keys = x[:num_rows], context[:num_rows], KEYS[:num_rows]
    raw = jax.random.key_data(keys)

    def each_row(method):
        return [method(params, key, (), c) for key, c in zip(keys, context, strict=True)]

    samples = jnp.stack(each_row(flow.sample))
    pairs = [jnp.stack(part) for part in zip(*each_row(flow.sample_and_log_prob), strict=True)]
    expected = {
        "log_prob": (flow.log_prob(params, x, context), (x, context)),
        "forward": (flow.forward(params, x, context), (x, context)),
        "inverse": (flow.inverse(params, x, context), (x, context)),
        "sample": (samples, (context, raw)),
        "sample_and_log_prob": (tuple(pairs), (context, raw)),
    }
    assert set(methods) == set(expected)
    for name, (value, args) in expected.items():
        found = methods[name](leaves, *args)
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-5), found, value
        )


@pytest.mark.slow
def test_a_process_that_has_only_jax(tmp_path):
    flow = dxf.transform(lambda: flows.dequantized(flows.maf(2, **SMALL), num_levels=4))
    params = flow.init(0, jnp.zeros((1, 2), int))
    path = tmp_path / "flow.zip"
    dxf.export(path, flow, params, methods=["log_prob", "sample"], platforms=["cpu"])
    with zipfile.ZipFile(path) as file:
        text = file.read("README.txt").decode()
    assert "log_prob(params, x, keys)" in text
    assert "`x` is [N, 2]" in text
    lines = textwrap.dedent("\n".join(re.findall(r"^    .*$", text, re.MULTILINE)))
    code = f"""
import sys
for name in ("distrax", "haiku", "distrax_flows", "tensorflow_probability"):
    sys.modules[name] = None
N = 7
{lines[: lines.index("log_prob(")]}
{lines[lines.index("keys = ") :]}
print(methods["sample"](params, keys).tolist())
print(methods["log_prob"](params, np.zeros((7, 2), np.float32), keys).tolist())
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    samples, log_prob = map(json.loads, run.stdout.splitlines())
    keys = jax.random.split(jax.random.key(0), 7)
    np.testing.assert_array_equal(samples, [flow.sample(params, key) for key in keys])
    expected = [flow.log_prob(params, jnp.zeros(2), key=key) for key in keys]
    np.testing.assert_allclose(log_prob, expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*BUILDERS, "image_glow", "image_patches"])
def test_every_builder_exports_for_accelerators(name, tmp_path):
    image = IMAGE_BUILDERS.get(name.removeprefix("image_")) if "image" in name else None
    flow = dxf.transform(image or functools.partial(build, name, 3))
    params = flow.init_without_data(0, (4,))
    path = tmp_path / "flow.zip"
    dxf.export(path, flow, params, methods=["log_prob", "sample"])
    leaves, methods = loaded(path)
    raw = jax.random.key_data(KEYS)
    x = methods["sample"](leaves, raw)
    expected = flow.log_prob(params, x)
    np.testing.assert_allclose(methods["log_prob"](leaves, x), expected, rtol=1e-4, atol=1e-4)
    with zipfile.ZipFile(path) as file:
        exported = jax.export.deserialize(bytearray(file.read("log_prob")))
    assert exported.platforms == ("cpu", "cuda", "tpu")


@pytest.mark.usefixtures("wrong_types")
def test_a_flow_with_state_exports_its_evaluation(tmp_path):
    def make(is_training):
        between = dxf.modules.BatchNormLayer(is_training)
        return flows.realnvp(2, between=between, **SMALL)

    stateful = dxf.transform_with_state(make)
    x = jax.random.normal(KEYS[0], (5, 2))
    variables = stateful.init(0, x)
    path = tmp_path / "flow.zip"
    with pytest.raises(TypeError, match=r"or `flow\.evaluation`; got StatefulFlow"):
        dxf.export(path, stateful, variables)
    options = {"methods": ["log_prob"], "platforms": ["cpu"]}
    dxf.export(path, stateful.evaluation, variables, **options)
    leaves, methods = loaded(path)
    expected = stateful.evaluation.log_prob(variables, x)
    np.testing.assert_allclose(methods["log_prob"](leaves, x), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ["density"]}, "`methods` must be one of .* got methods='density'"),
        ({"platforms": ["gpu"]}, "`platforms` must be one of .* got platforms='gpu'"),
        ({"context_size": 0}, "`context_size` must be an integer of at least 1"),
        ({"context_size": 2}, "`context` must be None: this flow was built without one"),
    ],
)
def test_what_export_refuses(options, message, tmp_path):
    flow = dxf.transform(lambda: flows.nice(2, **SMALL))
    with pytest.raises(ValueError, match=message):
        dxf.export(tmp_path / "flow.zip", flow, flow.init_without_data(0), **options)
    assert not list(tmp_path.iterdir())


def test_a_missing_context_size_is_named(tmp_path):
    flow = dxf.transform(lambda context: flows.nice(2, context=context, **SMALL))
    params = flow.init_without_data(0, (), jnp.zeros(3))
    with pytest.raises(ValueError, match="`context_size` must be given: the flow needs a context"):
        dxf.export(tmp_path / "flow.zip", flow, params)
