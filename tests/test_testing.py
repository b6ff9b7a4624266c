"""The checker of bijectors: it passes correct ones, and locates the errors of broken ones."""

import re

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distrax_flows import testing

PARAMS = {"log_scale": np.array([0.5, -0.3]), "shift": np.array([1.0, -2.0])}


class Affine(distrax.Bijector):
    """A good bijector; each class below breaks one thing."""

    def __init__(self, params, **flags):
        super().__init__(event_ndims_in=1, **{"is_constant_jacobian": True, **flags})
        self.log_scale, self.shift = params["log_scale"], params["shift"]

    def forward_and_log_det(self, x):
        x, log_scale, shift = jnp.broadcast_arrays(x, self.log_scale, self.shift)
        y = x * jnp.exp(log_scale) + shift
        return y, jnp.sum(log_scale, axis=-1)

    def inverse_and_log_det(self, y):
        y, log_scale, shift = jnp.broadcast_arrays(y, self.log_scale, self.shift)
        x = (y - shift) * jnp.exp(-log_scale)
        return x, -jnp.sum(log_scale, axis=-1)


class WrongInverse(Affine):
    def inverse_and_log_det(self, y):
        x, log_det = super().inverse_and_log_det(y)
        return x + 0.1, log_det


class InexactInverse(Affine):
    def inverse_and_log_det(self, y):
        x, log_det = super().inverse_and_log_det(y)
        return x + 1e-6, log_det


class WrongSign(Affine):
    def inverse_and_log_det(self, y):
        x, log_det = super().inverse_and_log_det(y)
        return x, -log_det


class LogDetOfBothDirectionsOff(Affine):
    def forward_and_log_det(self, x):
        y, log_det = super().forward_and_log_det(x)
        return y, log_det + 0.1

    def inverse_and_log_det(self, y):
        x, log_det = super().inverse_and_log_det(y)
        return x, log_det - 0.1


class ScalarLogDet(Affine):
    def forward_and_log_det(self, x):
        return super().forward_and_log_det(x)[0], jnp.sum(self.log_scale)


class EventsMeet(Affine):
    def forward_and_log_det(self, x):
        y, log_det = super().forward_and_log_det(x)
        return y + (jnp.mean(x) if x.ndim > 1 else 0.0), log_det


class LeadingAxes(Affine):
    def __init__(self, params):
        super().__init__(params)
        self.log_scale = jnp.stack([self.log_scale[0], self.log_scale[1]], axis=-1)


class Lambda(Affine):
    def __init__(self, params):
        super().__init__(params)
        self.f = lambda x: x


class Branch(Affine):
    def forward_and_log_det(self, x):
        return super().forward_and_log_det(x if jnp.sum(x) > 0 else x + 0.0)


class Norm(Affine):
    def forward_and_log_det(self, x):
        y, log_det = super().forward_and_log_det(x)
        return y, log_det + 0.0 * jnp.linalg.norm(x, axis=-1)


class Overflow(Affine):
    def inverse_and_log_det(self, y):
        x, log_det = super().inverse_and_log_det(y)
        return x, log_det + 0.0 * jnp.exp(jnp.sum(y, axis=-1))


class Unused(Affine):
    def __init__(self, params):
        super().__init__({**params, "shift": jnp.zeros_like(params["shift"])})


class Downcast(Affine):
    def forward_and_log_det(self, x):
        y, log_det = super().forward_and_log_det(x)
        return y.astype(jnp.float32), log_det


class Leak(Affine):
    def inverse_and_log_det(self, y):
        x, log_det = super().inverse_and_log_det(y)
        return x, log_det + np.zeros(log_det.shape)


class Shear(Affine):
    """Preserves volumes, and is not affine."""

    def forward_and_log_det(self, x):
        y, log_det = super().forward_and_log_det(x)
        return y.at[..., 1].add(jnp.tanh(y[..., 0])), log_det

    def inverse_and_log_det(self, y):
        return super().inverse_and_log_det(y.at[..., 1].add(-jnp.tanh(y[..., 0])))


