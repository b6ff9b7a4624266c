"""The laws that every bijector keeps; each law measures, and `check` decides.

A law is a generator of checks. A law that does not apply to a subject yields none.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from distrax_flows._core.types import Shape
from distrax_flows.testing.checks import Check, close, finite, none, same, show
from distrax_flows.testing.subject import DOUBLE, SINGLE, Subject, run

__all__ = ["LAWS", "Law"]

Law: TypeAlias = Callable[[Subject], Iterator[Check]]

# The laws of bijectors, by name.
LAWS: dict[str, Law] = {}

_OUTPUTS = ("output", "log-det")


def _law(law: Law) -> Law:
    LAWS[law.__name__] = law
    return law


@_law
def round_trip(subject: Subject) -> Iterator[Check]:
    """Each direction undoes the other, and their log-dets cancel, in float32."""
    yield from _round_trip(subject, SINGLE)


@_law
def round_trip_in_double_precision(subject: Subject) -> Iterator[Check]:
    """Each direction undoes the other, and their log-dets cancel, in float64."""
    yield from _round_trip(subject, DOUBLE)


def _round_trip(subject: Subject, dtype: np.dtype) -> Iterator[Check]:
    if not subject.has_inverse:
        return
    bound = subject.bound(dtype)
    wrong_inverse = (
        "`inverse` does not solve y = forward(x); or, if the error is small, it stops too early "
        "or the bijector is too steep for the precision; or the domain or the image is not the "
        "whole space, which `events` declares"
    )
    wrong_sign = "the log-det of `inverse` at y is minus that of `forward` at the x that gives y"
    for there, back in [("forward", "inverse"), ("inverse", "forward")]:
        x = subject.inputs(there, dtype)
        y, log_det = subject(there, x)
        x_again, log_det_back = subject(back, y)
        expected = np.broadcast_to(-log_det, x.shape[:1])
        yield close(f"{back} after {there}", x_again, x, bound, x, wrong_inverse)
        name = f"log-det of {back} after {there}"
        yield close(name, log_det_back, expected, 10 * bound, x, wrong_sign)


@_law
def log_det_of_the_jacobian(subject: Subject) -> Iterator[Check]:
    """The log-det is log|det| of the Jacobian, in both directions."""
    remedy = "a sign, a factor, or the sum over the event is wrong"
    for direction in subject.directions:
        x = subject.inputs(direction, DOUBLE)
        _, log_det = subject(direction, x)
        expected = np.linalg.slogdet(subject.jacobians(direction, x))[1]
        bound = 10 * subject.bound(DOUBLE)
        yield close(f"log-det of {direction}", log_det, expected, bound, x, remedy)


@_law
def batches(subject: Subject) -> Iterator[Check]:
    """Batches of any rank keep their shape, and their events do not meet."""
    remedy = "the events of a batch meet: index and reduce the trailing axes only, as x[..., i]"
    params = subject.cast(DOUBLE)
    for direction in subject.directions:
        x = subject.inputs(direction, DOUBLE)
        flat = subject(direction, x)
        pairs = np.stack([x, x[::-1]], axis=1)
        wide = subject(direction, pairs)
        with jax.enable_x64(True):
            single = jax.eval_shape(subject.compiled[direction], params, x[0])
        mapped = subject.one_by_one(direction, x)
        for name, got, two, one, expected in zip(
            _OUTPUTS, flat, wide, single, mapped, strict=False
        ):
            name = f"{name} of {direction}"
            yield same(f"shape of the {name}, for one event", one.shape, expected.shape[1:])
            against = f"{name}, for a batch ({len(x)},), against `jax.vmap`"
            yield close(against, got, expected, subject.bound(DOUBLE), x, remedy)
            expected = np.stack([expected, expected[::-1]], axis=1)
            against = f"{name}, for a batch ({len(x)}, 2), against `jax.vmap`"
            yield close(against, two, expected, subject.bound(DOUBLE), pairs, remedy)


@_law
def per_sample_parameters(subject: Subject) -> Iterator[Check]:
    """Parameters may have batch axes, which broadcast against those of the event."""
    if not subject.per_sample_params:
        return
    remedy = "index and reduce the trailing axes of parameters only, as params[..., i]"
    scales = (1.0, 0.5, -0.5)
    params = subject.cast(SINGLE, scales)
    for direction in subject.directions:
        each = [subject.cast(SINGLE, scale) for scale in scales]
        x = np.stack([subject.inputs(direction, params=one) for one in each], axis=1)
        outputs = subject(direction, x, params)
        separate = [subject(direction, x[:, i], one) for i, one in enumerate(each)]
        for name, got, expected in zip(_OUTPUTS, outputs, zip(*separate, strict=True), strict=True):
            name = f"{name} of {direction}, for three parameters at once"
            expected = np.stack(expected, axis=1)
            yield close(name, got, expected, subject.tolerance, x, remedy)
        for events, batch in [(x[0, 0], (3,)), (x[0], (3,))]:
            shapes = jax.eval_shape(subject.compiled[direction], params, events)
            for name, got, one in zip(_OUTPUTS, shapes, outputs, strict=True):
                shape = f"shape of the {name} of {direction}, for three parameters and {batch}"
                yield same(shape, got.shape, batch + one.shape[2:])


@_law
def jit_traces_once(subject: Subject) -> Iterator[Check]:
    """A bijector may be an argument of `jax.jit`; equal shapes share one trace."""
    traces = []

    @jax.jit
    def forward(bijector, x):
        traces.append(None)
        return bijector.forward_and_log_det(x)

    not_in_tree = "state is missing from the pytree: keep arrays as attributes of the instance"
    x = subject.inputs("forward")
    for scale in (1.0, 0.5 if subject.has_params else 1.0):
        outputs = run(forward, subject.make(scale), x)
        expected = subject("forward", x, subject.cast(SINGLE, scale))
        for name, got, wanted in zip(_OUTPUTS, outputs, expected, strict=True):
            name = f"{name} of forward, the bijector being an argument"
            yield close(name, got, wanted, subject.tolerance, x, not_in_tree)
    yield same(
        "traces for two bijectors of equal shapes",
        len(traces),
        1,
        "numbers of Python and callables are static: keep parameters as arrays, and make no lambda "
        "or closure anew for each instance",
    )


@_law
def finite_gradients(subject: Subject) -> Iterator[Check]:
    """Values and gradients are finite at 0, at `points` and in the tails, whatever the params."""
    for direction in subject.directions:
        compiled = jax.jit(jax.vmap(subject.gradients(direction), (None, 0)))
        for scale in (0.0, 1.0, 30.0) if subject.has_params else (1.0,):
            params = subject.cast(SINGLE, scale)
            x = subject.edges(direction, params)
            value, (by_params, by_event) = run(compiled, params, x)
            of = f"of {direction}, with parameters times {scale:g}"
            yield finite(f"value {of}", value, x)
            yield finite(f"gradient in the parameters {of}", by_params, x)
            yield finite(f"gradient in the event {of}", by_event, x)


@_law
def every_parameter_matters(subject: Subject) -> Iterator[Check]:
    """Every parameter changes some output, but those of `unused_params`, which change none."""
    if not subject.has_params:
        return
    x, params = subject.inputs("forward", DOUBLE), subject.cast(DOUBLE)
    generator = np.random.default_rng(subject.seed)
    weights = [generator.normal(size=output.shape) for output in subject("forward", x)]

    def mixture(params, x):
        outputs = subject.apply("forward", params, x)
        return sum(jnp.sum(w * output) for w, output in zip(weights, outputs, strict=True))

    # An output that depends on a parameter moves this mixture, almost surely.
    gradient = jax.tree.leaves(run(jax.jit(jax.grad(mixture)), params, x))
    matters = np.concatenate([np.zeros(0, bool), *(leaf.ravel() != 0 for leaf in gradient)])
    unused = np.isin(np.arange(matters.size), subject.unused_params)
    yield none(
        "parameters without effect",
        _names(params, ~matters & ~unused),
        "a parameter is lost on the way, or the layout has one too many; name those that have no "
        "effect by design in `unused_params`",
    )
    yield none(
        "parameters of `unused_params` with an effect",
        _names(params, matters & unused),
        "`unused_params` counts through the raveled leaves of `params`",
    )


@_law
def dtype_in_is_dtype_out(subject: Subject) -> Iterator[Check]:
    """float32 stays float32, in JAX's double precision mode too; float64 stays float64."""
    remedy = (
        "an array of another dtype meets the input: make constants with x.dtype, or leave them "
        "numbers of Python"
    )
    for dtype in (SINGLE, DOUBLE):
        params = subject.cast(dtype)
        for direction in subject.directions:
            x = subject.inputs(direction, dtype)
            with jax.enable_x64(True):
                outputs = jax.eval_shape(subject.compiled[direction], params, x)
            for name, output in zip(_OUTPUTS, outputs, strict=True):
                name = f"dtype of the {name} of {direction}, for {dtype}"
                yield same(name, output.dtype, dtype, remedy)


