"""The rational-quadratic spline against distrax's: time, and the round trip it promises.

python -m experiments.benchmarks.spline
"""

import dataclasses
from collections.abc import Callable

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import tyro

import distrax_flows as dxf
from experiments._common import device_name, format_table
from experiments.benchmarks._timing import milliseconds


@dataclasses.dataclass(frozen=True)
class Settings:
    """Value, and value with gradient, of two splines; and round trips at extreme logits."""

    num_elements: int = 64_000
    """Elements, each with parameters of its own."""
    num_bins: int = 8
    """Bins of the timed splines."""
    repeats: int = 41
    """Rounds."""
    logit_scale: float = 10.0
    """Standard deviation of the parameters in the round trips."""


def main(settings: Settings) -> None:
    """Prints a table of times and one of round trips."""
    print(f"JAX {jax.__version__} on {device_name()}; {settings}")
    print(format_table(["", "distrax, ms", "ours, ms", "ratio"], time_rows(settings)))
    print()
    header = ["bins", "boundary", "bound promised", "worst seen", "distrax's worst"]
    print(format_table(header, round_trip_rows(settings)))


def time_rows(settings: Settings) -> list[list[str]]:
    """Medians of value, and of value with gradient in inputs and parameters."""
    size = 3 * settings.num_bins + 1
    params = jax.random.normal(jax.random.key(0), (settings.num_elements, size))
    x = 2 * jax.random.normal(jax.random.key(1), (settings.num_elements,))
    rows = []
    for label, wrap in (("value", value), ("value and gradient", value_and_gradient)):
        ours, theirs = (
            wrap(spline)
            for spline in (dxf.RationalQuadraticSpline, distrax.RationalQuadraticSpline)
        )
        times = milliseconds(
            {"theirs": lambda f=theirs: f(params, x), "ours": lambda f=ours: f(params, x)},
            settings.repeats,
        )
        median = {name: float(np.median(time)) for name, time in times.items()}
        ratio = float(np.median(times["theirs"] / times["ours"]))
        rows.append([label, f"{median['theirs']:.1f}", f"{median['ours']:.1f}", f"{ratio:.1f}"])
    return rows


def value(spline: Callable[..., distrax.Bijector]) -> Callable:
    """Forward value and log-det of a spline on [-5, 5], compiled."""
    return jax.jit(lambda params, x: spline(params, -5.0, 5.0).forward_and_log_det(x))


def value_and_gradient(spline: Callable[..., distrax.Bijector]) -> Callable:
    """The same, summed, with its gradient in parameters and inputs."""

    def total(params, x):
        y, log_det = spline(params, -5.0, 5.0).forward_and_log_det(x)
        return jnp.sum(y) + jnp.sum(log_det)

    return jax.jit(jax.value_and_grad(total, argnums=(0, 1)))


def round_trip_rows(settings: Settings) -> list[list[str]]:
    """Largest `|inverse(forward(x)) - x|` on [-5, 5] in float32, beside its bound."""
    rows = []
    x = jax.random.uniform(jax.random.key(2), (settings.num_elements,), minval=-5, maxval=5)
    for num_bins in (8, 16, 32):
        shape = (settings.num_elements, 3 * num_bins + 1)
        params = settings.logit_scale * jax.random.normal(jax.random.key(num_bins), shape)
        for boundary in ("unconstrained", "identity", "circular"):
            ours = dxf.RationalQuadraticSpline(params, -5.0, 5.0, boundary)
            theirs = distrax.RationalQuadraticSpline(params, -5.0, 5.0, boundary)
            worst = [f"{float(round_trip_error(s, x)):.5f}" for s in (ours, theirs)]
            rows.append([str(num_bins), boundary, f"{ours.round_trip_bound:.5f}", *worst])
    return rows


@jax.jit
def round_trip_error(spline: distrax.Bijector, x: jax.Array) -> jax.Array:
    """The largest error of a round trip."""
    return jnp.max(jnp.abs(spline.inverse(spline.forward(x)) - x))


if __name__ == "__main__":
    main(tyro.cli(Settings, prog="python -m experiments.benchmarks.spline"))
