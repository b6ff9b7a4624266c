"""The experiment on autoencoders: end to end in miniature, its decoder and its data."""

import csv
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

pytest.importorskip("tyro")
pytest.importorskip("sklearn")
Image = pytest.importorskip("PIL.Image")

from experiments._digits import load_digits  # noqa: E402
from experiments.vae import __main__ as vae  # noqa: E402
from experiments.vae.beta_binomial import BetaBinomial  # noqa: E402
from experiments.vae.fits import sizes  # noqa: E402
from experiments.vae.models import make_autoencoder, make_decode_mean  # noqa: E402
from experiments.vae.settings import POSTERIORS, Settings  # noqa: E402

SMALL = Settings(hidden_sizes=(8,), num_layers=2, flow_hidden_sizes=(8,), latent_size=3)


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def assert_picture(path):
    assert 0 < path.stat().st_size < 300_000
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert min(pixels.shape[:2]) > 300
    assert pixels.std() > 10  # not blank


@pytest.mark.slow
def test_vae(tmp_path, capsys, monkeypatch):
    output, checkpoints = tmp_path / "output", tmp_path / "checkpoints"
    settings = Settings(
        quick=True, num_steps=100, eval_every=50, output=output, checkpoints=checkpoints
    )
    vae.main(settings)
    rows = read(output / "results.csv")
    assert list(rows[0]) == vae.COLUMNS.split()
    assert [row["posterior"] for row in rows] == list(settings.posteriors)
    for row in rows:
        # A uniform distribution of levels has 181.
        assert -181 < float(row["elbo"]) < float(row["importance_weighted"]) < -70
        assert 0 < float(row["elbo_stderr"]) < 3
        assert float(row["train_elbo"]) == pytest.approx(float(row["elbo"]), abs=5)
        assert 0 < int(row["best_step"]) <= settings.num_steps
    assert int(rows[0]["num_params"]) < int(rows[1]["num_params"])
    assert "gain over gaussian" in capsys.readouterr().out
    assert_picture(output / "overview.png")
    assert any((checkpoints / "iaf-0").iterdir())

    # Nothing is fitted again, and all is shown.
    (output / "overview.png").unlink()
    monkeypatch.setattr(vae, "fit", lambda row, **_: pytest.fail(f"fitted again: {row}"))
    vae.main(dataclasses.replace(settings, resume=True))
    assert read(output / "results.csv") == rows
    assert_picture(output / "overview.png")


def test_beta_binomial():
    a, b = np.array([0.01, 0.5, 3.0, 40.0]), np.array([0.02, 2.0, 0.1, 30.0])
    pixels = BetaBinomial(16, jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32))
    levels = np.arange(17.0, dtype=np.float32)[:, None]
    exact = scipy.stats.betabinom(16, a, b)
    np.testing.assert_allclose(pixels.log_prob(levels), exact.logpmf(levels), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(pixels.mean(), exact.mean(), rtol=1e-5)
    samples = np.asarray(pixels.sample(seed=0, sample_shape=(20_000,)))
    assert samples.dtype == np.float32
    frequency = (samples == levels[..., None]).mean(axis=1)
    np.testing.assert_allclose(frequency, exact.pmf(levels), atol=0.015)


def test_the_split_is_of_all_digits_and_always_the_same():
    splits = load_digits()
    assert [len(part) for part in splits] == [1439, 179, 179]
    assert {(part.min(), part.max()) for part in splits} == {(0, 16)}
    for part, again in zip(splits, load_digits(), strict=True):
        np.testing.assert_array_equal(part, again)
    rows = np.concatenate(splits)
    assert len(np.unique(rows, axis=0)) == len(rows)


# Each takes seconds to compile.
@pytest.mark.slow
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_autoencoders(posterior):
    """A flow starts as its Gaussian, all parameters learn, and samples are decoded levels."""
    flow = make_autoencoder(posterior, **sizes(posterior, SMALL))
    x = load_digits().test[:20]
    params = flow.init(0, x)
    gaussian = make_autoencoder("gaussian", **sizes("gaussian", SMALL))
    np.testing.assert_allclose(
        flow.log_prob(params, x, key=0).mean(),
        gaussian.log_prob(params, x, key=0).mean(),
        rtol=0.05,
    )
    moved = jax.tree.map(lambda leaf: leaf + 0.01, params)
    gradients = jax.grad(lambda params: flow.log_prob(params, x, key=0).mean())(moved)
    assert all((gradient != 0).any() for gradient in jax.tree.leaves(gradients))
    z = jnp.broadcast_to(flow.sample_base(moved, 0, ()), (2_000, SMALL.latent_size))
    decoded, _ = flow.forward(moved, z, key=0)
    assert set(np.unique(decoded)) <= set(range(17))
    mean = make_decode_mean(SMALL.hidden_sizes)(moved, z[0])
    np.testing.assert_allclose(decoded.mean(axis=0), mean, atol=0.9)


def test_gains_are_over_the_first_posterior():
    rows = [
        dict.fromkeys(vae.COLUMNS.split(), "1") | {"posterior": name, "seed": seed, "elbo": elbo}
        for name, seed, elbo in (
            ("gaussian", "0", "-80"),
            ("gaussian", "1", "-84"),
            ("iaf", "0", "-79"),
            ("iaf", "1", "-81"),
        )
    ]
    *_, gaussian, iaf = vae.summary(rows).splitlines()
    assert gaussian.split()[:4] == ["gaussian", "-82.00", "±", "2.00"]
    assert iaf.split()[:7] == ["iaf", "-80.00", "±", "1.00", "2.00", "±", "1.00"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"posteriors": ("maf",)}, r"`posteriors` must be one of \['gaussian', .*got 'maf'"),
        ({"seeds": ()}, "`seeds` must hold at least one value"),
        ({"num_samples": 0}, "`num_samples` must be at least 1"),
        ({"latent_size": 0}, "`latent_size` must be at least 1"),
        ({"weight_decay": -1.0}, "`weight_decay` must be at least 0"),
    ],
)
def test_refusals(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        vae.main(Settings(**{"output": tmp_path / "new"} | changes))
    assert not (tmp_path / "new").exists()
