"""Options: defined once, and visible in signatures, docstrings and errors."""

import functools
import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import distrax_flows as dxf
from distrax_flows import flows
from distrax_flows._core.options import _hints, resolve
from distrax_flows.training import TrainingOptions

KEY = jax.random.key(0)
BUILDERS = [name for name in flows.__all__ if name[0].islower() and name != "dequantized"]
IMAGES = ("image_glow", "image_nsf", "image_realnvp")  # and their options
FUNCTIONS = {
    name: (getattr(flows, name), flows.ImageOptions if name in IMAGES else flows.FlowOptions)
    for name in BUILDERS
}
FUNCTIONS |= {name: (getattr(dxf, name), TrainingOptions) for name in ("fit", "fit_to_density")}
each_function = pytest.mark.parametrize(("function", "options"), FUNCTIONS.values(), ids=FUNCTIONS)
# What a builder has no use for.
NOT_THERE = {
    "planar": {"between"},
    "radial": {"between"},
    "sylvester": {"between"},
    "independent": {"between"},
    "bernstein": {"between", "num_layers", "remat", "unroll"},
    "custom": {"between", "hidden_sizes", "activation", "policy"},
    "image_autoregressive": {"hidden_sizes"},
    "image_glow": {"hidden_sizes"},
    "image_nsf": {"hidden_sizes"},
    "image_realnvp": {"hidden_sizes"},
}


def documented(function):
    """Names that the section Args describes, in order."""
    args = re.search(r"Args:\n(.*?)(?:\n\n|\Z)", inspect.getdoc(function), re.DOTALL)[1]
    return re.findall(r"^    (\w+): \S", args, re.MULTILINE)


@each_function
def test_signature_and_docstring_show_every_option(function, options):
    parameters = inspect.signature(function).parameters
    assert documented(function) == list(parameters)
    missing = set(_hints(options)) - set(parameters)
    assert missing == NOT_THERE.get(function.__name__, set())
    assert max(map(len, inspect.getdoc(function).split("\n"))) <= 100


@each_function
def test_signatures_can_be_read(function, options):
    text = str(inspect.signature(function))
    assert "_src" not in text
    assert " at 0x" not in text


@each_function
def test_defaults_shown_are_those_taken(function, options):
    defaults = vars(resolve(options, {}))
    for name, parameter in inspect.signature(function).parameters.items():
        own = name == "activation" and function is flows.image_autoregressive
        if name in defaults and name != "num_layers" and not own:
            shown = repr(parameter.default).replace("jax.nn.relu", repr(jax.nn.relu))
            assert shown == repr(defaults[name])


@each_function
def test_wrong_names_are_refused_with_the_nearest_right_one(function, options):
    name = function.__name__
    needed = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    arguments = {p.name: None for p in needed}
    of_fits = options is TrainingOptions
    wrong, right = ("optimiser", "optimizer") if of_fits else ("suport", "support")
    message = f"`{name}` has no argument `{wrong}`; got {wrong}=3. Perhaps `{right}` is meant"
    with pytest.raises(TypeError, match=re.escape(message)):
        function(**arguments, **{wrong: 3})


@pytest.mark.parametrize(
    ("name", "option"),
    [(name, option) for name, given in NOT_THERE.items() for option in sorted(given)],
)
def test_options_without_effect_are_refused(name, option):
    message = f"`{name}` takes no `{option}`, which would have no effect there; got {option}=1"
    with pytest.raises(TypeError, match=re.escape(message)):
        getattr(flows, name)(**{option: 1})


@pytest.mark.slow
@pytest.mark.usefixtures("wrong_types")
@pytest.mark.parametrize(
    "name",
    [
        "autoregressive",
        "maf",
        "iaf",
        "nsf_autoregressive",
        "bernstein_autoregressive",
        "planar",
        "radial",
        "sylvester",
    ],
)
def test_either_direction_may_be_the_fast_one(name):
    options = {"family": dxf.families.affine()} if name == "autoregressive" else {}
    x = jax.random.normal(KEY, (50, 3))
    loops = {}
    for fast in ("density", "sampling"):
        flow = dxf.transform(
            lambda fast=fast: getattr(flows, name)(3, fast=fast, num_layers=1, **options)
        )
        params = jax.tree.map(lambda leaf: leaf + 0.1, flow.init(KEY, x))
        z, log_det = flow.inverse(params, x)
        again, log_det_back = flow.forward(params, z)
        np.testing.assert_allclose(again, x, atol=1e-4)
        np.testing.assert_allclose(log_det_back, -log_det, atol=1e-3)
        for method in ("forward", "inverse"):
            jaxpr = str(jax.make_jaxpr(getattr(flow, method))(params, x))
            loops[fast, method] = jaxpr.count("scan[") + jaxpr.count("while[")
    assert loops["density", "inverse"] <= loops["density", "forward"]
    assert loops["sampling", "forward"] <= loops["sampling", "inverse"]
    if name != "radial":  # both of its directions are in closed form
        assert loops["density", "inverse"] < loops["density", "forward"]
    with pytest.raises(ValueError, match=r"`fast` must be one of \['density', 'sampling'\]"):
        dxf.transform(lambda: getattr(flows, name)(3, fast="both", **options)).init(KEY, x)


@pytest.mark.parametrize("fast", ["density", "sampling"])
def test_a_spline_of_one_dimension_reaches_beyond_its_interval_whatever_is_fast(fast):
    flow = dxf.transform(lambda: flows.nsf_autoregressive(1, fast=fast, num_layers=1))
    x = 20 + jax.random.normal(KEY, (500, 1))
    optimizer = dxf.training.cosine_adam(300, 0.05)
    fitted = dxf.fit(flow, x, key=KEY, num_steps=300, optimizer=optimizer)
    best = 0.5 * np.log(2 * np.pi * np.e)
    assert fitted.history.loss[-50:].mean() < best + 0.2


def test_a_partial_builder_may_be_conditional():
    flow = dxf.transform(functools.partial(flows.maf, 2, num_layers=2, hidden_sizes=(8,)))
    x, context = jnp.ones((5, 2)), jnp.arange(15.0).reshape(5, 3)
    params = flow.init(KEY, x)
    assert flow.log_prob(params, x).shape == (5,)
    conditional = flow.init(KEY, x, context)
    assert conditional.keys() != params.keys()
    moved = jax.tree.map(lambda leaf: leaf + 0.1, conditional)
    assert len(np.unique(flow.log_prob(moved, x, context))) == 5
    assert flow.sample(moved, KEY, (4,), context).shape == (4, 5, 2)
