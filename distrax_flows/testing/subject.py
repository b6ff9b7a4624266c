"""Bijector to check laws on."""

import dataclasses
import functools
import math
import reprlib
from collections.abc import Callable, Sequence
from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from distrax_flows._core.checks import check_positive, check_range
from distrax_flows._core.types import Shape

__all__ = ["DOUBLE", "SINGLE", "Subject"]

SINGLE, DOUBLE = np.dtype("float32"), np.dtype("float64")


@dataclasses.dataclass(eq=False)
class Subject:
    """Bijector to check laws on, with everything compiled for it so far.

    The arguments are those of `check_bijector`. Calls take and return NumPy arrays, and run in the
    precision of their input. Several laws use the same events, so they share compiled functions.
    """

    bijector: distrax.Bijector | Callable[[Any], distrax.Bijector]
    event_shape: Shape
    _: dataclasses.KW_ONLY
    params: Any = None
    events: Any = None
    points: Sequence[Any] = ()
    interval: tuple[float, float] | None = None
    has_inverse: bool = True
    per_sample_params: bool = False
    unused_params: Sequence[int] = ()
    tolerance: float = 1e-4
    double_tolerance: float = 1e-10
    seed: int = 0
    build: Callable[[Any], distrax.Bijector] = dataclasses.field(init=False)
    has_params: bool = dataclasses.field(init=False)
    instance: distrax.Bijector = dataclasses.field(init=False)

    def __post_init__(self):
        check_positive("tolerance", self.tolerance)
        check_positive("double_tolerance", self.double_tolerance)
        if self.interval is not None:
            check_range("interval[0]", self.interval[0], "interval[1]", self.interval[1])
        self.event_shape = tuple(self.event_shape)
        self.has_params = not isinstance(self.bijector, distrax.Bijector)
        if isinstance(self.bijector, distrax.Bijector):
            if self.params is not None or self.per_sample_params or self.unused_params:
                raise ValueError(
                    "`params`, `per_sample_params` and `unused_params` go with a function from "
                    f"parameters to the bijector; got bijector={self.bijector.name}."
                )
            self.build, self.params = _from_leaves(self.bijector)
        else:
            _check_params(self.bijector, self.params)
            _check_unused(self.params, self.unused_params)
            self.build = self.bijector
        self.instance = self.make()
        if self.instance.event_ndims_in != len(self.event_shape):
            raise ValueError(
                f"`event_shape` must have {self.instance.event_ndims_in} axes, as the events of "
                f"{self.instance.name} have; got event_shape={self.event_shape}. "
                "`distrax.Block` makes a batch of small events one event."
            )
        if self.events is not None:
            self.events = np.asarray(self.events, DOUBLE)
            if self.events.shape[1:] != self.event_shape or len(self.events) == 0:
                raise ValueError(
                    "`events` must have shape [N, *event_shape]; got "
                    f"events.shape={self.events.shape} and event_shape={self.event_shape}."
                )

    @property
    def directions(self) -> tuple[str, ...]:
        """The available directions."""
        return ("forward", "inverse") if self.has_inverse else ("forward",)

    @property
    def is_onto(self) -> bool:
        """Whether it maps the whole space onto the whole space."""
        return self.events is None

    def bound(self, dtype: np.dtype) -> float:
        """Return the allowed error; the leaves of a bijector agree only to float32."""
        return self.double_tolerance if dtype == DOUBLE and self.has_params else self.tolerance

    def cast(self, dtype: np.dtype, scale: Any = 1.0) -> Any:
        """Return the parameters in a precision, multiplied by one number or each of several."""
        return jax.tree.map(
            lambda leaf: np.multiply.outer(scale, np.asarray(leaf)).astype(dtype), self.params
        )

    def make(self, scale: float = 1.0) -> distrax.Bijector:
        """Return the bijector of the parameters multiplied by a number, in float32."""
        with jax.enable_x64(False):
            made = self.build(jax.tree.map(jnp.asarray, self.cast(SINGLE, scale)))
        if not isinstance(made, distrax.Bijector):
            raise TypeError(
                "`bijector` must be a `distrax.Bijector`, or a function from `params` to one; got "
                f"{made!r}. `distrax.as_bijector` converts others."
            )
        return made

    def apply(self, direction: str, params: Any, x: Any) -> tuple[jax.Array, jax.Array]:
        """Return the output and the log-det of a direction, to be traced."""
        try:
            return getattr(self.build(params), f"{direction}_and_log_det")(x)
        except Exception as error:
            error.add_note(f"Raised in {direction}, for an input of shape {x.shape}.")
            raise

    def gradients(self, direction: str) -> Callable:
        """Return a function to trace: the sum of outputs and log-dets, and its two gradients."""

        def total(params, x):
            y, log_det = self.apply(direction, params, x)
            return jnp.sum(y) + jnp.sum(log_det)

        return jax.value_and_grad(total, argnums=(0, 1))

    def __call__(self, direction: str, x: np.ndarray, params: Any = None) -> Any:
        """Return the output and the log-det of a direction."""
        params = self.cast(x.dtype) if params is None else params
        return run(self.compiled[direction], params, x)

    def one_by_one(self, direction: str, x: np.ndarray, params: Any = None) -> Any:
        """Return outputs, log-dets and Jacobians of a direction, under `jax.vmap` over `[N, ...]`.

        The Jacobians are `[N, D, D]`.
        """
        params = self.cast(x.dtype) if params is None else params
        jacobians, (y, log_det) = run(self._compiled_one_by_one[direction], params, x)
        size = math.prod(self.event_shape)
        return y, log_det, jacobians.reshape(-1, size, size)

    def jacobians(self, direction: str, x: np.ndarray, params: Any = None) -> np.ndarray:
        """Return the Jacobians of a direction, `[N, D, D]`, at inputs `[N, ...]`."""
        return self.one_by_one(direction, x, params)[2]

    @functools.cached_property
    def compiled(self) -> dict[str, Callable]:
        """The directions as compiled functions of parameters and inputs."""
        return {d: jax.jit(functools.partial(self.apply, d)) for d in self.directions}

    @functools.cached_property
    def _compiled_one_by_one(self) -> dict[str, Callable]:
        def of(direction):
            def outputs(params, x):
                y, log_det = self.apply(direction, params, x)
                return y, (y, log_det)

            jacobian = jax.jacfwd(outputs, argnums=1, has_aux=True)
            return jax.jit(jax.vmap(jacobian, (None, 0)))

        return {direction: of(direction) for direction in self.directions}

    def inputs(
        self,
        direction: str,
        dtype: np.dtype = SINGLE,
        num: int | None = None,
        params: Any = None,
    ) -> np.ndarray:
        """Return the inputs on which a direction is checked, `[num, ...]`."""
        if self.is_onto:
            shape = (num or 100, *self.shape(direction))
            x = np.random.default_rng(self.seed).normal(scale=2.0, size=shape)
        else:
            x = np.resize(self.events, (num or len(self.events), *self.event_shape))
            x = self._to_inputs(direction, x, params)
        return x.astype(dtype)

    def edges(self, direction: str, params: Any) -> np.ndarray:
        """Return inputs at which gradients are delicate, `[N, ...]`."""
        if self.is_onto:
            shape = self.shape(direction)
            x = [np.broadcast_to(point, shape) for point in (0.0, 1.0, 1e4, -1e4, *self.points)]
        else:
            points = [np.broadcast_to(point, self.event_shape) for point in self.points]
            x = self._to_inputs(direction, np.stack([*points, *self.events[:3]]), params)
        return np.asarray(x, SINGLE)

    def shape(self, direction: str) -> Shape:
        """Return the shape of a direction's input events."""
        if direction == "forward":
            return self.event_shape
        zeros = np.zeros(self.event_shape, SINGLE)
        return jax.eval_shape(self.compiled["forward"], self.cast(SINGLE), zeros)[0].shape

    def _to_inputs(self, direction: str, events: np.ndarray, params: Any) -> np.ndarray:
        """Return events for `forward`, their images for `inverse`."""
        if direction == "forward":
            return events
        params = self.params if params is None else params
        params = jax.tree.map(lambda leaf: np.asarray(leaf, DOUBLE), params)
        return self("forward", events.astype(DOUBLE), params)[0]


