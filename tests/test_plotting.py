"""Plots show the numbers they are given."""

import io
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
from matplotlib.colors import to_rgb

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


def test_corner_marks_a_point_of_each_set_in_its_color():
    points = np.array([[0.0, 1.0], [2.0, 3.0]])
    figure = plotting.corner(DATA[:, :2], DATA[:, 1:], truth=points)
    pair = next(ax for ax in figure.axes if ax.get_ylabel())
    drawn = [(line.get_color(), line.get_xdata()[0], line.get_ydata()[0]) for line in pair.lines]
    (color, x, _), (_, _, y) = drawn[:2]
    assert (color, x, y) == (plotting.COLORS[0], 0, 1)
    (color, x, _), (_, _, y) = drawn[2:]
    assert (color, x, y) == (plotting.COLORS[1], 2, 3)


def test_notebooks_show_figures():
    figure, axes = plotting.panels(1, 2, size=2.0, dpi=100)
    axes[0, 0].plot([0, 1])
    for shown in (figure, pickle.loads(pickle.dumps(figure))):
        picture = PIL.Image.open(io.BytesIO(shown._repr_png_()))
        assert picture.size == (400, 200)


def test_slices_show_each_context_in_one_window():
    """A context scales samples; regions of a Gaussian have radii 1, 2, 3 times its scale."""
    scales = np.array([1.0, 0.05, 2.0])
    x = np.random.default_rng(1).normal(size=(100_000, 1, 3)) * scales[:, None]
    x[..., 1] = 100.0  # marginalised
    figure, axes = plotting.panels(1, 3)
    points = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    plotting.plot_slices(
        axes[0], x, dims=(2, 0), names=list("abc"), titles=["one", "two", "three"], truth=points
    )
    plotting.figure_image(figure)
    for ax, scale, point, color in zip(axes[0], scales, points, plotting.COLORS, strict=False):
        outlines = ax.collections[0].get_paths()
        radii = [np.linalg.norm(path.vertices, axis=1).max() / scale for path in outlines]
        np.testing.assert_allclose(radii, [3, 2, 1][: len(radii)], rtol=0.15)
        shades = ax.collections[0].get_facecolor()
        assert len(shades) == 3
        np.testing.assert_allclose(shades[:, :3], [to_rgb(color)] * 3)
        assert ax.get_xlim() == axes[0, 0].get_xlim()
        assert ax.get_ylim() == axes[0, 0].get_ylim()
        assert [ax.lines[0].get_xdata()[0], ax.lines[1].get_ydata()[0]] == [point[2], point[0]]
    assert 6 < axes[0, 0].get_xlim()[1] < 8
    assert [ax.get_title() for ax in axes[0]] == ["one", "two", "three"]
    assert (axes[0, 0].get_xlabel(), axes[0, 0].get_ylabel()) == ("c", "a")


def test_contours_hold_their_mass():
    """The middle contour of a standard Gaussian is a circle of radius 2."""
    x = np.random.default_rng(1).normal(size=(100_000, 2))
    figure = plotting.corner(x)
    contours = next(ax for ax in figure.axes if ax.get_ylabel()).collections[0]
    radii = sorted(
        np.median(np.linalg.norm(path.vertices, axis=1)) for path in contours.get_paths()
    )
    np.testing.assert_allclose(radii, [1, 2, 3], rtol=0.06)


STACKED = np.stack([DATA, DATA], axis=1)


def slices(samples, **options):
    plotting.plot_slices(plotting.panels(1, 2)[1][0], samples, **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (plotting.corner, "`sets` must be non-empty matrices"),
        (lambda: plotting.corner(DATA, DATA[:, :2]), "`sets` must have the same number of columns"),
        (lambda: plotting.corner(np.zeros((2, 21))), "`sets` must have at most 20 columns; got 21"),
        (lambda: plotting.corner(DATA * np.nan), "`sets` must be finite; set 0 has"),
        (lambda: plotting.corner(DATA, names="ab"), "`names` must have 3 entries; got names='ab'"),
        (
            lambda: plotting.corner(DATA, truth=[1.0]),
            r"`truth` must have shape \(3,\), or \(1, 3\) for a point of each set; got \(1,\)",
        ),
        (lambda: slices(DATA), r"`samples` must be \[N, K, D\].*got shape \(2000, 3\)"),
        (lambda: slices(STACKED * np.nan), "`samples` must be finite; those of context 0 have"),
        (lambda: slices(STACKED[:, :1]), "`axes` must have 1 entries; got"),
        (lambda: slices(STACKED, dims=(0, 3)), r"dimensions from 0 to 2; got dims=\(0, 3\)"),
        (lambda: slices(STACKED, dims=(1, 1)), r"`dims` must be two different .*dims=\(1, 1\)"),
        (lambda: slices(STACKED, titles=["a"]), "`titles` must have 2 entries; got titles="),
        (lambda: slices(STACKED, truth=DATA[:2, :2]), r"`truth` must have shape \(2, 3\), a point"),
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
