"""Masked autoregressive bijector."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.checks import check_scalar
from distrax_flows._core.numerics import keep, vary_like
from distrax_flows._core.types import (
    ArrayLike,
    AutoregressiveConditioner,
    BijectorFn,
    Conditioner,
    LinearizableConditioner,
)
from distrax_flows.bijectors._base import Bijector

__all__ = ["MaskedAutoregressive"]


class MaskedAutoregressive(Bijector):
    """Scalar bijector per dimension, with parameters that depend on the earlier dimensions.

        y_d = f(x_d; theta_d(x_<d)),    log|det| = sum_d log|f'(x_d; theta_d)|

    `forward` takes one pass of the conditioner. `inverse` is sequential in `d`. With a conditioner
    that can `unfold` (see `AutoregressiveConditioner`; MADE can), all D steps together cost about
    one evaluation of the network. With a plain callable they cost D evaluations.

    If the conditioner can `linearize`, as MADE's network can, gradients through `inverse` use the
    implicit function theorem. They take about as long as the steps and one pass together, and store
    nothing from the steps. Otherwise autodiff goes through the steps and stores all carries.

    As a flow from base to data this is IAF (fast sampling); its `distrax.Inverse` is MAF (fast
    density).

    Args:
        conditioner: maps `[..., D]` to `[..., D, P]`. The parameters of dimension d depend only on
            the dimensions before d, in an order that the conditioner chooses.
        bijector: maps parameters `[..., P]` to a scalar distrax bijector (`event_ndims_in == 0`)
            of batch shape `[...]`, such as `families.affine().bijector`.

    Raises:
        ValueError: when called, `bijector` does not return a scalar bijector.

    Reference:
        Kingma et al., "Improving Variational Inference with Inverse Autoregressive Flow", 2016,
        eqs. 4-6; Papamakarios et al., "Masked Autoregressive Flow for Density Estimation", 2017,
        eqs. 3-5.

    Example:
        >>> import distrax, jax.numpy as jnp
        >>> def conditioner(x):  # the shift of x_1 is x_0, and that of x_0 is 1
        ...     return jnp.stack([jnp.ones_like(x[..., 0]), x[..., 0]], axis=-1)[..., None]
        >>> bijector = MaskedAutoregressive(
        ...     conditioner, lambda p: distrax.ScalarAffine(shift=p[..., 0]))
        >>> y = bijector.forward(jnp.array([10.0, 20.0]))
        >>> print(y, bijector.inverse(y))
        [11. 30.] [10. 20.]
    """

    def __init__(self, conditioner: Conditioner | AutoregressiveConditioner, bijector: BijectorFn):
        super().__init__(event_ndims_in=1)
        self._conditioner = conditioner
        self._bijector = bijector

    @property
    def conditioner(self) -> Conditioner | AutoregressiveConditioner:
        """The conditioner."""
        return self._conditioner

    @property
    def bijector(self) -> BijectorFn:
        """The function from parameters to the scalar bijector."""
        return self._bijector

    def forward_and_log_det(
        self, x: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Transform in one pass, since all dimensions of `x` are known."""
        x = self._as_events(x)
        y, log_det = self._scalars(self._conditioner(x)).forward_and_log_det(x)
        return jnp.asarray(y), jnp.sum(log_det, axis=-1)

    def inverse_and_log_det(
        self, y: Shaped[ArrayLike, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Invert sequentially: each dimension of `x` needs the ones before it."""
        y = self._as_events(y)
        if isinstance(self._conditioner, AutoregressiveConditioner):
            return self._inverse_by_steps(self._conditioner, y)
        return self._inverse_by_passes(y)

    def _scalars(self, params):
        return check_scalar("bijector", self._bijector(params))

    def _inverse_by_steps(self, conditioner, y):
        params = jax.eval_shape(conditioner, y)
        y = jnp.broadcast_to(y, params.shape[:-1]).astype(jnp.result_type(y, params))
        if not isinstance(conditioner, LinearizableConditioner):
            return _solve(conditioner, self._inverse_scalars, y)
        conditioner = _promote(conditioner, y.dtype)
        # `closure_convert` also fixes the varying axes of arguments: use those of the result.
        x, _ = jax.eval_shape(self._inverse_scalars, params, y)
        y, params = vary_like(y, x), jax.eval_shape(vary_like, params, x)
        # The scalar bijector may close over traced values, which need gradients too.
        one = jax.eval_shape(lambda params: params[..., 0, :], params)
        inverse, closed_over = jax.closure_convert(self._inverse_scalars, one, y[..., 0])
        forward, also = jax.closure_convert(self._forward_scalars, params, x)
        return _solve_implicitly(inverse, forward, conditioner, y, closed_over, also)

    def _inverse_scalars(self, params, y):
        return self._scalars(params).inverse_and_log_det(y)

    def _forward_scalars(self, params, x):
        return self._scalars(params).forward_and_log_det(x)

    def _inverse_by_passes(self, y):
        # After k passes the first k dimensions are right, for any order. The first pass is outside
        # the loop because a Haiku network may create its parameters there, but not inside.
        def one_pass(_, x):
            return self._scalars(self._conditioner(x)).inverse(y)

        x = one_pass(0, jnp.zeros_like(y))
        x = jax.lax.fori_loop(0, max(y.shape[-1] - 2, 0), one_pass, x)
        x, log_det = self._scalars(self._conditioner(x)).inverse_and_log_det(y)
        return jnp.asarray(x), jnp.sum(log_det, axis=-1)


def _promote(conditioner, dtype):
    """Return the conditioner with its parameters promoted to the dtype they share with events."""

    def promote(leaf):
        return leaf.astype(jnp.result_type(leaf, dtype))

    return jax.tree.map(promote, conditioner)


def _solve(conditioner, inverse, y):
    """Return the inverse and its log-det, computed one dimension at a time."""
    x, log_det = conditioner.unfold(inverse, jnp.moveaxis(y, -1, 0), y.shape[:-1])
    return jnp.moveaxis(x, 0, -1), jnp.sum(log_det, axis=0)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _solve_implicitly(inverse, forward, conditioner, y, closed_over, also):
    """Return `_solve`'s result, with a gradient that stores nothing from the steps.

    Let F be the one-pass direction and c everything its parameters depend on. From F(x, c) = y,
    F_x dx = dy - F_c dc. F_x is triangular, so dx is found like x, one dimension at a time, with
    the derivative of the conditioner's network, which is linear. JAX transposes those steps.
    """
    del forward, also
    return _solve(conditioner, lambda params, y: inverse(params, y, *closed_over), y)


@_solve_implicitly.defjvp
def _solve_implicitly_jvp(inverse, forward, primals, tangents):
    conditioner, _, _, also = primals
    conditioner_dot, y_dot, _, also_dot = tangents
    x, log_det = _solve_implicitly(inverse, forward, *primals)
    x = keep(x)

    params, params_dot = jax.jvp(lambda network: network(x), (conditioner,), (conditioner_dot,))
    value, pull = jax.vjp(lambda params, x: forward(params, x, *also)[0], params, x)
    by_params, by_x = pull(jnp.ones_like(value))
    _, (moved, _) = jax.jvp(lambda *also: forward(params, x, *also), also, also_dot)
    left = y_dot - moved - jnp.sum(by_params * params_dot, axis=-1)

    def decide(change, inputs):
        """Solve for one dimension, given the change of its parameters due to earlier ones."""
        left, by_params, by_x = inputs
        x_dot = (left - jnp.sum(by_params * change, axis=-1)) / by_x
        return x_dot, change

    inputs = jnp.moveaxis(left, -1, 0), jnp.moveaxis(by_params, -2, 0), jnp.moveaxis(by_x, -1, 0)
    x_dot, change = conditioner.linearize(x).unfold(decide, inputs, x.shape[:-1])
    x_dot = jnp.moveaxis(x_dot, 0, -1)
    params_dot += jnp.moveaxis(change, 0, -2)
    _, (_, log_det_dot) = jax.jvp(forward, (params, x, *also), (params_dot, x_dot, *also_dot))
    return (x, log_det), (x_dot, -jnp.sum(log_det_dot, axis=-1))