def run(function: Callable, params: Any, x: np.ndarray) -> Any:
    """Call in the precision of `x`; return NumPy arrays."""
    with jax.enable_x64(x.dtype == DOUBLE):
        return jax.tree.map(np.asarray, function(params, x))


def _check_params(bijector: Any, params: Any) -> None:
    if not callable(bijector):
        raise TypeError(
            "`bijector` must be a `distrax.Bijector`, or a function from `params` to one; got "
            f"{bijector!r}."
        )
    dtypes = [jnp.result_type(leaf) for leaf in jax.tree.leaves(params)]
    if params is None or not all(jnp.issubdtype(dtype, jnp.floating) for dtype in dtypes):
        raise TypeError(
            "`params` must be a pytree of floating arrays where `bijector` is a function of them; "
            f"got params={reprlib.repr(params)}. The function closes over what else it needs."
        )


def _check_unused(params: Any, unused: Sequence[int]) -> None:
    size = sum(np.size(leaf) for leaf in jax.tree.leaves(params))
    if not all(0 <= index < size for index in unused):
        raise ValueError(
            f"`unused_params` must hold indices below {size}, the number of parameters; got "
            f"unused_params={unused}."
        )


def _from_leaves(bijector: distrax.Bijector) -> tuple[Callable, list]:
    """Return a bijector as a function of its floating leaves, and those leaves."""
    leaves, structure = jax.tree.flatten(bijector)
    is_float = [jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in leaves]

    def build(params):
        rest = iter(params)
        pairs = zip(leaves, is_float, strict=True)
        return structure.unflatten([next(rest) if own else leaf for leaf, own in pairs])

    return build, [leaf for leaf, own in zip(leaves, is_float, strict=True) if own]