@_law
def constant_flags(subject: Subject) -> Iterator[Check]:
    """Where `is_constant_jacobian` or `is_constant_log_det` is set, it is true."""
    if not subject.instance.is_constant_log_det:
        return
    remedy = "leave the flag False: distrax builds mean, mode and entropy on it, unchecked"
    bound = 10 * subject.bound(DOUBLE)
    for direction in subject.directions:
        x = subject.inputs(direction, DOUBLE)
        matrices = subject.jacobians(direction, x)
        measured = {"log|det|": np.linalg.slogdet(matrices)[1]}
        if subject.instance.is_constant_jacobian:
            measured["Jacobian"] = matrices
        for name, values in measured.items():
            first = np.broadcast_to(values[:1], values.shape)
            name = f"{name} of {direction}, flagged constant, against that of event 0"
            yield close(name, values, first, bound, x, remedy)


@_law
def densities_integrate_to_one(subject: Subject) -> Iterator[Check]:
    """A normal density seen through the bijector integrates to one, in one and two dimensions."""
    size = math.prod(subject.event_shape)
    if size > 2 or not subject.is_onto or not subject.has_inverse:
        return

    def density(params, y):
        zeros = jnp.zeros(subject.event_shape, y.dtype)
        base = distrax.Independent(distrax.Normal(zeros, jnp.ones_like(zeros)), zeros.ndim)
        return distrax.Transformed(base, subject.build(params)).prob(y)

    # The box holds nearly all of the mass.
    noise = np.random.default_rng(subject.seed).normal(size=(4000, *subject.event_shape))
    draws = subject("forward", noise)[0].reshape(-1, size)
    low, high = draws.min(axis=0), draws.max(axis=0)
    low, high = low - 0.6 * (high - low), high + 0.6 * (high - low)
    num = 20_001 if size == 1 else 301
    axes = [np.linspace(a, b, num) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    values = run(
        jax.jit(density), subject.cast(DOUBLE), grid.reshape(-1, *subject.shape("inverse"))
    )
    mass = float(np.sum(values) * np.prod((high - low) / (num - 1)))
    yield Check(
        "mass, less one",
        math.inf if math.isnan(mass) else abs(mass - 1.0),
        2e-3,
        f"the box from {show(low)} to {show(high)} holds {mass:.6g}",
        "the log-det of `inverse` is wrong; or the image is not the whole space, which `events` "
        "declares",
    )


@_law
def composition(subject: Subject) -> Iterator[Check]:
    """Its other methods, and distrax and TFP around it, agree with it."""
    remedy = "a method is overridden by other maths, or event_ndims_in or event_ndims_out is wrong"
    x = subject.inputs("forward", num=4)
    composed = jax.jit(functools.partial(_composed, subject))
    for whole, (outputs, expected) in run(composed, subject.cast(SINGLE), x).items():
        for name, got, wanted in zip(_OUTPUTS, outputs, expected, strict=True):
            yield close(f"{name} of {whole}", got, wanted, 10 * subject.tolerance, x, remedy)


def _composed(subject: Subject, params: Any, x: jax.Array) -> dict[str, Any]:
    """Return what compositions give for events `[N, ...]`, and what they should give."""
    bijector: Any = subject.build(params)
    y, log_det = bijector.forward_and_log_det(x)
    log_det = jnp.broadcast_to(log_det, x.shape[:1])
    double = distrax.Block(distrax.ScalarAffine(shift=1.0, scale=2.0), y.ndim - 1)
    tfp_bijector: Any = distrax.to_tfp(bijector)
    # All mass is at one event, so any domain works.
    base = distrax.Deterministic(x[0], atol=1e-2, rtol=1e-2)
    density = distrax.Transformed(distrax.Independent(base, x.ndim - 1), bijector)
    sample = jnp.broadcast_to(y[:1], y.shape)
    log_prob = jnp.broadcast_to(-log_det[:1], log_det.shape)
    pairs = {
        "distrax.Chain": (
            distrax.Chain([double, bijector]).forward_and_log_det(x),
            (2 * y + 1, log_det + math.prod(y.shape[1:]) * math.log(2)),
        ),
        "distrax.Inverse": (distrax.Inverse(bijector).inverse_and_log_det(x), (y, log_det)),
        "distrax.Block": (
            distrax.Block(bijector, 1).forward_and_log_det(jnp.stack([x, x], axis=1)),
            (jnp.stack([y, y], axis=1), 2 * log_det),
        ),
        "distrax.to_tfp": (
            (
                tfp_bijector.forward(x),
                tfp_bijector.forward_log_det_jacobian(x, event_ndims=x.ndim - 1),
            ),
            (y, log_det),
        ),
        "distrax.Transformed": (
            density.sample_and_log_prob(seed=0, sample_shape=x.shape[:1]),
            (sample, log_prob),
        ),
    }
    if _overrides(bijector, "forward"):
        pairs["its forward"] = (
            (bijector.forward(x), bijector.forward_log_det_jacobian(x)),
            (y, log_det),
        )
    if subject.has_inverse and _overrides(bijector, "inverse"):
        x_again, log_det_back = bijector.inverse_and_log_det(y)
        pairs["its inverse"] = (
            (bijector.inverse(y), bijector.inverse_log_det_jacobian(y)),
            (x_again, jnp.broadcast_to(log_det_back, log_det.shape)),
        )
    if subject.has_inverse:
        pairs["distrax.Transformed, by log_prob"] = (
            (sample, density.log_prob(sample)),
            (sample, log_prob),
        )
    return pairs


def _overrides(bijector: distrax.Bijector, direction: str) -> bool:
    """Whether a direction has methods beside the one from which distrax derives the others."""
    names = (direction, f"{direction}_log_det_jacobian")
    return any(
        getattr(type(bijector), name) is not getattr(distrax.Bijector, name) for name in names
    )


@_law
def missing_inverse(subject: Subject) -> Iterator[Check]:
    """An inverse declared missing raises NotImplementedError."""
    if subject.has_inverse:
        return
    y, _ = subject("forward", subject.inputs("forward"))
    try:
        jax.eval_shape(functools.partial(subject.apply, "inverse"), subject.cast(SINGLE), y)
        found = "nothing"
    except NotImplementedError:
        found = "NotImplementedError"
    remedy = "an inverse that exists is tested: leave `has_inverse` True"
    yield same("what inverse raises", found, "NotImplementedError", remedy)


@_law
def explicit_broadcasting(subject: Subject) -> Iterator[Check]:
    """Values and gradients trace under `jax.numpy_rank_promotion("raise")`."""
    cases: list[tuple[Any, Shape]] = [(1.0, (2, 3))]
    if subject.per_sample_params:
        cases.append(([1.0, 1.0, 1.0], ()))
    for direction in subject.directions:
        for scale, batch in cases:
            x = np.zeros(batch + subject.shape(direction), SINGLE)
            with jax.numpy_rank_promotion("raise"):
                jax.eval_shape(subject.gradients(direction), subject.cast(SINGLE, scale), x)
        yield Check(f"implicit broadcasts in {direction}", 0.0, 0.0)


@_law
def interval_onto_itself(subject: Subject) -> Iterator[Check]:
    """Each end of `interval` is its own image to the bit, and no value inside leaves it."""
    if subject.interval is None:
        return
    remedy = "rounding moves it: pin both ends, and clip what lies between them"
    for dtype in (SINGLE, DOUBLE) if subject.has_params else (SINGLE,):
        low, high = np.asarray(subject.interval, dtype)
        inside = np.linspace(low, high, 96, dtype=dtype).clip(low, high)
        next_to_ends = np.nextafter([low, high], [high, low], dtype=dtype)
        values = np.concatenate([[low, high], next_to_ends, inside])
        for direction in subject.directions:
            shape = subject.shape(direction)
            x = np.broadcast_to(values.reshape(-1, *[1] * len(shape)), (values.size, *shape))
            for scale in (0.0, 1.0, 30.0) if subject.has_params else (1.0,):
                y, _ = subject(direction, x, subject.cast(dtype, scale))
                of = f"of {direction} in {dtype}, with parameters times {scale:g}"
                at_ends = np.reshape(np.arange(values.size) < 2, (-1, *[1] * len(shape)))
                moved = at_ends & (x != y)
                left = ~((low <= y) & (y <= high))
                for what, where in (("ends moved", moved), ("values out", left)):
                    pairs = zip(x[where], y[where], strict=True)
                    offenders = [f"{a:.9g} to {b:.9g}" for a, b in pairs]
                    yield none(f"{what} {of}", offenders, remedy)


@_law
def empty_batches_and_integers(subject: Subject) -> Iterator[Check]:
    """Empty batches give empty results; integers and booleans become floats, or are refused."""
    no_reshape = "write sizes out: reshape(..., -1) cannot tell the size of an empty array's axis"
    to_float = "convert the input, or multiply it by a float, before its dtype is used for anything"
    params = subject.cast(SINGLE)
    for direction in subject.directions:
        compiled, event_shape = subject.compiled[direction], subject.shape(direction)

        def outputs(dtype, *batch, compiled=compiled, event_shape=event_shape):
            return jax.eval_shape(compiled, params, np.zeros((*batch, *event_shape), dtype))

        single = outputs(SINGLE, 1)
        for batch in ((0,), (3, 0)):
            for name, got, one in zip(_OUTPUTS, outputs(SINGLE, *batch), single, strict=True):
                shape = f"shape of the {name} of {direction}, for a batch {batch}"
                yield same(shape, got.shape, batch + one.shape[1:], no_reshape)
        empty = np.zeros((0, *event_shape), SINGLE)
        _, (_, by_event) = jax.eval_shape(subject.gradients(direction), params, empty)
        yield same(f"shape of the gradient of {direction}", by_event.shape, empty.shape, no_reshape)
        for dtype in (np.int32, np.bool_):
            try:
                of_integers = outputs(dtype, 1)
            except TypeError:  # like several of distrax's: no wrong value is returned
                continue
            for name, got in zip(_OUTPUTS, of_integers, strict=True):
                name = f"dtype of the {name} of {direction}, for {np.dtype(dtype)}"
                yield same(name, got.dtype, SINGLE, to_float)


def _names(params: Any, chosen: np.ndarray) -> list[str]:
    """Return the names of the chosen parameters, such as `params['w'][0, 3]`."""
    names = [
        f"params{jax.tree_util.keystr(path)}{list(index) if index else ''}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        for index in np.ndindex(leaf.shape)
    ]
    return [name for name, own in zip(names, chosen, strict=True) if own]