class Bent(Affine):
    def forward_and_log_det(self, x):
        y, log_det = super().forward_and_log_det(x)
        return y + jnp.tanh(y), log_det + jnp.sum(jnp.log1p(1 - jnp.tanh(y) ** 2), axis=-1)


class OtherForward(Affine):
    def forward(self, x):
        return super().forward(x) + 0.1


class OtherInverse(Affine):
    def inverse_log_det_jacobian(self, y):
        return -super().inverse_log_det_jacobian(y)


class NoInverse(Affine):
    inverse_and_log_det = distrax.Bijector.inverse_and_log_det


class ImplicitBroadcast(Affine):
    def forward_and_log_det(self, x):
        return x * jnp.exp(self.log_scale) + self.shift, super().forward_and_log_det(x)[1]


class Truncates(Affine):
    def forward_and_log_det(self, x):
        y, log_det = super().forward_and_log_det(x)
        return y.astype(x.dtype), log_det


class Reshapes(Affine):
    def inverse_and_log_det(self, y):
        x, log_det = super().inverse_and_log_det(y)
        return x.reshape(*y.shape[:-1], -1), log_det


BROKEN = [
    (
        WrongInverse,
        "round_trip",
        r"forward after inverse: error 0.165, bound 1e-04, at event \d+ = ",
    ),
    (InexactInverse, "round_trip_in_double_precision", "error 1.65e-06, bound 1e-10"),
    (WrongSign, "round_trip", "log-det of inverse after forward: error 0.4, bound 1e-03"),
    (WrongSign, "log_det_of_the_jacobian", "log-det of inverse: error 0.4, bound 1e-09"),
    (LogDetOfBothDirectionsOff, "log_det_of_the_jacobian", "error 0.1"),
    (LogDetOfBothDirectionsOff, "densities_integrate_to_one", "error 0.0952, .* holds 0.904837"),
    (ScalarLogDet, "batches", r"log-det of forward, .*: got \(\), expected \(100,\)"),
    (EventsMeet, "batches", "output of forward, for a batch .* the events of a batch meet"),
    (LeadingAxes, "per_sample_parameters", "raised|three parameters"),
    (Lambda, "jit_traces_once", "traces .*: got 2, expected 1.*no lambda"),
    (Branch, "jit_traces_once", "Python branches on a traced value"),
    (
        Norm,
        "finite_gradients",
        r"gradient in the event of forward, .*: not finite for 1 of 4 events, first at event 0 = "
        r"\[0, 0\]",
    ),
    (
        Overflow,
        "finite_gradients",
        r"of inverse, .*: not finite for 1 of 4 events, first at event 2",
    ),
    (Unused, "every_parameter_matters", r"without effect: 2: params\['shift'\]\[0\], params\["),
    (Downcast, "dtype_in_is_dtype_out", "forward, for float64: got float32, expected float64"),
    (Leak, "dtype_in_is_dtype_out", "log-det of inverse, for float32: got float64"),
    (Bent, "constant_flags", r"log\|det\| of forward, flagged constant.*error \d"),
    (Shear, "constant_flags", r"Jacobian of forward, flagged constant.*error \d"),
    (OtherForward, "composition", "output of distrax.to_tfp: error 0.1"),
    (OtherInverse, "composition", "log-det of its inverse: error 0.4"),
    (NoInverse, "round_trip", "NotImplementedError: .* Raised in inverse.*`has_inverse=False`"),
    (ImplicitBroadcast, "explicit_broadcasting", "ValueError: .*rank_promotion.*jnp.expand_dims"),
    (Truncates, "empty_batches_and_integers", "output of forward, for int32: got int32, expected"),
    (Reshapes, "empty_batches_and_integers", "ZeroDivisionError: .* Raised in inverse"),
]


@pytest.mark.parametrize(("build", "law", "message"), BROKEN)
def test_broken_bijectors_are_caught(build, law, message):
    with pytest.raises(AssertionError) as caught:
        testing.check_bijector(build, (2,), params=PARAMS, per_sample_params=True, laws=[law])
    text = str(caught.value)
    assert text.startswith(f"{build.__name__} breaks 1 of 1 laws of bijectors.\n\n{law}: ")
    assert "\n    Usually: " in text
    assert re.search(message, text, re.DOTALL), text


