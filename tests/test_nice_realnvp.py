"""The NICE and RealNVP experiment in miniature, and the ascent that recovers coordinates."""

import csv
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import distrax_flows as dxf

pytest.importorskip("tyro")
Image = pytest.importorskip("PIL.Image")

from experiments.nice_realnvp import __main__ as nice_realnvp  # noqa: E402
from experiments.nice_realnvp.fits import make_source  # noqa: E402
from experiments.nice_realnvp.inpainting import Conditional, inpaint  # noqa: E402
from experiments.nice_realnvp.models import make_flow  # noqa: E402
from experiments.nice_realnvp.settings import Settings  # noqa: E402


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_nice_realnvp(tmp_path):
    models = ("realnvp_batch_norm",)
    settings = Settings(quick=True, densities=("moons",), models=models, output=tmp_path)
    nice_realnvp.main(settings)
    rows = read(tmp_path / "results.csv")
    assert [(row["density"], row["model"], row["split"]) for row in rows] == [
        ("moons", "realnvp_batch_norm", "half"),
        ("moons, twice", "realnvp", "half"),
        ("moons, twice", "realnvp", "even-odd"),
    ]
    for row in rows:
        kl, stderr, nll, entropy = (float(row[c]) for c in ("kl", "kl_stderr", "nll", "entropy"))
        # Less than a Gaussian has of the same means and deviations: 0.997 nats each draw.
        assert 0 < kl < (1.9 if "twice" in row["density"] else 0.9)
        assert 0 < stderr < 0.05
        # The entropy that the draws themselves tell errs by about 1 / sqrt(10,000).
        assert nll - kl == pytest.approx(entropy, abs=0.06)
    completed = read(tmp_path / "inpainting.csv")
    assert [row["lost"] for row in completed] == ["x2", "x1"]
    for row in completed:
        start, end, draws, highest = (
            float(row[f"log_p_{name}"]) for name in ("start", "completed", "draws", "highest")
        )
        assert start + 1 < end < highest
        assert draws < highest
        assert float(row["mode_error_draws"]) < float(row["mode_error_start"])
    for name in ("moons", "moons_grid", "moons_inpainting"):
        path = tmp_path / f"{name}.png"
        assert path.stat().st_size < 300_000
        with Image.open(path) as image:
            assert np.asarray(image.convert("RGB")).std() > 10  # not blank


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": ("glow",)}, r"`models` must be one of \['nice', .*got 'glow'"),
        ({"bases": ("uniform",)}, "`bases` must be one of"),
        ({"densities": ()}, "`densities` must hold at least one"),
        ({"split_density": "two_gaussians"}, "`split_density` must be one of"),
        ({"num_completions": 0}, "`num_completions` must be at least 1; got 0"),
    ],
)
def test_refuses(changes, message, tmp_path):
    settings = dataclasses.replace(Settings(output=tmp_path / "new"), **changes)
    with pytest.raises(ValueError, match=message):
        nice_realnvp.main(settings)
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_inpainting_of_a_gaussian():
    """Half-way the points are draws; at the end they are near the mode. Known ones stay."""
    flow = dxf.transform(lambda: dxf.flows.nice(2, num_layers=2, hidden_sizes=(4,)))
    params = flow.init(jax.random.key(0), jnp.zeros((1, 2)))
    x = jax.random.uniform(jax.random.key(1), (2_000, 2), minval=-4.0, maxval=4.0)
    path = inpaint(
        flow,
        params,
        x,
        jnp.array([True, False]),
        jax.random.key(2),
        low=jnp.array([-4.0, -4.0]),
        high=jnp.array([4.0, 4.0]),
        num_steps=2_000,
    )
    assert path.shape == (2_001, 2_000, 2)
    np.testing.assert_array_equal(path[..., 0], np.broadcast_to(x[:, 0], (2_001, 2_000)))
    np.testing.assert_array_equal(path[0], x)
    assert path[1_000, :, 1].std() == pytest.approx(1, abs=0.06)
    assert abs(path[1_000, :, 1].mean()) < 0.1
    # The variance follows the temperature 1 / (2 rate) = 100 steps behind, a tenth of the descent.
    assert path[-1, :, 1].std() == pytest.approx(0.1**0.5, abs=0.03)


def test_modes_of_a_conditional():
    def log_prob(x):
        modes = jnp.array([-2.0, 2.0])
        log_weights = jnp.log(jnp.array([0.25, 0.75]))
        exponents = log_weights[None] - 0.5 * ((x[:, 1:] - modes[None]) / 0.3) ** 2
        return jax.nn.logsumexp(exponents, axis=-1) - 0.5 * x[:, 0] ** 2

    truth = Conditional(log_prob, jnp.array([[0.0, 9.0], [1.0, 9.0]]), 1, (-4.0, 4.0))
    draws = truth.sample(np.random.default_rng(0), 10_000)
    assert draws.shape == (2, 10_000)
    assert (draws > 0).mean() == pytest.approx(0.75, abs=0.02)
    assert truth.mode_error(draws).max() < 0.02
    lower = np.full((2, 100), -1.9)
    np.testing.assert_allclose(truth.mode_error(lower), 0.75, atol=1e-3)
    np.testing.assert_allclose(truth.mode_error(-lower), 0.25, atol=1e-3)
    expected = log_prob(jnp.array([[0.0, -1.9], [1.0, -1.9]]))
    np.testing.assert_allclose(truth.log_prob(lower), expected[:, None].repeat(100, 1), atol=0.02)


def test_even_odd_splits():
    """The same flow of reordered data; and its second half, the odd ones, depends on the even."""
    half, even_odd = (
        make_flow("realnvp", 4, num_layers=1, hidden_sizes=(8,), split=split)
        for split in ("half", "even-odd")
    )
    x = make_source("moons, twice").sample(jax.random.key(0), 100)
    params = half.init(jax.random.key(1), x[:, jnp.array([0, 2, 1, 3])])
    params = jax.tree.map(lambda leaf: leaf + 0.3, params)
    even_odd.init(jax.random.key(1), x)  # does not fail
    np.testing.assert_allclose(
        even_odd.log_prob(params, x),
        half.log_prob(params, x[:, jnp.array([0, 2, 1, 3])]),
        rtol=1e-5,
    )


@pytest.mark.slow
def test_nice_rests_at_the_identity_on_mirrored_data():
    """What the experiment starts off the identity for."""
    flow = make_flow("nice", 2, num_layers=3, hidden_sizes=(8,), base="logistic")
    x = jax.random.normal(jax.random.key(0), (50, 2))
    mirrored = jnp.concatenate([x * jnp.array([a, b]) for a in (1, -1) for b in (1, -1)])
    params = flow.init(jax.random.key(1), mirrored)
    gradients = jax.grad(lambda p: flow.log_prob(p, mirrored).mean())(params)
    networks = [gradients[name] for name in gradients if "mlp" in name]
    assert networks
    for leaf in jax.tree.leaves(networks):
        np.testing.assert_allclose(leaf, 0, atol=1e-6)
