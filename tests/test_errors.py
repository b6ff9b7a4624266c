"""Errors of bad input: immediate, with the rule, the value and the remedy."""

import distrax
import jax
import jax.numpy as jnp
import pytest

import distrax_flows as dxf
from distrax_flows import bases, families, flows
from distrax_flows.modules import (
    MADE,
    MLP,
    BatchNormLayer,
    HouseholderLayer,
    Learned,
    PlanarLayer,
    RadialLayer,
    ResidualMLP,
    Stack,
    SylvesterLayer,
)

pytestmark = pytest.mark.usefixtures("wrong_types")


def built(make, context=None):
    """Initialises a flow on two-dimensional data."""
    flow = dxf.transform(make)
    return flow, flow.init(jax.random.key(0), jnp.zeros((4, 2)), context)


def in_haiku(call):
    import haiku as hk

    return hk.transform(call).init(jax.random.key(0))


SPLINE = jnp.zeros(13)
NORMAL = distrax.Normal(jnp.zeros(2), jnp.ones(2))

CONSTRUCTION = [
    (
        lambda: dxf.RationalQuadraticSpline(SPLINE, -1.0, 1.0, "identity", 1e-4, 1e-4),
        ValueError,
        "`min_knot_slope` must be None: .* by `max_slope_ratio`; got min_knot_slope=0.0001",
    ),
    *(
        (
            lambda family=family: family.bijector(jnp.zeros((5, family.num_params))).forward(
                jnp.zeros((5, 3))
            ),
            ValueError,
            rf"`params` must hold one row .* got params.shape=\(5, {family.num_params}\) and an "
            rf"input of shape \(5, 3\).* \[..., D, {family.num_params}\]; `params\[..., None, :\]`",
        )
        for family in (
            families.additive(),
            families.affine(),
            families.spline(),
            families.bernstein(),
            families.logistic_mixture(),
            families.sum_of_squares(),
        )
    ),
    *(
        (
            lambda make=make: make(1e8, 1e8 + 1).forward(jnp.zeros(())),
            ValueError,
            r"` must be an interval of at least 1000 steps of its dtype; got \[100000000.0, "
            r"100000001.0\] in float32, whose values lie 8 apart there. Subtract an offset",
        )
        for make in (
            dxf.Logit,
            lambda a, b: distrax.Inverse(dxf.Logit(a, b)),
            lambda a, b: dxf.CircularShift(0.5, a, b),
            lambda a, b: dxf.RationalQuadraticSpline(SPLINE, a, b),
            lambda a, b: dxf.BernsteinPolynomial(jnp.zeros(2), 3, a, b),
            lambda a, b: dxf.SumOfSquares(jnp.zeros(5), 1, a, b),
        )
    ),
    (
        lambda: dxf.Shift(jnp.array([1, 2])),
        TypeError,
        "`shift` must be a floating-point array; got dtype int32",
    ),
    (lambda: dxf.Shift(jnp.array(1.0)), ValueError, "`shift` must have at least 1 axes"),
    (lambda: dxf.Scale(jnp.array(1.0)), ValueError, "`log_scale` must have at least 1 axes"),
    (
        lambda: dxf.Rotation(0.1, plane=(1, 1)),
        ValueError,
        "`plane` must be a pair of different dimensions",
    ),
    (
        lambda: dxf.Rotation(0.1, plane=(0, -1)),
        ValueError,
        r"`plane\[1\]` must be an integer of at least 0",
    ),
    (
        lambda: dxf.Rotation(0.1, plane=(0, 2)).forward(jnp.zeros(2)),
        ValueError,
        "`plane` must name dimensions of the event",
    ),
    (
        lambda: dxf.Permutation([0, 2]),
        ValueError,
        r"each of 0..D-1 exactly once; got permutation=\[0, 2\]",
    ),
    (
        lambda: dxf.Permutation([1, 0]).forward(jnp.zeros(3)),
        ValueError,
        "got 2 indices and an event of size 3",
    ),
    (
        lambda: dxf.RationalQuadraticSpline(jnp.zeros(12), -1.0, 1.0),
        ValueError,
        r"3 \* num_bins \+ 1 .*got params.shape=\(12,\)",
    ),
    (
        lambda: dxf.RationalQuadraticSpline(SPLINE.astype(jnp.bfloat16), -1.0, 1.0),
        TypeError,
        "`params` must be float32 or wider",
    ),
    (
        lambda: dxf.RationalQuadraticSpline(SPLINE, 1.0, 1.0),
        ValueError,
        "`range_min` must be less than `range_max`, both finite; got range_min=1.0, range_max=1.0",
    ),
    (
        lambda: dxf.RationalQuadraticSpline(SPLINE, -1.0, 1.0, "flat"),
        ValueError,
        "`boundary_slopes` must be one of .*'circular'.*got boundary_slopes='flat'",
    ),
    (
        lambda: dxf.RationalQuadraticSpline(SPLINE, -1.0, 1.0, min_bin_size=0.6),
        ValueError,
        "`min_bin_size` must be above 0 and at most",
    ),
    (
        lambda: dxf.RationalQuadraticSpline(SPLINE, -1.0, 1.0, max_slope_ratio=1.0),
        ValueError,
        "`max_slope_ratio` must be above 1",
    ),
    (
        lambda: dxf.Householder(jnp.ones(3)),
        ValueError,
        "`vectors` must have at least 2 axes",
    ),
    (
        lambda: dxf.Householder(jnp.ones((2, 3))).forward(jnp.zeros(4)),
        ValueError,
        "The event must have size 3, the bijector's; got an event of size 4",
    ),
    (
        lambda: dxf.Orthogonal(jnp.ones((2, 3))),
        ValueError,
        r"`matrix` must be square, \[..., D, D\]; got matrix.shape=\(2, 3\)",
    ),
    (
        lambda: dxf.Orthogonal(jnp.eye(3)).inverse(jnp.zeros(1)),
        ValueError,
        "The event must have size 3",
    ),
    (lambda: dxf.LULinear(jnp.zeros((2, 3))), ValueError, "`lu` must be square"),
    (lambda: dxf.LULinear(jnp.zeros((3, 3))).inverse(jnp.zeros(2)), ValueError, "must have size 3"),
    (
        lambda: dxf.LULinear(jnp.zeros((2, 2)), sign=(1, 0)),
        ValueError,
        r"`sign` must hold 2 signs, each 1 or -1, .* got sign=\[1, 0\]",
    ),
    (
        lambda: dxf.LULinear(jnp.zeros((2, 2)), permutation=(2, 0, 1)),
        ValueError,
        r"`permutation` must hold 2 indices, .* got permutation=\[2, 0, 1\]",
    ),
    (lambda: dxf.ActNorm(jnp.zeros(2), jnp.array(0.0)), ValueError, "`log_scale` must have"),
    (
        lambda: dxf.BatchNorm(*4 * [jnp.zeros(2)], epsilon=0.0),
        ValueError,
        "`epsilon` must be a finite number above 0; got epsilon=0.0",
    ),
    (
        lambda: dxf.Planar(jnp.zeros(3), jnp.zeros(2), jnp.array(0.0)),
        ValueError,
        r"`w` and `u` must have last axes of the same size.*got w.shape=\(3,\), u.shape=\(2,\)",
    ),
    (
        lambda: dxf.Planar(jnp.zeros(3), jnp.zeros(3), jnp.array(0.0)).inverse(jnp.zeros(2)),
        ValueError,
        "The event must have size 3",
    ),
    (
        lambda: dxf.Planar(jnp.zeros(3), jnp.zeros(3), jnp.array(0.0), "tanh"),
        TypeError,
        r"`unit` must be an elementwise function with slopes.*got unit='tanh'",
    ),
    (
        lambda: dxf.Radial(jnp.zeros(3), jnp.array(0), jnp.array(0.0)),
        TypeError,
        "`raw_alpha` must be a floating-point array",
    ),
    (
        lambda: dxf.Radial(jnp.zeros(3), jnp.array(0.0), jnp.array(0.0)).forward(jnp.zeros(2)),
        ValueError,
        "The event must have size 3",
    ),
    (
        lambda: dxf.Sylvester(jnp.eye(2), jnp.eye(3), jnp.zeros(2)),
        ValueError,
        r"`r1` and `r2` must be matrices \[..., M, M\] and `b` a vector.*r2.shape=\(3, 3\)",
    ),
    (
        lambda: dxf.Sylvester(jnp.eye(2), jnp.eye(2), jnp.zeros(2), jnp.tanh),
        TypeError,
        "`orthogonal` must be a distrax bijector, such as `Householder`, or None",
    ),
    (
        lambda: dxf.Sylvester(
            jnp.eye(2), jnp.eye(2), jnp.zeros(2), distrax.Block(distrax.Sigmoid(), 1)
        ),
        ValueError,
        "`orthogonal` must be a bijector of vectors with a constant Jacobian.*got BlockSigmoid",
    ),
    (
        lambda: dxf.Sylvester(jnp.eye(2), jnp.eye(2), jnp.zeros(2)).forward(jnp.zeros(1)),
        ValueError,
        "`b` must have at most the event's size; got 2 units and an event of size 1",
    ),
    (
        lambda: in_haiku(lambda: SylvesterLayer(0)),
        ValueError,
        "`num_units` must be an integer of at least 1",
    ),
    (
        lambda: in_haiku(lambda: PlanarLayer(hidden_sizes=())),
        ValueError,
        "`hidden_sizes` must be a non-empty sequence",
    ),
    (
        lambda: in_haiku(lambda: RadialLayer(context=jnp.zeros((4, 2), int))),
        TypeError,
        "`context` must be a floating-point array",
    ),
    (
        lambda: dxf.BernsteinPolynomial(jnp.zeros(6), 8, -1.0, 1.0),
        ValueError,
        r"1 \+ max\(degree - 2, 1\), which is 7 for degree=8; got params.shape=\(6,\)",
    ),
    (
        lambda: dxf.BernsteinPolynomial(jnp.zeros(64), 65, -1.0, 1.0),
        ValueError,
        "`degree` must be at most 64; got degree=65",
    ),
    (
        lambda: dxf.BernsteinPolynomial(jnp.zeros(2), 0, -1.0, 1.0),
        ValueError,
        "`degree` must be an integer of at least 1; got degree=0",
    ),
    (
        lambda: dxf.BernsteinPolynomial(jnp.zeros(2, jnp.bfloat16), 3, -1.0, 1.0),
        TypeError,
        "`params` must be float32 or wider",
    ),
    (
        lambda: dxf.BernsteinPolynomial(jnp.zeros(2), 3, 1.0, 1.0),
        ValueError,
        "`range_min` must be less than `range_max`",
    ),
    (
        lambda: dxf.BernsteinPolynomial(jnp.zeros(2), 3, -1.0, 1.0, max_log_slope=0.0),
        ValueError,
        "`max_log_slope` must be a finite number above 0",
    ),
    (
        lambda: dxf.LogisticMixtureCDF(jnp.zeros(7)),
        ValueError,
        r"3 \* num_components \+ 2 .*got params.shape=\(7,\)",
    ),
    (
        lambda: dxf.LogisticMixtureCDF(jnp.zeros(8), max_log_scale=-1.0),
        ValueError,
        "`max_log_scale` must be a finite number above 0",
    ),
    (
        lambda: dxf.LogisticMixtureCDF(jnp.zeros(8), min_slope=1.0),
        ValueError,
        "`min_slope` must be between 0 and 1; got min_slope=1.0",
    ),
    (
        lambda: dxf.SumOfSquares(jnp.zeros(8), 3, -1.0, 1.0),
        ValueError,
        r"2 \* degree \+ 3, which is 9 for degree=3; got params.shape=\(8,\)",
    ),
    (
        lambda: dxf.SumOfSquares(jnp.zeros(9), 3, -1.0, 1.0, max_coefficient=0.0),
        ValueError,
        "`max_coefficient` must be a finite number above 0",
    ),
    (
        lambda: dxf.SumOfSquares(jnp.zeros(9), 3, -1.0, 1.0, min_slope=0.0),
        ValueError,
        "`min_slope` must be between 0 and 1; got min_slope=0.0",
    ),
    (
        lambda: dxf.CircularShift(jnp.zeros(()), 1.0, -1.0),
        ValueError,
        "`range_min` must be less than `range_max`",
    ),
    (lambda: dxf.Logit(1.0, 0.0), ValueError, "`low` must be less than `high`"),
    (
        lambda: dxf.ScanChain(dxf.Shift, {}),
        ValueError,
        "`params` must hold arrays with one common leading axis",
    ),
    (
        lambda: dxf.ScanChain(dxf.Shift, (jnp.zeros((2, 3)), jnp.zeros((4, 3)))),
        ValueError,
        "one common leading axis",
    ),
    (
        lambda: dxf.MaskedAutoregressive(lambda x: x[..., None], lambda p: dxf.Shift(p)).forward(
            jnp.zeros(2)
        ),
        ValueError,
        "`bijector` must return a scalar bijector",
    ),
    (
        lambda: dxf.HierarchicalCoupling(lambda _, x: x[..., None], lambda p: dxf.Shift(p)).forward(
            jnp.zeros(2)
        ),
        ValueError,
        "`bijector` must return a scalar bijector, .* got Shift with event_ndims_in=1",
    ),
    (lambda: dxf.Columns([]), ValueError, "`bijectors` must hold one bijector per dimension"),
    (
        lambda: dxf.Columns([None, dxf.Reverse()]),
        ValueError,
        r"`bijectors` must be scalar, .* got bijectors\[1\]=Reverse with event_ndims_in=1",
    ),
    (
        lambda: dxf.Columns([None, distrax.Tanh()]).forward(jnp.zeros(3)),
        ValueError,
        "one bijector per dimension of the event; got 2 bijectors and an event of size 3",
    ),
    (
        lambda: in_haiku(lambda: bases.gaussian(0)),
        ValueError,
        "`event_size` must be an integer of at least 1; got event_size=0",
    ),
    (
        lambda: in_haiku(lambda: bases.logistic(2, max_log_scale=0.0)),
        ValueError,
        "`max_log_scale` must be a finite number above 0",
    ),
    (
        lambda: in_haiku(lambda: bases.student_t(2, df=0.5)),
        ValueError,
        "`df` must be a finite number above 0.5; got df=0.5",
    ),
    (
        lambda: in_haiku(lambda: bases.gaussian_mixture(2, 0)),
        ValueError,
        "`num_components` must be an integer of at least 1",
    ),
    (
        lambda: in_haiku(lambda: bases.gaussian_mixture(2, 3, covariance="tied")),
        ValueError,
        "`covariance` must be one of .*'full'.*got covariance='tied'",
    ),
    (
        lambda: bases.uniform(2, 0.0, [1.0, 0.0]),
        ValueError,
        r"`low` must be less than `high` in every dimension; got low=\[0.0, 0.0\]",
    ),
    (
        lambda: bases.uniform(2, [0.0, 0.0, 0.0], 1.0),
        ValueError,
        r"`low` must be a finite number, or 2 of them; got low=\[0.0, 0.0, 0.0\]",
    ),
    (
        lambda: families.affine(0.0),
        ValueError,
        "`max_log_scale` must be a finite number above 0; got max_log_scale=0.0",
    ),
    (lambda: families.chain(), ValueError, "`families` must hold at least one family"),
    (lambda: families.spline(0), ValueError, "`num_bins` must be an integer of at least 1"),
    (lambda: families.bernstein(0), ValueError, "`degree` must be an integer of at least 1"),
    (lambda: families.bernstein(65), ValueError, "`degree` must be at most 64"),
    (
        lambda: families.logistic_mixture(0),
        ValueError,
        "`num_components` must be an integer of at least 1",
    ),
    (lambda: families.deep_sigmoidal(0), ValueError, "`num_units` must be an integer of at least"),
    (
        lambda: families.deep_sigmoidal(2, 0),
        ValueError,
        "`num_layers` must be an integer of at least 1",
    ),
    (lambda: families.sum_of_squares(0), ValueError, "`degree` must be an integer of at least 1"),
    (lambda: families.circular_spline(0), ValueError, "`num_bins` must be an integer of at least"),
    (
        lambda: families.spline(4, 1.0, -1.0),
        ValueError,
        "`range_min` must be less than `range_max`",
    ),
    (
        lambda: in_haiku(lambda: MLP((2,), ())),
        ValueError,
        "`hidden_sizes` must be a non-empty sequence",
    ),
    (
        lambda: in_haiku(lambda: MLP((2,), (8, 0))),
        ValueError,
        r"`hidden_sizes\[1\]` must be an integer of at least 1",
    ),
    (
        lambda: in_haiku(lambda: ResidualMLP((2,), 8, num_blocks=0)),
        ValueError,
        "`num_blocks` must be an integer of at least 1",
    ),
    (
        lambda: in_haiku(lambda: MADE(2, 2, (8, 9), residual=True)),
        ValueError,
        "`hidden_sizes` must be equal for a residual network",
    ),
    (
        lambda: in_haiku(lambda: MADE(2, 2, (8,), order=(0, 0))),
        ValueError,
        '`order` must be "sequential" or a permutation',
    ),
    (
        lambda: in_haiku(lambda: MADE(2, 2, (8,), order="random")),
        ValueError,
        '`order` must be "sequential" or a permutation',
    ),
    (
        lambda: in_haiku(lambda: MADE(2, 2, (8,))(jnp.zeros(3))),
        ValueError,
        "`x` must have 2 dimensions, the event size",
    ),
    (
        lambda: in_haiku(lambda: MADE(2, 2, (8,)).network(jnp.zeros(3))),
        ValueError,
        "`context` must have a last axis of size context_size=None",
    ),
    (
        lambda: in_haiku(lambda: HouseholderLayer(0)),
        ValueError,
        "`num_reflections` must be an integer of at least 1",
    ),
    (
        lambda: in_haiku(lambda: BatchNormLayer(jnp.array(True))),
        TypeError,
        "`is_training` must be True or False, for it is static",
    ),
    (
        lambda: in_haiku(lambda: BatchNormLayer(True, decay=1.0)),
        ValueError,
        "`decay` must be at least 0 and less than 1; got decay=1.0",
    ),
    (
        lambda: in_haiku(lambda: Learned(BatchNormLayer(True)).inverse(jnp.zeros((1, 2)))),
        ValueError,
        r"at least 2 rows, .* input of shape \(1, 2\). Use `is_training=False`",
    ),
    (
        lambda: in_haiku(lambda: Stack(lambda x: dxf.Reverse(), 0)),
        ValueError,
        "`num_layers` must be an integer of at least 1",
    ),
    (lambda: dxf.transform(3), TypeError, "`make` must be a function that builds a flow"),
    (
        lambda: dxf.transform(lambda a, b: None),
        TypeError,
        r"`make` must need no argument, or one named 'context'; it needs \['a', 'b'\]",
    ),
    (
        lambda: built(lambda: distrax.Normal(0.0, 1.0)),
        TypeError,
        "`make` must return a `distrax.Transformed`.*got Normal",
    ),
    (
        lambda: built(lambda: flows.maf(0)),
        ValueError,
        "`event_size` must be an integer of at least 1; got event_size=0",
    ),
    (
        lambda: built(lambda: flows.maf(2, hidden_sizes=())),
        ValueError,
        "`hidden_sizes` must be a non-empty sequence",
    ),
    (
        lambda: built(lambda: flows.realnvp(2, num_layers=0)),
        ValueError,
        "`num_layers` must be an integer of at least 1",
    ),
    (
        lambda: built(lambda: flows.autoregressive(2, families.affine(), fast="both")),
        ValueError,
        r"`fast` must be one of \['density', 'sampling'\]; got fast='both'",
    ),
    (
        lambda: built(lambda: flows.realnvp(2, base=NORMAL)),
        ValueError,
        r"`base` must have event shape \(2,\).*distrax.Independent",
    ),
    (
        lambda: built(lambda: flows.realnvp(3, base=distrax.Independent(NORMAL, 1))),
        ValueError,
        r"`base` must have event shape \(3,\).*give a distribution over events of shape",
    ),
    (
        lambda: built(
            lambda context: flows.realnvp(2, base=fresh_batch(3), context=context),
            jnp.zeros((4, 1)),
        ),
        ValueError,
        r"`base` must have batch shape \(\) or the context's, \(4,\)",
    ),
]


