"""Plots show the numbers they are given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import distrax_flows as dxf
from distrax_flows.diagnostics import Calibration, plotting

RNG = np.random.default_rng(0)
DATA = RNG.normal(size=(2000, 3))


@pytest.fixture
def ax():
    return plotting.panels(1, 1)[1][0, 0]


def lines(ax):
    return [np.column_stack(line.get_data()) for line in ax.get_lines()]


def test_calibration_shows_coverage_and_band(ax):
    ranks = np.stack([RNG.integers(0, 51, 300), RNG.integers(0, 30, 300)], axis=1)
    found = Calibration(ranks, 50, ("right", "wrong"))
    plotting.plot_calibration(ax, found, ("wrong", "right"))
    _, wrong, right = lines(ax)
    for index, curve in ((1, wrong), (0, right)):
        np.testing.assert_allclose(curve[:, 1], found.coverage(curve[:, 0])[:, index])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["wrong", "right"]
    (band,) = ax.collections
    vertices = band.get_paths()[0].vertices
    levels = np.arange(52) / 51
    low, high = found.band(levels)
    for edge in (low, high):
        for point in zip(levels, edge, strict=True):
            assert np.isclose(vertices, point).all(axis=1).any()


def test_history_hides_the_first_losses_and_non_finite_ones(ax):
    loss = np.full(1000, 2.0)
    loss[:20], loss[500] = 1e6, np.nan
    history = dxf.History(
        loss=loss,
        grad_norm=loss,
        seconds=loss,
        evaluated_steps=np.array([1, 500, 1000]),
        validation_loss=np.array([1e6, 3.0, 2.5]),
        compile_seconds=0.0,
        stopped_early=False,
        extras={},
    )
    plotting.plot_history(ax, history, label="fit")
    training, validation = lines(ax)
    np.testing.assert_allclose(training[50:, 1], 2.0)
    np.testing.assert_array_equal(validation, [[1, 1e6], [500, 3.0], [1000, 2.5]])
    np.testing.assert_allclose(ax.get_ylim(), [1.95, 3.05])


def test_history_of_several_fits_and_of_none(ax):
    history = dxf.History(*[np.ones((3, 10))] * 3, np.array([]), np.ones((3, 0)), 0.0, False, {})
    plotting.plot_history(ax, history)
    assert len(lines(ax)) == 3
    empty = dxf.History(*[np.ones(0)] * 3, np.array([]), np.ones(0), 0.0, False, {})
    plotting.plot_history(ax, empty)


def test_density_on_a_line_and_its_histogram_have_mass_one(ax):
    def log_prob(x):
        return jnp.sum(jax.scipy.stats.norm.logpdf(x), axis=-1)

    plotting.plot_density_1d(ax, log_prob, -5, 5, x=DATA[:, :1], label="normal")
    (curve,) = lines(ax)
    assert np.trapezoid(curve[:, 1], curve[:, 0]) == pytest.approx(1, abs=1e-4)
    (histogram,) = ax.patches
    heights, edges, _ = histogram.get_data()
    assert np.sum(heights * np.diff(edges)) == pytest.approx(1, abs=1e-3)


def test_grid_is_mapped(ax):
    shear = dxf.LULinear(jnp.array([[2.0, 0.5], [0.0, 1.0]]))
    plotting.plot_grid(ax, shear.forward, num_lines=3, num_points=5, reach=1.0)
    found = lines(ax)
    assert len(found) == 6
    z = jnp.array([[-1.0, -1.0], [-1.0, 1.0]])
    np.testing.assert_allclose(found[0][[0, -1]], shear.forward(z), atol=1e-6)
    np.testing.assert_allclose(found[3][[0, -1]], shear.forward(z[:, ::-1]), atol=1e-6)


def test_layers_are_shown_in_order():
    flow = dxf.transform(lambda: dxf.flows.nice(2, num_layers=2, standardize=True))
    x = 5 + DATA[:, :2].astype(np.float32)
    layers = flow.trace(flow.init(0, x), x)
    _, axes = plotting.panels(1, 5)
    plotting.plot_layers(axes[0], layers, color_by=x[:, 0])
    stages = [x, *(layer.y for layer in layers)]
    for ax, stage in zip(axes[0], stages, strict=True):
        np.testing.assert_allclose(ax.collections[0].get_offsets(), stage)
    titles = [ax.get_title() for ax in axes[0]]
    assert titles == ["", "ActNorm", "ScanChain[1]", "ScanChain[0]", "Scale"]
    with pytest.raises(ValueError, match="one more than there are layers, 5; got 3"):
        plotting.plot_layers(axes[0, :3], layers)


def test_corner_shows_every_pair_once():
    figure = plotting.corner(DATA, DATA + 1, names=list("abc"), labels=["x", "y"], truth=[0, 1, 2])
    assert len(figure.axes) == 6
    first = figure.axes[0]
    heights, edges, _ = first.patches[0].get_data()
    np.testing.assert_allclose(heights, np.histogram(DATA[:, 0], edges, density=True)[0])
    (vertical,) = first.get_lines()
    assert set(vertical.get_xdata()) == {0}
    assert figure.axes[3].get_xlabel() == "a"
    assert figure.axes[3].get_ylabel() == "c"


def test_contours_hold_their_mass():
    """The middle contour of a standard Gaussian is a circle of radius 2."""
    x = np.random.default_rng(1).normal(size=(100_000, 2))
    figure = plotting.corner(x)
    contours = next(ax for ax in figure.axes if ax.get_ylabel()).collections[0]
    radii = sorted(
        np.median(np.linalg.norm(path.vertices, axis=1)) for path in contours.get_paths()
    )
    np.testing.assert_allclose(radii, [1, 2, 3], rtol=0.06)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (plotting.corner, "`sets` must be non-empty matrices"),
        (lambda: plotting.corner(DATA, DATA[:, :2]), "`sets` must have the same number of columns"),
        (lambda: plotting.corner(np.zeros((2, 21))), "`sets` must have at most 20 columns; got 21"),
        (lambda: plotting.corner(DATA * np.nan), "`sets` must be finite; set 0 has"),
        (lambda: plotting.corner(DATA, names="ab"), "`names` must have 3 entries; got names='ab'"),
        (
            lambda: plotting.plot_calibration(
                None, Calibration(np.zeros((2, 1), int), 5, ("x[0]",)), ("hpd",)
            ),
            r"`names` must be among \('x\[0\]',\); got 'hpd'",
        ),
        (lambda: plotting.plot_grid(None, len, num_lines=0), "`num_lines` must be an integer"),
    ],
)
@pytest.mark.usefixtures("wrong_types")
def test_what_plots_refuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()
