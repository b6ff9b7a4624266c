"""Checks of a bijector against the laws, and the report."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import distrax
import jax

from distrax_flows._core.types import Shape
from distrax_flows.testing.checks import Check
from distrax_flows.testing.distribution_laws import DISTRIBUTION_LAWS, DistributionSubject
from distrax_flows.testing.laws import LAWS
from distrax_flows.testing.subject import Subject

__all__ = ["Report", "check", "check_bijector", "check_distribution"]


class Report(NamedTuple):
    """Measurements of the laws; `print` shows them as a table.

    Attributes:
        worst: for each law, the check that comes nearest to its bound or exceeds it most; None if
            the law does not apply.
    """

    worst: dict[str, Check | None]

    def __str__(self) -> str:
        rows = [("law", "worst error", "bound")]
        for name, worst in self.worst.items():
            error, bound = (f"{worst.error:.2g}", f"{worst.bound:.2g}") if worst else ("-", "-")
            rows.append((name, error, bound))
        return "\n".join(f"{name:32}{error:>12}{bound:>8}" for name, error, bound in rows)


def check_bijector(
    bijector: distrax.Bijector | Callable[[Any], distrax.Bijector],
    event_shape: Shape,
    *,
    params: Any = None,
    events: Any = None,
    points: Sequence[Any] = (),
    interval: tuple[float, float] | None = None,
    has_inverse: bool = True,
    per_sample_params: bool = False,
    unused_params: Sequence[int] = (),
    tolerance: float = 1e-4,
    double_tolerance: float = 1e-10,
    laws: Iterable[str] | None = None,
    seed: int = 0,
) -> Report:
    """Check a bijector against the laws, and report which it breaks, where and by how much.

    The laws, by name:

    - `round_trip`: each direction undoes the other, and their log-dets cancel, in float32.
    - `round_trip_in_double_precision`: the same in float64.
    - `log_det_of_the_jacobian`: the log-det is log|det| of the Jacobian, in both directions.
    - `batches`: batches of any rank keep their shape, the log-det has exactly the batch shape, and
      events of a batch do not affect each other.
    - `per_sample_parameters`: batch axes of the parameters broadcast against those of the event.
    - `jit_traces_once`: the bijector may be an argument of `jax.jit`; equal shapes share one trace.
    - `finite_gradients`: values and gradients are finite at 0, at `points`, at +-1e4, for
      parameters multiplied by 0, 1 and 30.
    - `every_parameter_matters`: every parameter has an effect.
    - `dtype_in_is_dtype_out`: float32 stays float32 with x64 on, and float64 float64.
    - `constant_flags`: `is_constant_jacobian` and `is_constant_log_det` are true where set.
    - `densities_integrate_to_one`: a normal density pushed through the bijector integrates to one,
      in one and two dimensions.
    - `composition`: distrax's `Chain`, `Inverse`, `Block`, `Transformed` and `to_tfp` agree with
      it, and so do its own other methods.
    - `missing_inverse`: an inverse declared missing raises NotImplementedError.
    - `explicit_broadcasting`: it traces under `jax.numpy_rank_promotion("raise")`.
    - `interval_onto_itself`: each end of `interval` maps exactly to itself, and no value inside
      leaves it, for parameters multiplied by 0, 1 and 30.
    - `empty_batches_and_integers`: empty batches give empty results, with gradients; integers and
      booleans become floats, or are refused by a TypeError.

    Errors are absolute below one and relative above. Laws that cannot apply are skipped, such as
    those about parameters for a bijector without any.

    Args:
        bijector: a function from `params` to the bijector; or a bijector. The leaves of a bijector
            are its parameters for gradients, and limit its accuracy to float32.
        event_shape: the shape of an event of `forward`; `()` for a scalar bijector.
        params: pytree of floating arrays. Any real values must be allowed: the laws multiply them.
        events: `[N, *event_shape]`, inputs of `forward`. Required if the domain or the image is not
            the whole space; `inverse` is then checked on their images. By default, 100 normal
            samples of standard deviation 2, in both directions.
        points: numbers, or arrays that broadcast to an event, where gradients are delicate in
            either direction.
        interval: ends `(a, b)` of an interval that each direction maps onto itself, in every
            dimension of the event; None if there is none.
        has_inverse: whether there is an inverse; if False, only `forward` is checked.
        per_sample_params: whether the parameters may have batch axes.
        unused_params: indices, through the raveled leaves of `params`, of parameters that have no
            effect by design.
        tolerance: bound of errors in float32; log-dets get ten times as much.
        double_tolerance: the same in float64, if `bijector` is a function.
        laws: names of the laws to check; all by default. `set(LAWS) - {"explicit_broadcasting"}`
            leaves one out.
        seed: seed of the samples.

    Returns:
        The worst error of each law.

    Raises:
        AssertionError: a law is broken, by a wrong value or an exception; the message has a
            paragraph for each broken law.
        TypeError: `bijector` or `params` has the wrong type.
        ValueError: shapes do not match, or a law is unknown.

    Example:
        >>> import distrax, jax.numpy as jnp
        >>> def shift_and_scale(params):
        ...     return distrax.ScalarAffine(shift=params[0], log_scale=params[1])
        >>> report = check_bijector(shift_and_scale, (), params=jnp.array([1.0, 0.5]))
        >>> report.worst["round_trip"].error < 1e-5
        True
    """
    subject = Subject(
        bijector,
        event_shape,
        params=params,
        events=events,
        points=points,
        interval=interval,
        has_inverse=has_inverse,
        per_sample_params=per_sample_params,
        unused_params=unused_params,
        tolerance=tolerance,
        double_tolerance=double_tolerance,
        seed=seed,
    )
    return check(subject, laws)


def check_distribution(
    distribution: distrax.Distribution,
    *,
    other: distrax.Distribution | None = None,
    num_samples: int = 20_000,
    tolerance: float = 1e-4,
    laws: Iterable[str] | None = None,
    seed: int = 0,
) -> Report:
    """Check a distribution against the laws, and report which it breaks, where and by how much.

    The laws, by name:

    - `shapes`: samples have `sample_shape + batch_shape + event_shape`, empty sample shapes
      included; log-densities have all but the last.
    - `seeds`: samples are a function of the seed, and none is a copy of another.
    - `sample_and_log_prob`: it returns what `sample` and `log_prob` return.
    - `normalisation`: the density integrates to one, in one and two dimensions.
    - `samples_against_density`: the mean of r / p over samples of p is 1, for a narrow density r in
      the middle of them, within five standard errors; in any number of dimensions.
    - `dtypes`: samples have the distribution's dtype; float32 stays float32 with x64 on.
    - `is_a_pytree`: it may be an argument of `jax.jit`, and survives `tree_map`.
    - `finite_gradients`: log-densities of samples have finite gradients, in the sample and in all
      float leaves.
    - `kl_divergence`: the divergence to itself is 0, and to `other` the mean of `log p - log q`
      over samples; or it raises NotImplementedError.

    Args:
        distribution: the distribution.
        other: another distribution over the same events, for its KL divergence.
        num_samples: number of samples that the laws use.
        tolerance: bound of errors of samples, absolute below one and relative above; log-densities
            get a hundred times as much.
        laws: names of the laws to check; all by default.
        seed: seed of the samples.

    Returns:
        The worst error of each law.

    Raises:
        AssertionError: a law is broken, by a wrong value or an exception; the message has a
            paragraph for each.
        TypeError: `distribution` has the wrong type.
        ValueError: an argument is out of range, or a law is unknown.

    Example:
        >>> import distrax, jax.numpy as jnp
        >>> normal = distrax.Independent(distrax.Normal(jnp.zeros(2), jnp.ones(2)), 1)
        >>> report = check_distribution(normal)
        >>> report.worst["normalisation"].error < 1e-3
        True
    """
    subject = DistributionSubject(
        distribution, other=other, num_samples=num_samples, tolerance=tolerance, seed=seed
    )
    return _check(subject, DISTRIBUTION_LAWS, laws, subject.name, "distributions")


def check(subject: Subject, laws: Iterable[str] | None = None) -> Report:
    """Check laws on a subject, like `check_bijector`, and keep the subject's compiled functions.

    For a test suite with one law per test:

        subject = testing.Subject(Shift, (2,), params=np.ones(2))

        @pytest.mark.parametrize("law", testing.LAWS)
        def test_laws(law):
            testing.check(subject, [law])

    Args:
        subject: the bijector, and everything that laws compute with it.
        laws: names of the laws to check; all by default.
    """
    return _check(subject, LAWS, laws, subject.instance.name, "bijectors")


def _check(
    subject: Any,
    known: Mapping[str, Callable[[Any], Iterator[Check]]],
    laws: Iterable[str] | None,
    name: str,
    kind: str,
) -> Report:
    names = set(known if laws is None else laws)
    if not names <= set(known):
        raise ValueError(f"`laws` must be names among {list(known)}; got {laws=}.")
    worst: dict[str, Check | None] = {}
    broken, errors = [], []
    for law in (law for law in known if law in names):
        checks = []
        try:
            for measured in known[law](subject):
                checks.append(measured)
        except Exception as error:
            errors.append(error)
            checks.append(_raised(error))
        worst[law] = max(checks, key=_excess, default=None)
        failed = [measured for measured in checks if not measured.holds]
        if failed:
            broken.append(_explain(f"{law}: {known[law].__doc__}", failed))
    if broken:
        title = f"{name} breaks {len(broken)} of {len(names)} laws of {kind}."
        raise AssertionError("\n\n".join([title, *broken])) from (errors[0] if errors else None)
    return Report(worst)


def _excess(check: Check) -> tuple[float, float]:
    """Return a sort key: nearness to the bound; an error of 0 outranks having no offenders."""
    return check.error / max(check.bound, 1e-30), check.bound if check.holds else 0.0


def _explain(law: str, failed: list[Check]) -> str:
    """Describe a broken law: what, by how much, where, and the usual cause."""
    worst = max(failed, key=_excess)
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    found = f"error {worst.error:.3g}, bound {worst.bound:.0e}, " if worst.bound else ""
    lines = [
        law,
        f"{worst.what}: {found}{worst.where}{more}",
        f"Usually: {worst.remedy}.",
    ]
    return "\n    ".join(lines)


def _raised(error: Exception) -> Check:
    """Report an exception by the first line of its message, and its direction."""
    message = str(error).strip().split("\n")[0]
    notes = " ".join(note for note in getattr(error, "__notes__", []) if note.startswith("Raised"))
    if isinstance(error, NotImplementedError):
        remedy = "a direction is missing: write it, or declare `has_inverse=False`"
    elif isinstance(error, jax.errors.ConcretizationTypeError):
        remedy = "Python branches on a traced value: use jnp.where or jax.lax.cond"
    elif "rank_promotion" in message:
        remedy = "shapes of different rank broadcast: give them the same rank by jnp.expand_dims"
    else:
        remedy = "the traceback has the line; `laws` can name a single law, to see its own"
    return Check("raised", math.inf, 0.0, f"{type(error).__name__}: {message} {notes}", remedy)