def fresh_batch(size):
    return distrax.Independent(distrax.Normal(jnp.zeros((size, 2)), jnp.ones((size, 2))), 1)


@pytest.mark.parametrize(("call", "error", "message"), CONSTRUCTION)
def test_construction(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.fixture(scope="module")
def plain():
    return built(lambda: flows.realnvp(2, num_layers=1, hidden_sizes=(4,)))


@pytest.fixture(scope="module")
def conditional():
    return built(
        lambda context: flows.realnvp(2, num_layers=1, hidden_sizes=(4,), context=context),
        jnp.zeros((4, 3)),
    )


def test_calls_with_wrong_events(plain):
    flow, params = plain
    with pytest.raises(ValueError, match=r"`x` must have shape \[..., 2\].*got x.shape=\(5, 3\)"):
        flow.log_prob(params, jnp.zeros((5, 3)))
    with pytest.raises(ValueError, match=r"`z` must have shape \[..., 2\]"):
        flow.forward(params, jnp.zeros((5, 3)))
    with pytest.raises(ValueError, match=r"`x` must have shape \[..., 2\].*got x.shape=\(\)"):
        flow.log_prob(params, jnp.float32(1.0))
    with pytest.raises(TypeError, match=r"`x` must be a floating-point array; got dtype int32"):
        flow.log_prob(params, jnp.zeros((5, 2), jnp.int32))


def test_calls_with_wrong_contexts(plain, conditional):
    flow, params = plain
    with pytest.raises(
        ValueError, match=r"`context` must be None: this flow was built without one"
    ):
        flow.sample(params, jax.random.key(0), (), jnp.zeros(3))
    flow, params = conditional
    with pytest.raises(ValueError, match=r"`context` must be given"):
        flow.log_prob(params, jnp.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"batch axes that broadcast; got x.shape=\(5, 2\)"):
        flow.log_prob(params, jnp.zeros((5, 2)), jnp.zeros((4, 3)))
    with pytest.raises(
        TypeError, match=r"`context` must be a floating-point array; got dtype comp"
    ):
        flow.log_prob(params, jnp.zeros((4, 2)), jnp.zeros((4, 3), jnp.complex64))
    # Labels and counts are contexts as good as others.
    of_floats, of_integers = (
        flow.log_prob(params, jnp.zeros((4, 2)), jnp.ones((4, 3), dtype)) for dtype in (float, int)
    )
    assert (of_floats == of_integers).all()