def test_every_law_has_a_bijector_that_breaks_it():
    optional = {"missing_inverse", "interval_onto_itself"}
    assert {law for _, law, _ in BROKEN} | optional == set(testing.LAWS)


def test_all_broken_laws_are_reported_at_once_and_the_others_are_not():
    with pytest.raises(AssertionError) as caught:
        testing.check_bijector(WrongSign, (2,), params=PARAMS)
    broken = re.findall(r"^(\w+): ", str(caught.value), re.MULTILINE)
    assert broken == [
        "round_trip",
        "round_trip_in_double_precision",
        "log_det_of_the_jacobian",
        "densities_integrate_to_one",
        "composition",
    ]
    assert str(caught.value).startswith("WrongSign breaks 5 of 16 laws of bijectors.")


def test_an_exception_is_chained():
    with pytest.raises(AssertionError) as caught:
        testing.check_bijector(NoInverse, (2,), params=PARAMS, laws=["batches", "round_trip"])
    assert isinstance(caught.value.__cause__, NotImplementedError)


def test_a_report_has_the_worst_error_of_each_law():
    report = testing.check_bijector(Affine, (2,), params=PARAMS, per_sample_params=True)
    assert list(report.worst) == list(testing.LAWS)
    passed_over = [name for name, worst in report.worst.items() if worst is None]
    assert passed_over == ["missing_inverse", "interval_onto_itself"]
    assert 0 < report.worst["round_trip"].error < 1e-6
    assert report.worst["round_trip"].bound == 1e-4
    lines = str(report).splitlines()
    assert len(lines) == 1 + len(testing.LAWS)
    assert lines[1].split()[0] == "round_trip"
    assert lines[1].split()[2] == "0.0001"
    assert lines[13].split() == ["missing_inverse", "-", "-"]


EVENTS = np.random.default_rng(0).normal(size=(30, 2))


@pytest.mark.parametrize(
    ("bijector", "event_shape", "options"),
    [
        (distrax.ScalarAffine(shift=1.0, scale=2.0), (), {}),
        (distrax.ScalarAffine(shift=jnp.float32(1.0), scale=jnp.float32(-2.0)), (), {}),
        (distrax.Block(distrax.ScalarAffine(shift=jnp.arange(3.0), scale=2.0), 1), (3,), {}),
        (distrax.Tanh(), (), {"events": EVENTS[:, 0], "points": (0.0,)}),
        (distrax.Block(distrax.Sigmoid(), 1), (2,), {"events": EVENTS}),
        (distrax.Inverse(distrax.Tanh()), (), {"events": np.tanh(EVENTS[:, 0])}),
        (distrax.Lambda(jax.nn.softplus), (), {"events": EVENTS[:, 0], "has_inverse": False}),
    ],
)
def test_good_bijectors_of_distrax_pass(bijector, event_shape, options):
    testing.check_bijector(bijector, event_shape, **options)


def test_parameters_of_a_domain_of_its_own_may_have_a_batch():
    def build(params):
        return distrax.Chain(
            [distrax.ScalarAffine(params[..., 0], log_scale=params[..., 1]), distrax.Tanh()]
        )

    report = testing.check_bijector(
        build, (), params=np.array([1.0, 0.5]), events=EVENTS[:, 0], per_sample_params=True
    )
    assert report.worst["per_sample_parameters"].error < 1e-4


def test_an_image_other_than_the_whole_space_must_be_declared():
    with pytest.raises(AssertionError, match="which `events` declares"):
        testing.check_bijector(distrax.Tanh(), (), laws=["densities_integrate_to_one"])
    with pytest.raises(AssertionError, match="which `events` declares"):
        testing.check_bijector(distrax.Tanh(), (), laws=["round_trip"])


def test_a_missing_inverse_is_declared_not_assumed():
    with pytest.raises(AssertionError, match="inverse raises: got nothing"):
        testing.check_bijector(Affine, (2,), params=PARAMS, has_inverse=False)


