"""Linear, quadratic and cubic splines against the rational-quadratic one.

    python -m experiments.benchmarks.spline_orders
    python -m experiments.benchmarks.spline_orders --quick --output /tmp/spline_orders

The three are candidates for `distrax_flows.families`, defined here on the public API alone. What a
default run found, 2 seeds of 2,000 steps each:

* Linear does not earn a place. It is the cheapest, but its divergences are 6 to 21 times those of
  the rational-quadratic spline with as many bins, and larger with 16 bins than with 8.
* Quadratic comes near, and leads on gaussian_blobs: 0.0071 with 8 bins and 15 parameters per
  dimension, against 0.0189 with 25. Trained longer the lead is smaller, and not general: 3 seeds of
  5,000 steps with 8 bins gave 0.0051 against 0.0095 there, 0.0012 against 0.0018 on energy1, but
  0.0060 against 0.0049 on energy2 and 0.0070 against 0.0062 on energy4, and as much on banana and
  energy3. Its round trip is up to 10 times worse.
* Cubic fits no better than quadratic overall (0.0057 and 0.0068 on gaussian_blobs). Its inverse is
  iterative, its round trip 11 to 43 times worse than the rational-quadratic spline's, and its
  density no smoother: both have kinks at the knots.

So none of them joins the families. Of the times, only those of the rational-quadratic spline are of
tuned code, and the round trips depend on the least size of a bin: 0.001 of the range for the three,
a fifth of the mean size for it.
"""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import distrax_flows as dxf
from distrax_flows import families
from experiments._command import quick_means, run
from experiments._common import device_name, format_table, score
from experiments._results import write_table
from experiments.benchmarks._timing import milliseconds

RANGE = 5.0  # splines live on [-5, 5]
FLOOR = 1e-3  # least size of a bin, as a share of the range, and least slope at a knot


