"""The rows of the laws: one case per bijector, each away from the identity."""

import dataclasses
import itertools
from collections.abc import Callable

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from distrax_flows import bijectors as bij
from distrax_flows import families, masks
from distrax_flows.conditioners import MaskedMLP


@dataclasses.dataclass(frozen=True)
class Case:
    """A bijector as a function of a vector of raw parameters.

    Attributes:
        name: the row's name.
        event_shape: shape of the events.
        num_raw: number of raw parameters; any real values are allowed.
        build: from raw parameters `[num_raw]` to the bijector.
        points: inputs at which gradients are delicate (knots, ends), each filling an event.
        batched: whether raw parameters `[..., num_raw]` give a bijector of that batch shape.
        round_trip: bound of the float32 round trip on events of a few units.
    """

    name: str
    event_shape: tuple[int, ...]
    num_raw: int
    build: Callable[[jax.Array], distrax.Bijector]
    points: tuple[float, ...] = ()
    batched: bool = False
    round_trip: float = 1e-4

    def raw(self, seed: int = 0, scale: float = 1.0, dtype=np.float32) -> jax.Array:
        """Raw parameters drawn from a normal distribution."""
        draw = np.random.default_rng(seed).normal(scale=scale, size=self.num_raw)
        return jnp.asarray(draw, dtype)

    def events(self, batch_shape=(), seed: int = 1, scale: float = 2.0, dtype=np.float32):
        """Events drawn from a normal distribution."""
        draw = np.random.default_rng(seed).normal(scale=scale, size=batch_shape + self.event_shape)
        return jnp.asarray(draw, dtype)

    def __str__(self) -> str:
        return self.name


_BOUNDARIES = ("unconstrained", "lower_identity", "upper_identity", "identity", "circular")
_AFFINE = families.affine(max_log_scale=2.0)
_CHAIN = families.chain(_AFFINE, families.spline(4, -3.0, 3.0))


def _spline(boundary_slopes):
    def build(raw):
        return bij.RationalQuadraticSpline(raw, -3.0, 3.0, boundary_slopes)

    return Case(f"spline_{boundary_slopes}", (), 13, build, points=(-3.0, 3.0, 0.0), batched=True)


def masked_mlp(raw, event_size, hidden_sizes, num_params, *, order=None, residual=False):
    """A `MaskedMLP` whose weights and biases are cut from a vector; returns what is left."""
    degrees = masks.hidden_degrees(event_size, hidden_sizes)
    layer_masks = [masks.input_mask(event_size, degrees[0])]
    layer_masks += [masks.hidden_mask(a, b) for a, b in itertools.pairwise(degrees)]
    output_mask = masks.output_mask(degrees[-1], event_size)
    layer_masks.append(np.repeat(output_mask, num_params, axis=1))
    weights, biases = [], []
    for mask in layer_masks:
        # One raw parameter per weight that the mask keeps, so that each one matters.
        kept = np.flatnonzero(mask)
        flat = jnp.zeros(mask.size, raw.dtype).at[kept].set(raw[: kept.size])
        weights.append(flat.reshape(mask.shape))
        raw = raw[kept.size :]
        biases.append(raw[: mask.shape[1]])
        raw = raw[mask.shape[1] :]
    network = MaskedMLP(
        weights=tuple(weights),
        biases=tuple(biases),
        degrees=tuple(tuple(layer.tolist()) for layer in degrees),
        order=tuple(range(event_size)) if order is None else order,
        activation=jnp.tanh,
        residual=residual,
    )
    return network, raw


def _masked_autoregressive(name, event_size, hidden_sizes, family, **options):
    def build(raw):
        network, _ = masked_mlp(raw, event_size, hidden_sizes, family.num_params, **options)
        return bij.MaskedAutoregressive(network, family.bijector)

    size = 1000
    _, left = masked_mlp(jnp.zeros(size), event_size, hidden_sizes, family.num_params, **options)
    return Case(name, (event_size,), size - left.size, build, round_trip=2e-3)


def _triangular_shift(weight):
    def conditioner(x):
        lower = jnp.tril(weight.reshape(3, 3), -1)
        return jnp.einsum("...j,ij->...i", x, lower)[..., None]

    return bij.MaskedAutoregressive(conditioner, families.additive().bijector)


def _layer(raw):
    angle, log_scale, shift = raw[..., 0], 0.3 * raw[..., 1:3], raw[..., 3:]
    return distrax.Chain([bij.Rotation(angle), bij.Scale(log_scale), bij.Shift(shift)])


CASES = [
    Case("shift", (3,), 3, bij.Shift, batched=True),
    Case("scale", (3,), 3, bij.Scale, batched=True),
    Case("rotation", (2,), 1, lambda raw: bij.Rotation(raw[..., 0]), batched=True),
    Case(
        "rotation_of_a_plane",
        (4,),
        1,
        lambda raw: bij.Rotation(raw[..., 0], plane=(3, 1)),
        batched=True,
    ),
    Case("permutation", (4,), 0, lambda raw: bij.Permutation((2, 0, 3, 1))),
    Case("reverse", (3,), 0, lambda raw: bij.Reverse()),
    *(_spline(boundary_slopes) for boundary_slopes in _BOUNDARIES),
    Case("spline_of_one_bin", (), 4, lambda raw: bij.RationalQuadraticSpline(raw, -3.0, 3.0)),
    Case("additive", (), 1, families.additive().bijector, batched=True),
    Case("affine", (), 2, _AFFINE.bijector, batched=True),
    Case("chain_of_families", (), 15, _CHAIN.bijector, batched=True, round_trip=5e-4),
    _masked_autoregressive("autoregressive_affine", 2, (5,), _AFFINE),
    _masked_autoregressive("autoregressive_deep", 4, (6, 7), _AFFINE, order=(2, 0, 3, 1)),
    _masked_autoregressive("autoregressive_residual", 3, (5, 5, 5), _AFFINE, residual=True),
    _masked_autoregressive("autoregressive_spline", 2, (4,), families.spline(2, -3.0, 3.0)),
    _masked_autoregressive("autoregressive_narrow", 5, (2, 3), _AFFINE),
    _masked_autoregressive("autoregressive_of_one", 1, (3,), _AFFINE),
    Case("autoregressive_by_passes", (3,), 9, _triangular_shift),
    Case(
        "scan_chain",
        (2,),
        15,
        lambda raw: bij.ScanChain(_layer, raw.reshape(3, 5)),
        round_trip=1e-4,
    ),
]


def fresh_normal(event_shape, dtype=jnp.float32) -> distrax.Distribution:
    """A standard normal over events of a shape."""
    zeros = jnp.zeros(event_shape, dtype)
    normal = distrax.Normal(zeros, jnp.ones_like(zeros))
    return distrax.Independent(normal, len(event_shape))
