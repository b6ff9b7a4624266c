"""The rows of the laws: one case per bijector, each away from the identity."""

import dataclasses
import itertools
from collections.abc import Callable

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from distrax_flows import bijectors as bij
from distrax_flows import families, networks
from distrax_flows._core.numerics import align
from distrax_flows.networks.masked_mlp import MaskedMLP


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
        domain: where events are, if not everywhere; away from jumps.
        interval: what each dimension maps onto itself, if anything.
    """

    name: str
    event_shape: tuple[int, ...]
    num_raw: int
    build: Callable[[jax.Array], distrax.Bijector]
    points: tuple[float, ...] = ()
    batched: bool = False
    round_trip: float = 1e-4
    domain: tuple[float, float] | None = None
    interval: tuple[float, float] | None = None

    def raw(self, seed: int = 0, scale: float = 1.0, dtype=np.float32) -> jax.Array:
        """Raw parameters drawn from a normal distribution."""
        draw = np.random.default_rng(seed).normal(scale=scale, size=self.num_raw)
        return jnp.asarray(draw, dtype)

    def events(self, batch_shape=(), seed: int = 1, scale: float = 2.0, dtype=np.float32):
        """Events drawn from a normal distribution."""
        draw = np.random.default_rng(seed).normal(scale=scale, size=batch_shape + self.event_shape)
        return jnp.asarray(draw, dtype)

    def place(self, x):
        """Events from numbers between -1 and 1: in the domain, or within six units of 0."""
        low, high = self.domain or (-6.0, 6.0)
        return 0.5 * (low + high) + 0.5 * (high - low) * x

    def __str__(self) -> str:
        return self.name


_BOUNDARIES = ("unconstrained", "lower_identity", "upper_identity", "identity", "circular")
_AFFINE = families.affine(max_log_scale=2.0)
_SPLINE = families.spline(2, -3.0, 3.0)
_CHAIN = families.chain(_AFFINE, families.spline(4, -3.0, 3.0))


def _spline(boundary_slopes):
    def build(raw):
        return bij.RationalQuadraticSpline(raw, -3.0, 3.0, boundary_slopes)

    return Case(
        f"spline_{boundary_slopes}",
        (),
        13,
        build,
        points=(-3.0, 3.0, 0.0),
        batched=True,
        interval=(-3.0, 3.0),
    )


def _bernstein(degree):
    family = families.bernstein(degree, -3.0, 3.0)
    return Case(
        f"bernstein_of_degree_{degree}",
        (),
        family.num_params,
        family.bijector,
        points=(-3.0, 3.0),
        batched=True,
    )


def masked_mlp(raw, event_size, hidden_sizes, num_params, *, order=None, residual=False):
    """A `MaskedMLP` whose weights and biases are cut from a vector; returns what is left."""
    degrees = networks.hidden_degrees(event_size, hidden_sizes)
    layer_masks = [networks.input_mask(event_size, degrees[0])]
    layer_masks += [networks.hidden_mask(a, b) for a, b in itertools.pairwise(degrees)]
    output_mask = networks.output_mask(degrees[-1], event_size)
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


def _masked_autoregressive(name, event_size, hidden_sizes, family, interval=None, **options):
    def build(raw):
        network, _ = masked_mlp(raw, event_size, hidden_sizes, family.num_params, **options)
        return bij.MaskedAutoregressive(network, family.bijector)

    size = 1000
    _, left = masked_mlp(jnp.zeros(size), event_size, hidden_sizes, family.num_params, **options)
    num_raw = size - left.size
    return Case(name, (event_size,), num_raw, build, round_trip=2e-3, interval=interval)


def _triangular_shift(weight):
    def conditioner(x):
        lower = jnp.tril(weight.reshape(3, 3), -1)
        return jnp.einsum("...j,ij->...i", x, lower)[..., None]

    return bij.MaskedAutoregressive(conditioner, families.additive().bijector)


def hierarchical_size(event_size, num_params):
    """The number of raw parameters of `hierarchical`."""
    return sum(
        (split - start + 1) * (stop - split) * num_params
        for start, split, stop in bij.coupling_tree(event_size)
    )


def hierarchical(raw, event_size, family):
    """A hierarchical coupling whose conditioners are cut from a vector, `[..., size]`."""
    weights = {}
    for start, split, stop in bij.coupling_tree(event_size):
        rows, columns = split - start + 1, (stop - split) * family.num_params
        weight = raw[..., : rows * columns]
        weights[start, split, stop] = weight.reshape(*raw.shape[:-1], rows, columns)
        raw = raw[..., rows * columns :]
    conditioner = jax.tree_util.Partial(_tree_conditioner, weights)
    return bij.HierarchicalCoupling(conditioner, family.bijector)


def _tree_conditioner(weights, node, upper):
    weight, (_, split, stop) = weights[node], node
    out = jnp.einsum("...i,...io->...o", upper, weight[..., :-1, :])
    out, bias = align(out, weight[..., -1, :])
    params = jnp.tanh(out + bias)
    return params.reshape(*params.shape[:-1], stop - split, params.shape[-1] // (stop - split))


def _hierarchical(name, event_size, family, interval=None):
    def build(raw):
        return hierarchical(raw, event_size, family)

    size = hierarchical_size(event_size, family.num_params)
    return Case(name, (event_size,), size, build, batched=True, interval=interval)


def _columns(raw):
    shared = _AFFINE.bijector(raw[..., :2])
    return bij.Columns([shared, None, families.additive().bijector(raw[..., 2:]), shared])


def _layer(raw):
    angle, log_scale, shift = raw[..., 0], 0.3 * raw[..., 1:3], raw[..., 3:]
    return distrax.Chain([bij.Rotation(angle), bij.Scale(log_scale), bij.Shift(shift)])


def _planar(name, size, activation=jnp.tanh):
    def build(raw):
        w, u, b = raw[..., :size], raw[..., size : 2 * size], raw[..., -1]
        return bij.Planar(w, u, b, activation)

    return Case(name, (size,), 2 * size + 1, build, batched=True)


def _radial(name, size):
    def build(raw):
        return bij.Radial(raw[..., :size], raw[..., -2], raw[..., -1])

    return Case(name, (size,), size + 2, build, batched=True)


def _sylvester(name, size, units, orthogonal=lambda raw: None, num_orthogonal=0):
    # The place in a vector of each entry of an upper triangle; below it, anywhere.
    places = np.zeros((units, units), np.int32)
    places[np.triu_indices(units)] = np.arange(units * (units + 1) // 2)
    ends = np.cumsum([places.max() + 1, places.max() + 1, units])

    def matrix(entries):
        return jnp.take(entries, places, axis=-1)

    def build(raw):
        r1, r2, b, rest = jnp.split(raw, ends, axis=-1)
        return bij.Sylvester(matrix(r1), matrix(r2), b, orthogonal(rest))

    return Case(name, (size,), int(ends[-1]) + num_orthogonal, build, batched=True)


def _cayley(raw):
    """An orthogonal 3 x 3 matrix: (I + A)^-1 (I - A) with A skew."""
    rows, columns = np.triu_indices(3, 1)
    upper = jnp.zeros((*raw.shape[:-1], 3, 3), raw.dtype).at[..., rows, columns].set(raw)
    skew = upper - jnp.matrix_transpose(upper)
    eye = jnp.broadcast_to(jnp.eye(3, dtype=raw.dtype), skew.shape)
    return jnp.linalg.solve(eye + skew, eye - skew)


def _householder(name, size, num_reflections):
    def build(raw):
        return bij.Householder(raw.reshape(*raw.shape[:-1], num_reflections, size))

    return Case(name, (size,), num_reflections * size, build, batched=True)


def _shear_rows(raw):
    """A matrix, its rows transformed alike."""
    return distrax.Block(bij.LULinear(raw.reshape(2, 2)), 1)


def _lu_linear(name, size, **options):
    def build(raw):
        # Condition numbers are powers of the entries.
        lu = 0.5 * raw.reshape(*raw.shape[:-1], size, size)
        return bij.LULinear(lu, **options)

    return Case(name, (size,), size * size, build, batched=True)


def _batch_norm(raw):
    mean, variance, loc, log_scale = jnp.split(raw, 4, axis=-1)
    return bij.BatchNorm(mean, jax.nn.softplus(variance), loc, log_scale)


def _two_scales(raw):
    finest, coarsest = jnp.split(0.1 * raw, [4 * 4])
    matrices = finest.reshape(4, 4), coarsest.reshape(8, 8)
    return bij.MultiScale([distrax.Block(bij.LULinear(matrix), 2) for matrix in matrices])


CASES = [
    Case("shift", (3,), 3, bij.Shift, batched=True),
    Case("scale", (3,), 3, bij.Scale, batched=True),
    Case("scale_by_one_number", (3,), 1, bij.Scale, batched=True),
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
    Case(
        "spline_of_one_bin",
        (),
        4,
        lambda raw: bij.RationalQuadraticSpline(raw, -3.0, 3.0),
        interval=(-3.0, 3.0),
    ),
    *(_bernstein(degree) for degree in (2, 6)),
    Case("logistic_mixture", (), 11, bij.LogisticMixtureCDF, batched=True),
    Case("deep_sigmoidal", (), 16, families.deep_sigmoidal(2, 2).bijector, batched=True),
    Case(
        "sum_of_squares",
        (),
        7,
        families.sum_of_squares(2, -3.0, 3.0).bijector,
        points=(-3.0, 3.0),
        batched=True,
    ),
    Case(
        "circular_shift",
        (),
        1,
        lambda raw: bij.CircularShift(raw[..., 0], -3.0, 3.0),
        points=(-2.75, 2.75),
        batched=True,
        domain=(-2.75, 2.75),
    ),
    Case(
        "circular_spline",
        (),
        7,
        families.circular_spline(2, -3.0, 3.0).bijector,
        batched=True,
        domain=(-2.75, 2.75),
    ),
    Case("exp", (), 0, lambda raw: bij.Exp(), points=(-80.0, 80.0), domain=(-6.0, 6.0)),
    Case("softplus", (), 0, lambda raw: bij.Softplus(), points=(-80.0, 1e4), domain=(-6.0, 6.0)),
    Case("sinh", (), 0, lambda raw: bij.Sinh(), points=(-80.0, 80.0), domain=(-6.0, 6.0)),
    Case("logit", (), 0, lambda raw: bij.Logit(-4.0, 4.0), domain=(-3.75, 3.75)),
    Case("additive", (), 1, families.additive().bijector, batched=True),
    Case("affine", (), 2, _AFFINE.bijector, batched=True),
    Case("chain_of_families", (), 15, _CHAIN.bijector, batched=True, round_trip=5e-4),
    _masked_autoregressive("autoregressive_affine", 2, (5,), _AFFINE),
    _masked_autoregressive("autoregressive_deep", 4, (6, 7), _AFFINE, order=(2, 0, 3, 1)),
    _masked_autoregressive("autoregressive_residual", 3, (5, 5, 5), _AFFINE, residual=True),
    _masked_autoregressive("autoregressive_spline", 2, (4,), _SPLINE, interval=(-3.0, 3.0)),
    _masked_autoregressive("autoregressive_narrow", 5, (2, 3), _AFFINE),
    _masked_autoregressive("autoregressive_of_one", 1, (3,), _AFFINE),
    Case("autoregressive_by_passes", (3,), 9, _triangular_shift),
    _masked_autoregressive("autoregressive_bernstein", 2, (3,), families.bernstein(4, -3.0, 3.0)),
    _masked_autoregressive(
        "autoregressive_logistic_mixture", 2, (3,), families.logistic_mixture(2)
    ),
    Case("columns", (4,), 3, _columns, batched=True),
    _hierarchical("hierarchical_affine", 5, _AFFINE),
    _hierarchical("hierarchical_spline", 2, _SPLINE, interval=(-3.0, 3.0)),
    Case(
        "scan_chain",
        (2,),
        15,
        lambda raw: bij.ScanChain(_layer, raw.reshape(3, 5)),
        round_trip=1e-4,
    ),
    _planar("planar", 2),
    _planar("planar_softplus", 3, jax.nn.softplus),
    _planar("planar_arctan_of_one", 1, jnp.arctan),
    _radial("radial", 2),
    _radial("radial_of_three", 3),
    _sylvester("sylvester", 2, 2, lambda raw: bij.Rotation(raw[..., 0]), 1),
    _sylvester("sylvester_permuted", 4, 3, lambda _: bij.Permutation((2, 0, 3, 1))),
    _householder("householder", 2, 1),
    _householder("householder_of_two", 4, 2),
    _householder("householder_of_more_than_dimensions", 2, 5),
    Case("orthogonal", (3,), 3, lambda raw: bij.Orthogonal(_cayley(raw)), batched=True),
    _lu_linear("lu_linear", 2),
    _lu_linear("lu_linear_permuted", 3, sign=(1, -1, -1), permutation=(2, 0, 1)),
    _lu_linear("lu_linear_of_one", 1),
    Case(
        "act_norm",
        (2,),
        4,
        lambda raw: bij.ActNorm(raw[..., :2], raw[..., 2:]),
        batched=True,
    ),
    Case("batch_norm", (2,), 8, _batch_norm, batched=True),
    Case("reshape_to_vectors", (), 0, lambda raw: bij.Reshape((), (1,))),
    Case("reshape_matrices", (2, 3), 0, lambda raw: bij.Reshape((2, 3), (3, 2))),
    Case("squeeze", (4, 2, 1), 0, lambda raw: bij.Squeeze()),
    Case("squeeze_by_three", (3, 3, 1), 0, lambda raw: bij.Squeeze(3)),
    Case("squeeze_to_a_checkerboard", (2, 2, 2), 0, lambda raw: bij.Squeeze(order="checkerboard")),
    Case("transpose", (2, 3, 1), 0, lambda raw: bij.Transpose((2, 0, 1))),
    Case("multi_scale", (4, 4, 1), 4 * 4 + 8 * 8, _two_scales),
    Case("reshape_images", (2, 1, 2), 0, lambda raw: bij.Reshape((2, 1, 2), (4,))),
    Case(
        "scan_chain_of_matrices",
        (2, 2),
        8,
        lambda raw: bij.ScanChain(_shear_rows, raw.reshape(2, 4)),
    ),
    Case(
        "channels_of_images",
        (2, 2, 2),
        4,
        lambda raw: distrax.Block(bij.LULinear(raw.reshape(2, 2)), 2),
    ),
]

# Rows that differ from another one in an option, a size or a family only.
VARIANTS = {
    "spline_lower_identity",
    "spline_upper_identity",
    "spline_identity",
    "spline_of_one_bin",
    "scale_by_one_number",
    "rotation_of_a_plane",
    "bernstein_of_degree_2",
    "autoregressive_deep",
    "autoregressive_residual",
    "autoregressive_narrow",
    "autoregressive_of_one",
    "autoregressive_bernstein",
    "autoregressive_logistic_mixture",
    "hierarchical_spline",
    "planar_softplus",
    "planar_arctan_of_one",
    "radial_of_three",
    "sylvester_permuted",
    "householder_of_two",
    "householder_of_more_than_dimensions",
    "lu_linear_permuted",
    "lu_linear_of_one",
    "reshape_to_vectors",
    "reshape_images",
    "squeeze_by_three",
    "squeeze_to_a_checkerboard",
    "scan_chain_of_matrices",
}


def fresh_normal(event_shape, dtype=jnp.float32) -> distrax.Distribution:
    """A standard normal over events of a shape."""
    zeros = jnp.zeros(event_shape, dtype)
    normal = distrax.Normal(zeros, jnp.ones_like(zeros))
    return distrax.Independent(normal, len(event_shape))