class PolynomialSpline(distrax.Bijector):
    """Monotone piecewise polynomial of [-5, 5] onto itself; the identity outside.

    In a bin of width w and height h, with z and t the place and the height reached as shares of
    it, the map is `t = curve(z)`, given the slopes a, b at its ends in units of `h / w`.

    Args:
        params: `[..., P]`, unconstrained.
    """

    def __init__(self, params: jax.Array):
        super().__init__(event_ndims_in=0)
        self._params = params

    @staticmethod
    def num_params(num_bins: int) -> int:
        """Parameters of a spline of that many bins, P."""
        raise NotImplementedError

    def knots(self) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Widths and heights `[..., K]`, as shares of the range, and slopes `[..., K + 1]`."""
        raise NotImplementedError

    def curve(self, z: jax.Array, a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The height reached, and its derivative."""
        raise NotImplementedError

    def solve(self, t: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
        """The place z in [0, 1] where `curve` reaches t."""
        raise NotImplementedError

    def forward_and_log_det(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        share = self._share(x)
        left, bottom, w, h, a, b = self._bin(share, along=0)
        t, slope = self.curve((share - left) / w, a, b)
        return _outside_identity(x, bottom + h * t, jnp.log(h / w * slope))

    def inverse_and_log_det(self, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        share = self._share(y)
        left, bottom, w, h, a, b = self._bin(share, along=1)
        z = self.solve((share - bottom) / h, a, b)
        return _outside_identity(y, left + w * z, -jnp.log(h / w * self.curve(z, a, b)[1]))

    def _share(self, x: jax.Array) -> jax.Array:
        """The place in the range, its ends for what lies outside."""
        x = jnp.broadcast_to(x, jnp.broadcast_shapes(jnp.shape(x), self._params.shape[:-1]))
        return jnp.clip((x + RANGE) / (2 * RANGE), 0, 1)

    def _bin(self, share: jax.Array, along: int) -> tuple[jax.Array, ...]:
        """Corner, size and end slopes of the bin that holds `share` on that axis."""
        widths, heights, slopes = self.knots()
        ends = [sizes @ np.triu(np.ones((sizes.shape[-1],) * 2, np.float32))
                for sizes in (widths, heights)]  # fmt: skip
        i = jnp.sum(share[..., None] >= ends[along][..., :-1], axis=-1)
        w, h = _take(widths, i), _take(heights, i)
        unit = w / h
        left, bottom = _take(ends[0], i) - w, _take(ends[1], i) - h
        return left, bottom, w, h, _take(slopes, i) * unit, _take(slopes, i + 1) * unit


class LinearSpline(PolynomialSpline):
    """K bins of equal width; the density has a step at every knot.

    Reference:
        Müller et al., "Neural Importance Sampling", 2019, section 4.2.
    """

    @staticmethod
    def num_params(num_bins: int) -> int:
        return num_bins

    def knots(self):
        heights = _sizes(self._params)
        num_bins = heights.shape[-1]
        slopes = jnp.ones((*heights.shape[:-1], num_bins + 1), heights.dtype)
        return jnp.full_like(heights, 1 / num_bins), heights, slopes

    def curve(self, z, a, b):
        del a, b
        return z, jnp.ones_like(z)

    def solve(self, t, a, b):
        del a, b
        return t


class QuadraticSpline(PolynomialSpline):
    """K free widths and K - 1 slopes at inner knots, which set the heights; slope 1 at the ends.

    Reference:
        Müller et al., "Neural Importance Sampling", 2019, section 4.3.
    """

    @staticmethod
    def num_params(num_bins: int) -> int:
        return 2 * num_bins - 1

    def knots(self):
        num_bins = (self._params.shape[-1] + 1) // 2
        widths = _sizes(self._params[..., :num_bins])
        # A share of the area under the slopes belongs to each inner knot: what the ends leave.
        areas = (widths[..., :-1] + widths[..., 1:]) / 2
        inner = areas * jax.nn.softmax(self._params[..., num_bins:])
        mean = jnp.sum(inner, axis=-1, keepdims=True) / jnp.sum(areas, axis=-1, keepdims=True)
        inner = FLOOR + (1 - FLOOR) * inner / (areas * mean)
        one = jnp.ones_like(inner[..., :1])
        slopes = jnp.concatenate([one, inner, one], axis=-1)
        return widths, widths * (slopes[..., :-1] + slopes[..., 1:]) / 2, slopes

    def curve(self, z, a, b):
        return z * (a + (b - a) * z / 2), a + (b - a) * z

    def solve(self, t, a, b):
        return 2 * t / (a + jnp.sqrt(a * a + 2 * (b - a) * t))


class CubicSpline(PolynomialSpline):
    """K free widths and heights; slopes at inner knots by Steffen's rule, at most 1 at the ends.

    Its inverse is the root of a cubic, by Newton's method in a bracket.

    Reference:
        Durkan et al., "Cubic-Spline Flows", 2019; Steffen, "A simple method for monotonic
        interpolation in one dimension", 1990.
    """

    @staticmethod
    def num_params(num_bins: int) -> int:
        return 2 * num_bins

    def knots(self):
        widths, heights = map(_sizes, jnp.split(self._params, 2, axis=-1))
        s = heights / widths
        w_0, w_1, s_0, s_1 = widths[..., :-1], widths[..., 1:], s[..., :-1], s[..., 1:]
        parabola = (s_0 * w_1 + s_1 * w_0) / (w_0 + w_1)
        inner = jnp.minimum(2 * jnp.minimum(s_0, s_1), parabola)
        ends = jnp.minimum(1, 3 * s)  # beyond three times its own slope a bin would turn back
        return widths, heights, jnp.concatenate([ends[..., :1], inner, ends[..., -1:]], axis=-1)

    def curve(self, z, a, b):
        square, cube = 3 - 2 * a - b, a + b - 2
        return z * (a + z * (square + z * cube)), a + z * (2 * square + 3 * z * cube)

    def solve(self, t, a, b):
        fixed = jax.lax.stop_gradient((t, a, b))

        def narrow(_, bracket):
            low, high, z = bracket
            reached, slope = self.curve(z, *fixed[1:])
            low = jnp.where(reached <= fixed[0], z, low)
            high = jnp.where(reached >= fixed[0], z, high)
            newton = z - (reached - fixed[0]) / jnp.maximum(slope, 1e-6)
            return (
                low,
                high,
                jnp.where((newton >= low) & (newton <= high), newton, (low + high) / 2),
            )

        start = jnp.zeros_like(fixed[0]), jnp.ones_like(fixed[0]), fixed[0]
        z = jax.lax.fori_loop(0, 20, narrow, start)[2]
        reached, slope = self.curve(z, a, b)  # one more step, which carries the gradients
        return jnp.clip(z - (reached - t) / jax.lax.stop_gradient(jnp.maximum(slope, 1e-6)), 0, 1)


def _outside_identity(x, share, log_slope):
    inside = jnp.abs(x) < RANGE
    return jnp.where(inside, 2 * RANGE * share - RANGE, x), jnp.where(inside, log_slope, 0)


def _sizes(logits: jax.Array) -> jax.Array:
    """Shares of the range, which sum to one."""
    return FLOOR + (1 - FLOOR * logits.shape[-1]) * jax.nn.softmax(logits)


def _take(values: jax.Array, index: jax.Array) -> jax.Array:
    """`values[..., index]`, the leading axes broadcast."""
    values = jnp.expand_dims(values, range(index.ndim + 1 - values.ndim))
    return jnp.take_along_axis(values, index[..., None], -1, mode="promise_in_bounds")[..., 0]


class Candidate(NamedTuple):
    """A family to compare: its name, its family by number of bins, and how its density joins."""

    name: str
    family: Callable[[int], families.Family]
    joins: str


def candidate(name: str, kind: type[PolynomialSpline], joins: str) -> Candidate:
    """The candidate of a polynomial spline."""
    return Candidate(name, lambda num_bins: families.Family(kind.num_params(num_bins), kind), joins)


CANDIDATES = (
    candidate("linear", LinearSpline, "steps"),
    candidate("quadratic", QuadraticSpline, "kinks"),
    candidate("cubic", CubicSpline, "kinks"),
    # With the tails of the three; the last line is the library's default.
    Candidate(
        "rational-quadratic, identity tails",
        lambda num_bins: families.spline(num_bins, -RANGE, RANGE, "identity"),
        "kinks",
    ),
    Candidate("rational-quadratic", lambda num_bins: families.spline(num_bins), "kinks"),
)


@quick_means(
    num_bins=(8,),
    densities=("gaussian_blobs",),
    num_steps=200,
    num_seeds=1,
    num_layers=2,
    hidden_sizes=(16,),
    num_draws=10_000,
    num_elements=4_000,
    repeats=3,
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Splines of four kinds in the same flow: how well it fits, and what each costs."""

    num_bins: tuple[int, ...] = (8, 16)
    """Bins of the splines."""
    densities: tuple[str, ...] = ("gaussian_blobs", "energy3")
    """Densities to fit, of `distrax_flows.densities.names()`."""
    num_steps: int = 2_000
    """Training steps of each fit."""
    num_seeds: int = 2
    """Fits to each density."""
    seed: int = 0
    """Of the first fit."""
    num_layers: int = 8
    """Layers of each flow."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Hidden units of each network."""
    num_draws: int = 100_000
    """Fresh draws that score a fit."""
    num_elements: int = 64_000
    """Elements that are timed and sent on round trips, each with parameters of its own."""
    repeats: int = 21
    """Rounds of timing."""
    output: Path = Path("figures/benchmarks")
    """Folder of the table."""
    quick: bool = False
    """8 bins, short fits of small flows to one density: a try-out."""


def main(settings: Settings) -> None:
    """Prints the table and writes it to `spline_orders.csv`.

    Raises:
        ValueError: a tuple is empty, a count is not positive, there are fewer than two bins, or a
            density is unknown.
    """
    check(settings)
    print(f"JAX {jax.__version__} on {device_name()}; {settings}")
    rows = []
    num_fits = len(CANDIDATES) * len(settings.num_bins) * len(settings.densities)
    with tqdm(total=num_fits * settings.num_seeds, unit="fit", disable=None) as bar:
        for num_bins in settings.num_bins:
            costs = measure(num_bins, settings)
            for one in CANDIDATES:
                row = {"spline": one.name, "bins": str(num_bins), "density": one.joins}
                rows.append(row | costs[one.name] | fit_all(one.family(num_bins), settings, bar))
                write_table(settings.output / "spline_orders.csv", list(rows[0]), rows)
    print(format_table(list(rows[0]), [list(row.values()) for row in rows]))


def check(settings: Settings) -> None:
    """Raises a ValueError for settings that cannot be run."""
    for name in ("num_bins", "densities"):
        if not getattr(settings, name):
            raise ValueError(f"`{name}` must hold at least one value; got none.")
    if min(settings.num_bins) < 2:
        raise ValueError(f"`num_bins` must be at least 2 each; got {settings.num_bins}.")
    for name in settings.densities:
        dxf.densities.get(name)
    for name in ("num_steps", "num_seeds", "num_draws", "num_elements", "repeats"):
        if (count := getattr(settings, name)) < 1:
            raise ValueError(f"`{name}` must be at least 1; got {count}.")


def fit_all(family: families.Family, settings: Settings, bar: tqdm) -> dict[str, str]:
    """The divergence of fits to each density: mean over seeds, standard error of the scores.

    Every spline is turned around, so that the density runs it forward, as the papers do; all get
    the same random keys.
    """
    step = families.chain(families.affine(), families.inverse(family))
    flow = dxf.transform(
        lambda: dxf.flows.coupling(
            2,
            step,
            num_layers=settings.num_layers,
            hidden_sizes=settings.hidden_sizes,
            standardize=True,
        )
    )
    row, seconds = {}, []
    for name in settings.densities:
        density = dxf.densities.get(name)
        log_p = jax.jit(density.log_prob)
        scores = []
        for seed in range(settings.seed, settings.seed + settings.num_seeds):
            fit_key, score_key = jax.random.split(jax.random.key(seed))
            fit = dxf.fit(
                flow,
                lambda key, density=density: density.sample(seed=key, sample_shape=(128,)),
                key=fit_key,
                num_steps=settings.num_steps,
                progress=False,
            )
            x = density.sample(seed=score_key, sample_shape=(settings.num_draws,))
            log_q = lambda batch, params=fit.params: flow.log_prob(params, batch)  # noqa: E731
            scores.append(score(log_p, log_q, x))
            seconds.append(fit.history.train_seconds)
            bar.update()
        kl = np.array([s.kl for s in scores])
        stderr = math.hypot(*(s.kl_stderr for s in scores)) / len(scores)
        row[f"kl_{name}"] = f"{kl.mean():.5f}"
        row[f"stderr_{name}"] = f"{stderr:.5f}"
        row[f"range_{name}"] = f"{kl.min():.4f}-{kl.max():.4f}"
    return row | {"fit_seconds": f"{np.median(seconds):.1f}"}


def measure(num_bins: int, settings: Settings) -> dict[str, dict[str, str]]:
    """Parameters, median times in turns, and worst float32 round trips on [-5, 5], by name."""
    shape = (settings.num_elements,)
    x = jax.random.uniform(jax.random.key(1), shape, minval=-RANGE, maxval=RANGE)
    rows: dict[str, dict[str, str]] = {}
    calls: dict[str, dict[str, Callable[[], Any]]] = {"value": {}, "gradient": {}, "inverse": {}}
    trips: dict[str, list[float]] = {}
    for one in CANDIDATES:
        family = one.family(num_bins)
        params = jax.random.normal(jax.random.key(0), (*shape, family.num_params))
        value, gradient, inverse = directions(family.bijector)
        calls["value"][one.name] = lambda f=value, p=params: f(p, x)
        calls["gradient"][one.name] = lambda f=gradient, p=params: f(p, x)
        calls["inverse"][one.name] = lambda f=inverse, p=params: f(p, x)
        trips[one.name] = [
            float(jnp.max(jnp.abs(inverse(s * params, value(s * params, x)[0])[0] - x)))
            for s in (1.0, 3.0)
        ]
        rows[one.name] = {"params": str(family.num_params)}
    for what, functions in calls.items():
        for name, times in milliseconds(functions, settings.repeats).items():
            rows[name][f"{what}_ms"] = f"{np.median(times):.1f}"
    for name, (usual, wide) in trips.items():
        rows[name] |= {"round_trip_1": f"{usual:.1e}", "round_trip_3": f"{wide:.1e}"}
    return rows


def directions(bijector: Callable[[jax.Array], distrax.Bijector]) -> tuple[Callable, ...]:
    """Compiled: value and log-det; the same with gradients, summed; inverse and log-det."""

    def value(params, x):
        return bijector(params).forward_and_log_det(x)

    def total(params, x):
        y, log_det = value(params, x)
        return jnp.sum(y) + jnp.sum(log_det)

    inverse = jax.jit(lambda params, y: bijector(params).inverse_and_log_det(y))
    return jax.jit(value), jax.jit(jax.value_and_grad(total, argnums=(0, 1))), inverse


if __name__ == "__main__":
    run("experiments.benchmarks.spline_orders", main, Settings)