def test_unused_parameters_are_declared():
    laws = ["every_parameter_matters"]
    params = {"a": np.ones(()), "b": np.ones((2, 2))}

    def build(params):
        return distrax.ScalarAffine(shift=params["a"] + jnp.trace(params["b"]))

    with pytest.raises(AssertionError, match=r"2: params\['b'\]\[0, 1\], params\['b'\]\[1, 0\]"):
        testing.check_bijector(build, (), params=params, laws=laws)
    testing.check_bijector(build, (), params=params, laws=laws, unused_params=[2, 3])
    with pytest.raises(AssertionError, match=r"with an effect: 1: params\['a'\]\n"):
        testing.check_bijector(build, (), params=params, laws=laws, unused_params=[0, 2, 3])


class Rounded(distrax.Bijector):
    """Of [0, 1] onto itself, up to rounding."""

    def __init__(self, params):
        super().__init__(event_ndims_in=0)
        self.bend = jnp.tanh(params)

    def forward_and_log_det(self, x):
        y = x + self.bend * x * (1 - x)
        return y + jnp.finfo(x.dtype).eps * (x > 0), jnp.log(1 + self.bend * (1 - 2 * x))


def test_an_interval_is_mapped_onto_itself_to_the_bit():
    options = {"params": np.ones(()), "interval": (0.0, 1.0), "has_inverse": False}
    with pytest.raises(AssertionError, match=r"values out of forward .*: 1 to 1\.0000"):
        testing.check_bijector(Rounded, (), laws=["interval_onto_itself"], **options)


class Kink(distrax.Bijector):
    """The identity, with a gradient that is NaN at 3."""

    def __init__(self):
        super().__init__(event_ndims_in=0)

    def forward_and_log_det(self, x):
        return x, 0.0 * jnp.sqrt(jnp.abs(x - 3.0))


def test_points_are_where_gradients_are_tried():
    options = {"has_inverse": False, "laws": ["finite_gradients"]}
    testing.check_bijector(Kink(), (), **options)
    with pytest.raises(AssertionError, match="first at event 4 = 3\n"):
        testing.check_bijector(Kink(), (), points=(3.0,), **options)


@pytest.mark.usefixtures("wrong_types")
@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((Affine, (2,)), {}, TypeError, "`params` must be a pytree of floating arrays"),
        (
            (Affine, (2,)),
            {"params": np.arange(3)},
            TypeError,
            "`params` must be a pytree of floating arrays.*closes over what else",
        ),
        ((3, ()), {}, TypeError, "`bijector` must be a `distrax.Bijector`, or a function"),
        (
            (lambda params: jnp.tanh, ()),
            {"params": 1.0},
            TypeError,
            "`bijector` must be .*got <.*`distrax.as_bijector` converts",
        ),
        (
            (distrax.Tanh(), ()),
            {"params": 1.0},
            ValueError,
            "`params`, .* go with a function .*got bijector=Tanh",
        ),
        (
            (distrax.Tanh(), (2,)),
            {},
            ValueError,
            r"`event_shape` must have 0 axes, .*got event_shape=\(2,\).*`distrax.Block`",
        ),
        (
            (distrax.Tanh(), ()),
            {"events": np.zeros((3, 2))},
            ValueError,
            r"`events` must have shape \[N, \*event_shape\]; got events.shape=\(3, 2\)",
        ),
        (
            (Affine, (2,)),
            {"params": PARAMS, "unused_params": [4]},
            ValueError,
            r"`unused_params` must hold indices below 4, .*got unused_params=\[4\]",
        ),
        (
            (distrax.Tanh(), ()),
            {"tolerance": 0.0},
            ValueError,
            "`tolerance` must be a finite number above 0; got tolerance=0.0",
        ),
        (
            (distrax.Tanh(), ()),
            {"laws": ["round_tripp"]},
            ValueError,
            r"`laws` must be names among \['round_trip', .*got laws=\['round_tripp'\]",
        ),
    ],
)
def test_errors(arguments, options, error, message):
    with pytest.raises(error, match=message):
        testing.check_bijector(*arguments, **options)
