"""Bijectors of images: squeezes and scales."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import distrax_flows as dxf
from distrax_flows import bijectors, families

KEY = jax.random.key(0)


def test_blocks_become_channels():
    image = jnp.arange(4.0 * 6 * 2).reshape(4, 6, 2)
    y = bijectors.Squeeze().forward(image)
    assert y.shape == (2, 3, 8)
    for i, j in np.ndindex(2, 3):
        block = image[2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        np.testing.assert_array_equal(y[i, j], block.reshape(-1))


@pytest.mark.parametrize("factor", [2, 4])
def test_white_fields_come_first(factor):
    fields = np.indices((8, 8)).sum(axis=0) % 2
    y = bijectors.Squeeze(factor, "checkerboard").forward(fields[..., None])
    half = factor**2 // 2
    np.testing.assert_array_equal(y[..., :half], 0)
    np.testing.assert_array_equal(y[..., half:], 1)


def test_a_checkerboard_coupling_changes_black_fields_given_white_ones():
    squeeze = bijectors.Squeeze(order="checkerboard")

    def conditioner(white):
        return jnp.stack([white.sum(axis=-1, keepdims=True)] * 2, axis=-2)

    coupling = distrax.SplitCoupling(2, 3, conditioner, families.additive().bijector)
    bijector = distrax.Chain([distrax.Inverse(squeeze), coupling, squeeze])
    x = jax.random.normal(KEY, (4, 4, 1))
    y = jax.jit(bijector.forward)(x)
    black = np.indices((4, 4)).sum(axis=0) % 2 == 1
    np.testing.assert_array_equal(y[~black], x[~black])
    assert (np.abs(y - x)[black] > 1e-3).all()
    np.testing.assert_allclose(bijector.inverse(y), x, atol=1e-6)


def test_latents_leave_early_and_are_kept():
    scales = [distrax.Block(dxf.Scale(jnp.full(c, np.log(f))), 2) for c, f in ((4, 2.0), (8, 3.0))]
    bijector = dxf.MultiScale(scales)
    x = jax.random.normal(KEY, (5, 8, 12, 1))
    z, log_det = bijector.inverse_and_log_det(x)
    assert z.shape == x.shape
    finest, coarsest = bijector.split(z)
    assert (finest.shape, coarsest.shape) == ((5, 4, 6, 2), (5, 2, 3, 8))
    # The finest passed one scale, the coarsest both.
    pixels = bijectors.Squeeze().forward(x)
    np.testing.assert_allclose(finest, pixels[..., 2:] / 2, rtol=1e-6)
    rest = bijectors.Squeeze().forward(pixels[..., :2])
    np.testing.assert_allclose(coarsest, rest / 6, rtol=1e-6)
    np.testing.assert_allclose(log_det, -(96 * np.log(2.0) + 48 * np.log(3.0)), rtol=1e-5)
    np.testing.assert_array_equal(bijector.join([finest, coarsest]), z)


def test_scales_of_an_odd_number_of_channels():
    squeeze = bijectors.Squeeze(3)
    scales = [distrax.Block(dxf.Shift(jnp.ones(c)), 2) for c in (9, 45, 207)]
    bijector = dxf.MultiScale(scales, squeeze)
    x = jax.random.normal(KEY, (27, 27, 1))
    z = bijector.inverse(x)
    assert [latent.shape for latent in bijector.split(z)] == [(9, 9, 4), (3, 3, 22), (1, 1, 207)]
    np.testing.assert_allclose(bijector.forward(z), x, atol=1e-6)


def test_each_row_of_parameters_has_its_scales():
    scales = [distrax.Block(dxf.Shift(jnp.arange(3.0)[:, None, None, None] + jnp.zeros(4)), 2)]
    y, log_det = dxf.MultiScale(scales).forward_and_log_det(jnp.zeros((2, 2, 1)))
    assert (y.shape, log_det.shape) == ((3, 2, 2, 1), (3,))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bijectors.Squeeze(0), "`factor` must be .*; got factor=0"),
        (
            lambda: bijectors.Squeeze(3, "checkerboard"),
            "`factor` must be even for a checkerboard.*got factor=3",
        ),
        (
            lambda: bijectors.Squeeze().forward(jnp.zeros((4, 3, 1))),
            r"must be multiples of `factor`, 2; got an image of shape \(4, 3, 1\)",
        ),
        (
            lambda: bijectors.Squeeze().inverse(jnp.zeros((4, 4, 3))),
            r"must be a multiple of `factor` squared, 4; got an image of shape \(4, 4, 3\)",
        ),
        (lambda: dxf.MultiScale([]), "`scales` must hold at least one bijector; got none"),
        (
            lambda: dxf.MultiScale([dxf.Shift(jnp.zeros(4))]),
            r"bijectors of images.*got scales\[0\] of event_ndims_in=1",
        ),
        (
            lambda: dxf.MultiScale([distrax.Block(dxf.Shift(jnp.zeros(4)), 2)]).join([]),
            "`latents` must hold one image per scale, 1; got 0",
        ),
    ],
)
@pytest.mark.usefixtures("wrong_types")
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
