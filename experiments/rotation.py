"""A shift, a rotation and a scale, fitted by maximum likelihood with distrax and optax alone.

    python -m experiments.rotation
    python -m experiments.rotation --quick --output /tmp/rotation

Here the bijectors of distrax_flows are used in plain distrax code: arrays in, a bijector out,
`distrax.Transformed` around it, and a loss that rebuilds it from a dictionary of raw parameters.

    x = shift + R(angle) diag(exp(log_scale)) z,   z ~ N(0, I)

The density determines an ellipse, and several parameters give the same one: the angle may change by
pi, or by pi / 2 if the scales are swapped. So learned parameters are stated as by `canonical`, with
the larger scale first and the angle in [-pi / 2, pi / 2). The true ones already have this form.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from matplotlib.axes import Axes
from tqdm import tqdm

import distrax_flows as dxf
from distrax_flows.diagnostics import plotting
from experiments._command import check, quick_means, run
from experiments._common import use_compilation_cache
from experiments._summary import format_rows
from experiments._table import Row, Table, as_row

Params: TypeAlias = Mapping[str, ArrayLike]

TRUE_PARAMS = {
    "shift": np.array([1.0, -2.0]),
    "angle": np.array(0.6),
    "log_scale": np.log([2.0, 0.5]),
}
COLUMNS = "parameter true learned standard_error"
_CHUNK = 100  # steps between reports of the loss


@quick_means(num_steps=500, num_samples=2_000)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """A shift, a rotation and a scale, fitted to data: a table and a picture."""

    num_steps: int = 2_000  # Training steps, each on all the data.
    num_samples: int = 10_000  # Samples of the true density to fit.
    seed: int = 0  # Of the samples.
    output: Path = Path("figures/rotation")  # Folder to write into.
    quick: bool = False  # Few steps and samples.


def main(settings: Settings) -> None:
    """Runs the experiment."""
    check(settings)
    key = jax.random.key(settings.seed)
    x = make_density(TRUE_PARAMS).sample(seed=key, sample_shape=(settings.num_samples,))
    params = canonical(fit(x, settings.num_steps))
    table = Table(settings.output / "results.csv", COLUMNS)
    for row in compare(params, settings.num_samples):
        table.add(row)
    draw(settings.output / "rotation.png", x, params)
    print(format_rows(table.rows, COLUMNS))


def make_density(params: Params) -> distrax.Transformed:
    """The density with these parameters: scale first, then rotation, then shift."""
    base = distrax.Independent(distrax.Normal(jnp.zeros(2), jnp.ones(2)), 1)
    bijector = distrax.Chain(
        [
            dxf.Shift(jnp.asarray(params["shift"])),
            dxf.Rotation(jnp.asarray(params["angle"])),
            dxf.Scale(jnp.asarray(params["log_scale"])),
        ]
    )
    return distrax.Transformed(base, bijector)


def fit(x: jax.Array, num_steps: int) -> Params:
    """Maximum likelihood from the identity, by Adam on all rows of `x`, `[N, 2]`."""
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, num_steps))

    def step(state, _):
        params, optimizer_state = state
        loss, grads = jax.value_and_grad(lambda p: -make_density(p).log_prob(x).mean())(params)
        updates, optimizer_state = optimizer.update(grads, optimizer_state)
        return (optax.apply_updates(params, updates), optimizer_state), loss

    run = jax.jit(lambda state, num: jax.lax.scan(step, state, length=num), static_argnums=1)
    params = {"shift": jnp.zeros(2), "angle": jnp.zeros(()), "log_scale": jnp.zeros(2)}
    state = params, optimizer.init(params)
    with tqdm(total=num_steps, unit="step", disable=None) as bar:
        for start in range(0, num_steps, _CHUNK):
            state, loss = run(state, min(_CHUNK, num_steps - start))
            bar.set_postfix(nll=f"{loss[-1]:.4f}")
            bar.update(len(loss))
    return state[0]


def canonical(params: Params) -> dict[str, np.ndarray]:
    """The same density's parameters with the larger scale first, angle in [-pi / 2, pi / 2)."""
    shift, angle, log_scale = (np.asarray(params[key]) for key in ("shift", "angle", "log_scale"))
    if log_scale[0] < log_scale[1]:
        angle, log_scale = angle + np.pi / 2, log_scale[::-1]
    return {
        "shift": shift,
        "angle": (angle + np.pi / 2) % np.pi - np.pi / 2,
        "log_scale": log_scale,
    }


def compare(params: Params, num_samples: int) -> list[Row]:
    """Rows of true and learned values.

    The standard error is that of the maximum-likelihood estimate at the true parameters, from the
    inverse Fisher information of `num_samples` samples.
    """
    scale, angle = np.exp(TRUE_PARAMS["log_scale"]), TRUE_PARAMS["angle"]
    axes = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    angle_variance = (scale[0] * scale[1] / (scale[0] ** 2 - scale[1] ** 2)) ** 2
    variances = [*np.square(axes).sum(axis=1), angle_variance, *(np.square(scale) / 2)]
    names = ["shift_x", "shift_y", "angle", "scale_1", "scale_2"]
    columns = zip(names, _values(TRUE_PARAMS), _values(params), variances, strict=True)
    return [
        as_row(
            parameter=name,
            true=f"{true:.4f}",
            learned=f"{learned:.4f}",
            standard_error=f"{(variance / num_samples) ** 0.5:.4f}",
        )
        for name, true, learned, variance in columns
    ]


def draw(path: Path, x: jax.Array, params: Params) -> None:
    """Base samples, data with the true ellipse, and the learned density with its own."""
    z = jnp.asarray(make_density(TRUE_PARAMS).bijector.inverse(x))
    bounds = plotting.sample_bounds(jnp.concatenate([x, z]))
    density = plotting.density_grid(jax.jit(make_density(params).log_prob), bounds)
    figure, (axes,) = plotting.panels(1, 3, size=2.8)
    plotting.plot_samples(axes[0], z, bounds, num=60)
    plotting.plot_samples(axes[1], x, bounds, num=60, vmax=density.max())
    plotting.plot_density(axes[2], density, bounds)
    identity = {"shift": np.zeros(2), "angle": 0.0, "log_scale": np.zeros(2)}
    for ax, title, shown in (
        (axes[0], "base samples", identity),
        (axes[1], "data, true axes", TRUE_PARAMS),
        (axes[2], "learned density and axes", params),
    ):
        ax.set_title(title, fontsize=10)
        _draw_ellipse(ax, shown)
    plotting.save_png(path, figure)


def _values(params: Params) -> list[float]:
    """Shifts, angle and scales, in this order."""
    parts = [params["shift"], params["angle"], np.exp(params["log_scale"])]
    return np.concatenate([np.atleast_1d(part) for part in parts]).tolist()


def _draw_ellipse(ax: Axes, params: Params) -> None:
    """The images of the base's circle of two standard deviations, and of its axes."""
    turn = jnp.linspace(0, 2 * jnp.pi, 200)
    circle = 2 * jnp.stack([jnp.cos(turn), jnp.sin(turn)], axis=-1)
    axes = jnp.array([[2.0, 0.0], [0.0, 0.0], [0.0, 2.0]])
    for line in (circle, axes):
        xs, ys = np.asarray(make_density(params).bijector.forward(line)).T
        ax.plot(xs, ys, color="w", linewidth=1)


if __name__ == "__main__":
    use_compilation_cache()
    run("experiments.rotation", main, Settings)
