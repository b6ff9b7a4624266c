"""Bad input gets a clear error at once: the rule, the value, the remedy."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import distrax_flows as dxf
from distrax_flows import families, flows
from distrax_flows.modules import MADE, MLP, ResidualMLP, Stack


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
        "`range_min` must be less than `range_max`; got range_min=1.0, range_max=1.0",
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
        lambda: families.affine(0.0),
        ValueError,
        "`max_log_scale` must be a finite number above 0; got max_log_scale=0.0",
    ),
    (lambda: families.chain(), ValueError, "`families` must hold at least one family"),
    (lambda: families.spline(0), ValueError, "`num_bins` must be an integer of at least 1"),
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
        lambda: in_haiku(lambda: Stack(lambda x: dxf.Reverse(), 0)),
        ValueError,
        "`num_layers` must be an integer of at least 1",
    ),
    (lambda: dxf.transform(3), TypeError, "`make` must be a function that builds a flow"),
    (
        lambda: dxf.transform(lambda a, b: None),
        TypeError,
        r"`make` must need no argument, or one named `context`; it needs \['a', 'b'\]",
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
        '`fast` must be "density" or "sampling"',
    ),
    (
        lambda: built(lambda: flows.realnvp(2, base=NORMAL)),
        ValueError,
        r"`base` must have event shape \(2,\).*distrax.Independent",
    ),
    (
        lambda: built(lambda: flows.realnvp(3, base=distrax.Independent(NORMAL, 1))),
        ValueError,
        r"`base` must have event shape \(3,\).*give a distribution over vectors of 3",
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
    with pytest.raises(
        ValueError, match=r"`x` must have a last axis of size 2.*got x.shape=\(5, 3\)"
    ):
        flow.log_prob(params, jnp.zeros((5, 3)))
    with pytest.raises(ValueError, match=r"`z` must have a last axis of size 2"):
        flow.forward(params, jnp.zeros((5, 3)))
    with pytest.raises(ValueError, match=r"`x` must have at least 1 axes"):
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
    with pytest.raises(TypeError, match=r"`context` must be a floating-point array"):
        flow.log_prob(params, jnp.zeros((4, 2)), jnp.zeros((4, 3), jnp.int32))


DATA = np.zeros((50, 2), np.float32)


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        (DATA[:, 0], {}, ValueError, r"`data` must have shape \[N, D\]"),
        (DATA.astype(int), {}, TypeError, "`data` must be a floating-point array"),
        (
            DATA,
            {"batch_size": 51},
            ValueError,
            "at least `batch_size` rows; got 50 rows and batch_size=51",
        ),
        (
            DATA,
            {"num_steps": 0},
            ValueError,
            "`num_steps` must be an integer of at least 1; got num_steps=0",
        ),
        (DATA, {"ema_decay": 1.0}, ValueError, "`ema_decay` must be between 0 and 1"),
        (
            DATA,
            {"context": DATA[:3]},
            ValueError,
            r"`context` must have shape \[N, C\] with N = 50",
        ),
        (
            np.where(np.eye(50, 2) > 0, np.nan, DATA),
            {},
            ValueError,
            r"`data` must be finite; 2 of 50 rows are not, the first being row 0",
        ),
        (lambda key: jnp.zeros(3), {}, ValueError, r"`data` must return a batch \[batch_size, D\]"),
        (
            lambda key: jnp.zeros((8, 2)),
            {"context": DATA},
            ValueError,
            "`context` must be None where `data` is a function",
        ),
    ],
)
def test_fit(plain, data, options, error, message):
    options = {"batch_size": 8, "num_steps": 2, **options}
    with pytest.raises(error, match=message):
        dxf.fit(plain[0], data, key=jax.random.key(0), **options)


def test_fit_says_when_the_loss_is_lost(plain):
    data = DATA.copy()
    data[17] = 3e38
    with pytest.raises(
        FloatingPointError, match=r"The loss is inf at step \d+\. Lower the learning"
    ):
        dxf.fit(plain[0], data, key=jax.random.key(0), batch_size=10, num_steps=20)
