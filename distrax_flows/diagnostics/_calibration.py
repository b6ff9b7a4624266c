"""Calibration of a flow by ranks of data among its samples."""

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
import scipy.special
from jaxtyping import Float, Int, Shaped

from distrax_flows._core.checks import check_positive_int
from distrax_flows._core.keys import as_key
from distrax_flows._core.types import ArrayLike
from distrax_flows.functional.flow import Flow, Params, events_of

__all__ = ["Calibration", "calibration", "rank_among"]

_NUM_SIMULATIONS = 5_000  # of uniform ranks; they resolve p-values of 1/5001
_MOST_EVALUATIONS = 1_000_000  # of the binomial distribution at a time


class Calibration(NamedTuple):
    """Ranks of events among samples: independent and uniform on 0..S if the flow is correct.

    Attributes:
        ranks: `[N, Q]`, for each event and quantity the number of samples below it; ties are broken
            at random.
        num_samples: number S of samples for each event.
        names: names of the Q quantities; see `calibration`.
    """

    ranks: Int[np.ndarray, "N Q"]
    num_samples: int
    names: tuple[str, ...]

    @property
    def p_values(self) -> Float[np.ndarray, " Q"]:
        """`[Q]`, probability that uniform ranks deviate as much.

        The deviation of an empirical distribution function is the smallest two-sided binomial tail
        probability over its points, and is compared with that of 5,000 sets of simulated ranks. If
        it is beyond all of them, the p-value is the smaller of 1/5001 and a union bound.

        Raises:
            ValueError: `ranks` is not `[N, Q]`, or a rank is not from 0 to S.
        """
        self._check()
        num_events = len(self.ranks)
        simulated = _simulated_deviations(num_events, self.num_samples)
        counts = np.stack([_cumulative(ranks, self.num_samples) for ranks in self.ranks.T])
        deviations = _deviation(counts, num_events)
        num_as_far = (simulated <= deviations[:, None]).sum(axis=1)
        p_values = (1 + num_as_far) / (1 + len(simulated))
        union_bound = self.num_samples * deviations
        return np.where(num_as_far == 0, np.minimum(p_values, union_bound), p_values)

    @property
    def p_value(self) -> float:
        """Probability that any quantity deviates as much; Bonferroni's bound, at most 1."""
        return float(min(1.0, len(self.names) * self.p_values.min()))

    def coverage(self, levels: Float[np.ndarray, " L"] | Sequence[float]) -> np.ndarray:
        """Return the share of events within the regions of each level, `[L, Q]`.

        For "hpd" and "tarp" this is their expected coverage, and for a coordinate the share of
        events below the quantile of that level. Calibrated samples give the levels themselves.
        Above the line, "hpd" regions are too wide, below it too narrow.

        Args:
            levels: L numbers between 0 and 1.
        """
        below = self.ranks[None] + 0.5 <= np.reshape(levels, (-1, 1, 1)) * (self.num_samples + 1)
        return below.mean(axis=1)

    def band(
        self, levels: Float[np.ndarray, " L"] | Sequence[float], confidence: float = 0.95
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the simultaneous confidence band of the coverage curve, `[L]` each.

        A curve leaves it at some level `k / (S + 1)` exactly if its p-value is below
        `1 - confidence`.

        Args:
            levels: L numbers between 0 and 1.
            confidence: probability that calibrated samples stay inside at all levels.
        """
        if not 0 < confidence < 1:
            raise ValueError(f"`confidence` must be between 0 and 1; got {confidence=}.")
        num_events = len(self.ranks)
        simulated = _simulated_deviations(num_events, self.num_samples)
        tail = np.quantile(simulated, 1 - confidence, method="lower") / 2
        # A level counts as the nearest multiple of 1 / (S + 1), as in `coverage`.
        num_ranks = self.num_samples + 1
        exact = np.clip(np.floor(np.asarray(levels) * num_ranks + 0.5) / num_ranks, 0, 1)
        # The counts whose tails on both sides are likely enough.
        counts = np.arange(num_events + 1)[:, None]
        low = (scipy.special.bdtr(counts, num_events, exact) < tail).sum(axis=0)
        high = (scipy.special.bdtrc(counts - 1, num_events, exact) >= tail).sum(axis=0) - 1
        return low / num_events, high / num_events

    def _check(self) -> None:
        shape = np.shape(self.ranks)
        if len(shape) != 2 or shape[0] == 0 or shape[1] != len(self.names):
            raise ValueError(
                f"`ranks` must be [N, Q], with a column for each of {len(self.names)} names; got "
                f"ranks.shape={shape}."
            )
        low, high = np.min(self.ranks), np.max(self.ranks)
        if low < 0 or high > self.num_samples:
            raise ValueError(
                f"`ranks` must be from 0 to {self.num_samples}, the number of samples; got ranks "
                f"from {low} to {high}."
            )

    def __str__(self) -> str:
        lines = [f"{name:12}{p:10.4f}" for name, p in zip(self.names, self.p_values, strict=True)]
        return "\n".join([f"{'quantity':12}{'p-value':>10}", *lines])


def calibration(
    flow: Flow,
    params: Params,
    x: Shaped[ArrayLike, "N ..."],
    context: Shaped[ArrayLike, "N C"] | None = None,
    *,
    key: jax.Array | int,
    num_samples: int = 200,
    batch_size: int | None = None,
) -> Calibration:
    """Rank held-out events among samples of a flow; covers PIT, SBC, HPD and TARP coverage.

    Each event is compared with `num_samples` samples of its own, given its context. If the flow is
    the distribution of the events, all ranks are uniform. The quantities that are ranked:

    - "x[0]", "x[1]", ...: the coordinates. Given contexts, these are the ranks of simulation-based
      calibration; without, the probability integral transforms of the marginals.
    - "hpd": minus the log-density. Its coverage is that of the regions of highest density.
    - "tarp": the distance to a reference point, in standard deviations. The reference is the
      earlier event with the nearest context (the previous event without contexts). Ranks are then
      independent and uniform for the correct flow. A flow that ignores its context fails this test,
      though it may pass the others.

    A large p-value does not prove correctness: every quantity is insensitive to some errors.

    Args:
        flow: the flow.
        params: its parameters.
        x: `[N, *event_shape]`, events that the flow was not trained on. In simulation-based
            inference, parameters from the prior.
        context: `[N, C]` or None; in simulation-based inference, data simulated from `x`.
        key: random key, or an integer seed.
        num_samples: number S of samples for each event.
        batch_size: number of samples at a time, to save memory; see `Flow`.

    Raises:
        ValueError: `x` is not a batch of at least two events, or holds NaN; `context` has another
            number of rows; or `num_samples` is not a positive integer.

    Reference:
        Talts et al., "Validating Bayesian Inference Algorithms with Simulation-Based Calibration",
        2018, theorem 1; Säilynoja et al., "Graphical Test for Discrete Uniformity and its
        Applications in Goodness-of-Fit Evaluation and Multiple Sample Comparison", 2022, section 2;
        Hermans et al., "A Trust Crisis in Simulation-Based Inference?", 2022, eq. 4; Lemos et al.,
        "Sampling-Based Accuracy Testing of Posterior Estimators for General Inference", 2023,
        algorithm 2.

    Example:
        >>> import distrax_flows as dxf, jax
        >>> flow = dxf.transform(lambda: dxf.flows.realnvp(2, num_layers=2))
        >>> params = flow.init_without_data(0)  # N(0, 1) so far
        >>> right = jax.random.normal(jax.random.key(1), (500, 2))
        >>> dxf.diagnostics.calibration(flow, params, right, key=2).p_value > 0.05
        True
        >>> dxf.diagnostics.calibration(flow, params, 1.5 * right, key=2).p_value < 0.05
        True
    """
    check_positive_int("num_samples", num_samples)
    event_shape = events_of(flow, context).shape
    num_events = np.shape(x)[0] if np.ndim(x) == 1 + len(event_shape) else 0
    if num_events < 2:
        raise ValueError(f"`x` must be a batch of at least two events; got {np.shape(x)=}.")
    if context is not None and np.shape(context)[:-1] != (num_events,):
        raise ValueError(
            f"`context` must have a row for each event; got {np.shape(context)=} for "
            f"{num_events} events."
        )
    points = np.asarray(x).reshape(num_events, -1)
    bad = np.flatnonzero(np.isnan(points).any(axis=1))
    if bad.size:
        raise ValueError(
            f"`x` must not hold NaN; {bad.size} of {num_events} events do, the first being event "
            f"{bad[0]}."
        )
    sample_key, density_key, key = jax.random.split(as_key(key), 3)
    shape = (num_samples, num_events) if context is None else (num_samples,)
    samples, log_q = flow.sample_and_log_prob(
        params, sample_key, shape, context, batch_size=batch_size
    )
    density_keys = jax.random.split(density_key)
    log_p = flow.log_prob(params, x, context, key=density_keys[0], batch_size=batch_size)
    if flow.draws_random_numbers(params, context):
        # Density estimates are comparable only if they are computed in the same way.
        log_q = flow.log_prob(params, samples, context, key=density_keys[1], batch_size=batch_size)
    samples = np.asarray(samples).reshape(num_samples, num_events, -1)
    distances = _distances(samples, points, _earlier_neighbours(context, num_events))
    seeds = jax.random.key_data(jax.random.split(key, 3))
    ranks = [
        rank_among(among, value, np.asarray(seed))
        for (among, value), seed in zip(
            [
                (samples, points),
                (-np.asarray(log_q)[..., None], -np.asarray(log_p)[..., None]),
                distances,
            ],
            seeds,
            strict=True,
        )
    ]
    names = [f"x[{','.join(map(str, i))}]" for i in np.ndindex(event_shape)]
    return Calibration(np.concatenate(ranks, axis=1), num_samples, (*names, "hpd", "tarp"))


def rank_among(
    samples: Float[np.ndarray, "S N Q"], x: Float[np.ndarray, "N Q"], seed: int | np.ndarray = 0
) -> Int[np.ndarray, "N Q"]:
    """Return the number of samples below each value, breaking ties at random.

    Args:
        samples: `[S, N, Q]`.
        x: `[N, Q]`, values to be ranked among them.
        seed: seed of the ties.

    Raises:
        ValueError: the shapes do not fit, or a value or a sample is NaN.
    """
    if np.ndim(samples) != 3 or np.shape(samples)[1:] != np.shape(x):
        raise ValueError(
            "`samples` must be [S, N, Q] for `x` of shape [N, Q]; got "
            f"{np.shape(samples)=}, {np.shape(x)=}."
        )
    if np.isnan(x).any() or np.isnan(samples).any():
        raise ValueError(
            f"`samples` and `x` must not hold NaN; got it in {np.isnan(x).any(axis=-1).sum()} "
            f"events and {np.isnan(samples).any(axis=(0, 2)).sum()} sets of samples. `flow.trace` "
            "shows where it arises."
        )
    ties = (samples == x).sum(axis=0)
    return (samples < x).sum(axis=0) + np.random.default_rng(seed).integers(0, ties + 1)


def _distances(samples: np.ndarray, points: np.ndarray, nearest: np.ndarray):
    """Return distances from references, `[S, N, 1]` of samples and `[N, 1]` of the points."""
    # The scale of all, so that a point is treated like its samples.
    scale = np.concatenate([samples, points[None]]).std(axis=(0, 1), dtype=np.float64)
    scale = np.where(scale > 0, scale, 1).astype(samples.dtype)
    references = points[nearest] / scale
    distances = [
        np.linalg.norm(values / scale - references, axis=-1, keepdims=True)
        for values in (samples, points)
    ]
    # The first event has no reference: its rank is random.
    distances[0][:, 0] = distances[1][0] = 0
    return distances


def _earlier_neighbours(context, num_events: int) -> np.ndarray:
    """Return the index of the earlier event with the nearest context; 0 for the first event."""
    if context is None:
        return np.maximum(np.arange(num_events) - 1, 0)
    context = np.asarray(context, np.float64)
    scale = context.std(axis=0)
    context = context / np.where(scale > 0, scale, 1)
    nearest = [0]
    for i in range(1, num_events):
        nearest.append(int(np.argmin(np.sum((context[:i] - context[i]) ** 2, axis=-1))))
    return np.array(nearest)


def _cumulative(ranks: np.ndarray, num_samples: int) -> np.ndarray:
    """Return the number of ranks up to each rank but the last, `[S]`."""
    return np.bincount(ranks, minlength=num_samples + 1)[:-1].cumsum()


def _deviation(counts: np.ndarray, num_events: int) -> np.ndarray:
    """Return the smallest two-sided tail probability of cumulative counts `[..., S]`."""
    num_samples = counts.shape[-1]
    level = np.arange(1, num_samples + 1) / (num_samples + 1)
    low = scipy.special.bdtr(counts, num_events, level)
    high = scipy.special.bdtrc(counts - 1, num_events, level)
    return 2 * np.minimum(low, high).min(axis=-1)


@functools.lru_cache(maxsize=16)
def _simulated_deviations(num_events: int, num_samples: int) -> np.ndarray:
    """Return deviations of uniform ranks, determined by the arguments alone."""
    rng = np.random.default_rng(0)

    def simulate() -> Iterator[np.ndarray]:
        left = _NUM_SIMULATIONS
        while left:
            num = min(left, max(1, _MOST_EVALUATIONS // num_samples))
            uniform = np.full(num_samples + 1, 1 / (num_samples + 1))
            counts = rng.multinomial(num_events, uniform, size=num)[:, :-1].cumsum(axis=1)
            yield _deviation(counts, num_events)
            left -= num

    return np.concatenate(list(simulate()))
