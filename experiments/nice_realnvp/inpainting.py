"""Recovery of lost coordinates, by ascent on a flow's log-density with decaying noise."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import distrax_flows as dxf
from experiments._plane import Target
from experiments._table import Finished, Row
from experiments.nice_realnvp.settings import Settings

_RATE = 5e-3  # of the ascent, in squared units of the data
_MAX_MOVE = 0.1  # of a gradient step: a flow is steep where it has seen no data
_NUM_CELLS = 1_000  # of the grid along the lost coordinate


class Completion(NamedTuple):
    """Points whose coordinate `lost` was lost and recovered."""

    lost: int  # 0 or 1
    # `[T + 1, K, M, 2]`, M points for each of K values of the other coordinate, from the random
    # start to the end
    path: np.ndarray
    row: Row  # of the table


@functools.partial(jax.jit, static_argnames=("flow", "num_steps"))
def inpaint(
    flow: dxf.Flow,
    params: Any,
    x: jax.Array,
    known: jax.Array,
    key: jax.Array,
    *,
    low: jax.Array,
    high: jax.Array,
    num_steps: int,
) -> jax.Array:
    """Langevin dynamics of the unknown coordinates, cooled to plain gradient ascent.

        x_t = x_{t-1} + rate d log q(x_{t-1}) / dx + sqrt(2 rate T_t) e_t,   e_t ~ N(0, I)

    The temperature T is 1 in the first half, where the points move towards samples of the flow
    given what is known. It falls to 0 in the second, where they climb to a mode. Points stay in the
    box from `low` to `high`.

    Args:
        flow: the flow.
        params: its parameters.
        x: `[..., D]`, where the points start.
        known: `[D]` or `[..., D]` booleans; these coordinates stay as they are.
        key: random key.
        low: `[D]`.
        high: `[D]`.
        num_steps: number of steps T.

    Returns:
        `[T + 1, ..., D]`, the path of each point, from its start.

    Reference:
        Dinh et al., "NICE: Non-linear Independent Components Estimation", 2014, section 5.2, where
        gradient and noise share one rate, 10 / (100 + t).
    """
    score = jax.grad(lambda x: flow.log_prob(params, x).sum())

    def step(x, inputs):
        temperature, key = inputs
        noise = jnp.sqrt(2 * _RATE * temperature) * jax.random.normal(key, x.shape, x.dtype)
        uphill = jnp.clip(_RATE * score(x), -_MAX_MOVE, _MAX_MOVE)
        x = jnp.where(known, x, jnp.clip(x + uphill + noise, low, high))
        return x, x

    temperatures = jnp.minimum(1, 2 - 2 * jnp.arange(1, num_steps + 1) / num_steps)
    _, path = jax.lax.scan(step, x, (temperatures, jax.random.split(key, num_steps)))
    return jnp.concatenate([x[None], path])


def complete(fitted: Finished, target: Target, lost: int, settings: Settings) -> Completion:
    """Completes points with known coordinates of true samples, and scores them.

    The row of the table has the mean true log-density and the mean mode error of the random starts,
    of the completed points, and of as many exact samples given the known coordinate; and the mean
    log-density of the highest mode.
    """
    known_key, start_key, key = jax.random.split(
        jax.random.fold_in(jax.random.key(settings.seed), lost), 3
    )
    shape = settings.num_known, settings.num_completions, 2
    low, high = jnp.array(target.window.bounds).T
    known = target.density.sample(seed=known_key, sample_shape=(settings.num_known, 1))
    is_known = jnp.arange(2) != lost
    start = jnp.where(
        is_known, known, jax.random.uniform(start_key, shape, minval=low, maxval=high)
    )
    path = np.asarray(
        inpaint(
            fitted.result.flow,
            fitted.result.params,
            start,
            is_known,
            key,
            low=low,
            high=high,
            num_steps=settings.num_ascent_steps,
        )
    )
    truth = Conditional(target.log_prob, known[:, 0], lost, target.window.bounds[lost])
    draws = truth.sample(np.random.default_rng(settings.seed), settings.num_completions)
    points = {"start": path[0, ..., lost], "completed": path[-1, ..., lost], "draws": draws}
    row = {
        **{name: fitted.row[name] for name in ("density", "model", "base")},
        "lost": f"x{lost + 1}",
        **{f"log_p_{name}": f"{truth.log_prob(x).mean():.4f}" for name, x in points.items()},
        "log_p_highest": f"{truth.log_joint.max(axis=1).mean():.4f}",
        **{f"mode_error_{name}": f"{truth.mode_error(x).mean():.4f}" for name, x in points.items()},
    }
    return Completion(lost, path, row)


class Conditional:
    """The conditional density of coordinate `lost`, given K values of the other, on a grid.

    Args:
        log_prob: log-density in the plane, from `[N, 2]` to `[N]`.
        known: `[K, 2]`, points with the known values; their coordinate `lost` is ignored.
        lost: 0 or 1.
        interval: lower and upper end of the grid.

    Attributes:
        log_joint: `[K, G]`, log-density of both coordinates at the centres of G cells.
    """

    def __init__(
        self,
        log_prob: Callable[[jax.Array], jax.Array],
        known: jax.Array,
        lost: int,
        interval: tuple[float, float],
    ):
        self._low, self._high = interval
        centres = self._low + self._width * (jnp.arange(_NUM_CELLS) + 0.5)
        points = jnp.repeat(known[:, None], _NUM_CELLS, axis=1).at[..., lost].set(centres[None])
        log_joint = log_prob(points.reshape(-1, 2)).reshape(points.shape[:2])
        self.log_joint = np.asarray(log_joint, np.float64)
        density = np.exp(self.log_joint - self.log_joint.max(axis=1, keepdims=True))
        self._mass = density / density.sum(axis=1, keepdims=True)
        # Numbers the modes from below: a new one begins at each local minimum.
        before, here, after = self.log_joint[:, :-2], self.log_joint[:, 1:-1], self.log_joint[:, 2:]
        minimum = (here < before) & (here <= after)
        self._mode = np.cumsum(np.pad(minimum, ((0, 0), (1, 1))), axis=1)

    def sample(self, rng: np.random.Generator, num: int) -> np.ndarray:
        """Samples of the lost coordinate, `[K, num]`."""
        cells = np.array([rng.choice(_NUM_CELLS, num, p=mass) for mass in self._mass])
        return self._low + self._width * (cells + rng.random(cells.shape))

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """Log-density of both coordinates, `[K, M]`, at M values of the lost one for each known."""
        return np.take_along_axis(self.log_joint, self._cells(x), axis=1)

    def mode_error(self, x: np.ndarray) -> np.ndarray:
        """Total variation between the modes' shares of values `[K, M]` and their masses: `[K]`.

        0 if each mode has its share, 1 if all values are at modes without mass.
        """
        num_modes = self._mode.max() + 1
        errors = []
        for mode, mass, cells in zip(self._mode, self._mass, self._cells(x), strict=True):
            shares = np.bincount(mode[cells], minlength=num_modes) / len(cells)
            errors.append(0.5 * np.abs(shares - np.bincount(mode, mass, num_modes)).sum())
        return np.array(errors)

    @property
    def _width(self) -> float:
        return (self._high - self._low) / _NUM_CELLS

    def _cells(self, x: np.ndarray) -> np.ndarray:
        return np.clip(((x - self._low) / self._width).astype(int), 0, _NUM_CELLS - 1)
