"""Times and round trips of the rational-quadratic spline, compared with distrax's.

python -m experiments.benchmarks.spline
"""

import dataclasses
import functools
from collections.abc import Callable

import distrax
import jax
import jax.numpy as jnp
import numpy as np

import distrax_flows as dxf
from experiments._command import check, quick_means, run
from experiments._summary import format_table
from experiments.benchmarks._timing import milliseconds


@quick_means(num_elements=4_000, num_bins=(8,), repeats=3)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Value, and value with gradient, of two splines; and round trips at extreme logits."""

    num_elements: int = 64_000  # Elements, each with parameters of its own.
    num_bins: tuple[int, ...] = (8, 16)  # Bins of the timed splines.
    repeats: int = 41  # Rounds.
    logit_scale: float = 10.0  # Standard deviation of the parameters in the round trips.
    quick: bool = False  # Few elements and rounds.


def main(settings: Settings) -> None:
    """Prints a table of times and one of round trips."""
    check(settings)
    header = ["", "distrax, ms", "ours, ms", "ratio", "its quartiles"]
    print(format_table(header, time_rows(settings)), end="\n\n")
    header = ["bins", "boundary", "bound promised", "worst seen", "distrax's worst"]
    print(format_table(header, round_trip_rows(settings)))


def time_rows(settings: Settings) -> list[list[str]]:
    """Medians of value, and of value with gradient in inputs and parameters."""
    x = 2 * jax.random.normal(jax.random.key(1), (settings.num_elements,))
    rows = []
    for num_bins in settings.num_bins:
        shape = (settings.num_elements, 3 * num_bins + 1)
        params = jax.random.normal(jax.random.key(0), shape)
        for label, wrap in (("value", value), ("value and gradient", value_and_gradient)):
            ours = functools.partial(wrap(dxf.RationalQuadraticSpline), params, x)
            theirs = functools.partial(wrap(distrax.RationalQuadraticSpline), params, x)
            times = milliseconds({"theirs": theirs, "ours": ours}, settings.repeats)
            median = {name: f"{np.median(time):.1f}" for name, time in times.items()}
            low, middle, high = np.quantile(times["theirs"] / times["ours"], [0.25, 0.5, 0.75])
            ratios = f"{middle:.1f}", f"{low:.1f} - {high:.1f}"
            rows.append([f"{label}, {num_bins} bins", median["theirs"], median["ours"], *ratios])
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
    run("experiments.benchmarks.spline", main, Settings)
