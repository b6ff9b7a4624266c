"""Bijectors of images at several scales."""

from collections.abc import Sequence

import distrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.types import ArrayLike
from distrax_flows.bijectors._base import Bijector, forward, inverse
from distrax_flows.bijectors.squeeze import Squeeze

__all__ = ["MultiScale"]


class MultiScale(Bijector):
    """Bijectors of an image at ever coarser scales, with half of the channels factored out at each.

    Seen from the image, each scale squeezes what is left (`Squeeze`), applies its bijector, and
    factors out half of the channels, which are not transformed any further. With f_s the bijector
    of scale s = 1..S and h_0 = x,

        u_s = f_s^-1(squeeze(h_{s-1})),   (h_s, z_s) = u_s for s < S,   z_S = u_S
        log|det| = sum_s log|det f_s(u_s)|

    The latent z is an image of the same shape, in which each z_s keeps its place: it is the result
    of undoing only the squeezes and splits on `(z_1, ..., z_S)`. So the base, and anything else
    composed with it, has the event shape of the data. `split` cuts a latent into its scales, `join`
    reassembles it, and `Reshape` flattens it.

    Args:
        scales: bijectors of images, the finest scale first. That of scale s maps images
            `[..., H / f^s, W / f^s, C_s]` to images of the same shape, with f the factor of
            `squeeze`, C_1 = f^2 C and C_{s+1} = f^2 ceil(C_s / 2).
        squeeze: the squeeze applied at each scale; `Squeeze()` if None.

    Raises:
        ValueError: `scales` is empty, or one of them does not act on images; or, when called,
            height or width is not a multiple of `f^S`, or `join` gets another number of latents.

    Reference:
        Dinh et al., "Density estimation using Real NVP", 2017, section 3.6; Kingma & Dhariwal,
        "Glow: Generative Flow with Invertible 1x1 Convolutions", 2018, figure 2b.

    Example:
        >>> import jax.numpy as jnp
        >>> from distrax_flows import LULinear
        >>> scales = [distrax.Block(LULinear(jnp.eye(c) * 2), 2) for c in (4, 8)]
        >>> bijector = MultiScale(scales)
        >>> z, log_det = bijector.inverse_and_log_det(jnp.ones((8, 8, 1)))
        >>> print(z.shape, [latent.shape for latent in bijector.split(z)])
        (8, 8, 1) [(4, 4, 2), (2, 2, 8)]
    """

    def __init__(self, scales: Sequence[distrax.Bijector], squeeze: Squeeze | None = None):
        if not scales:
            raise ValueError("`scales` must hold at least one bijector; got none.")
        for s, scale in enumerate(scales):
            if (scale.event_ndims_in, scale.event_ndims_out) != (3, 3):
                raise ValueError(
                    "`scales` must be bijectors of images, with event_ndims_in=3; got "
                    f"scales[{s}] of event_ndims_in={scale.event_ndims_in}. `distrax.Block` makes "
                    "a bijector of vectors one of images."
                )
        super().__init__(
            event_ndims_in=3,
            is_constant_jacobian=all(scale.is_constant_jacobian for scale in scales),
            is_constant_log_det=all(scale.is_constant_log_det for scale in scales),
        )
        self._scales = tuple(scales)
        self._squeeze = Squeeze() if squeeze is None else squeeze

    @property
    def scales(self) -> tuple[distrax.Bijector, ...]:
        """The bijectors, the finest scale first."""
        return self._scales

    @property
    def squeeze(self) -> Squeeze:
        """The squeeze applied at each scale."""
        return self._squeeze

    def split(self, z: Shaped[ArrayLike, "... H W C"]) -> list[Float[Array, "..."]]:
        """Cut a latent into its scales, the finest first.

        Args:
            z: the latent, of the shape of the image.
        """
        rest, latents = self._as_events(z), []
        for _ in self._scales[1:]:
            rest, leaving = _halves(self._squeezed(rest))
            latents.append(leaving)
        return [*latents, self._squeezed(rest)]

    def join(self, latents: Sequence[Float[ArrayLike, "..."]]) -> Float[Array, "... H W C"]:
        """Reassemble a latent from its scales; the inverse of `split`.

        Args:
            latents: the scales, the finest first.
        """
        if len(latents) != len(self._scales):
            raise ValueError(
                f"`latents` must hold one image per scale, {len(self._scales)}; got {len(latents)}."
            )
        *finer, rest = (jnp.asarray(latent) for latent in latents)
        rest = self._unsqueezed(rest)
        for leaving in reversed(finer):
            rest = self._unsqueezed(_joined(rest, leaving))
        return rest

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "... H W C"]
    ) -> tuple[Float[Array, "... H W C"], Float[Array, "..."]]:
        """Map a latent to an image, the coarsest scale first."""
        *finer, rest = self.split(x)
        coarsest, *others = reversed(self._scales)
        rest, log_det = forward(coarsest, rest)
        for scale, leaving in zip(others, reversed(finer), strict=True):
            rest, change = forward(scale, _joined(self._unsqueezed(rest), leaving))
            log_det += change
        return self._unsqueezed(rest), log_det

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "... H W C"]
    ) -> tuple[Float[Array, "... H W C"], Float[Array, "..."]]:
        """Map an image to its latent, the finest scale first."""
        finest, *others = self._scales
        rest, log_det = inverse(finest, self._squeezed(self._as_events(y)))
        latents = []
        for scale in others:
            rest, leaving = _halves(rest)
            latents.append(leaving)
            rest, change = inverse(scale, self._squeezed(rest))
            log_det += change
        return self.join([*latents, rest]), log_det

    def _squeezed(self, x: jax.Array) -> jax.Array:
        return forward(self._squeeze, x)[0]

    def _unsqueezed(self, x: jax.Array) -> jax.Array:
        return inverse(self._squeeze, x)[0]


def _halves(x: Float[Array, "... c"]) -> tuple[Float[Array, "... a"], Float[Array, "... b"]]:
    """Cut the channels in half; the first half stays."""
    stays, leaves = jnp.split(x, [(x.shape[-1] + 1) // 2], axis=-1)
    return stays, leaves


def _joined(x: Float[Array, "... a"], leaving: Float[Array, "... b"]) -> Float[Array, "... c"]:
    """Concatenate channels; batch axes broadcast."""
    batch = jnp.broadcast_shapes(x.shape[:-3], leaving.shape[:-3])
    return jnp.concatenate(
        [jnp.broadcast_to(part, batch + part.shape[-3:]) for part in (x, leaving)], axis=-1
    )
