"""Masked autoregressive bijector."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from distrax_flows._checks import check_scalar
from distrax_flows._types import AutoregressiveConditioner, BijectorFn, Conditioner

__all__ = ["MaskedAutoregressive"]


class MaskedAutoregressive(distrax.Bijector):
    """Transforms each dimension by a scalar bijector whose parameters the earlier ones decide.

        y_d = f(x_d; theta_d(x_<d)),    log|det| = sum_d log|f'(x_d; theta_d)|

    `forward` takes one pass of the conditioner. `inverse` is sequential in `d`: with a conditioner
    that can `start` and `step` (see `AutoregressiveConditioner`; MADE can) all D steps together
    cost about one evaluation of the network; with a plain callable they cost D evaluations.

    As a flow from base to data this is IAF (fast sampling); its `distrax.Inverse` is MAF (fast
    density).

    Args:
        conditioner: maps `[..., D]` to `[..., D, P]`, the parameters of dimension d depending on
            the dimensions before d only, in an order of its own choice.
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
        self, x: Float[Array, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """One pass: all dimensions of `x` are known."""
        self._check_forward_input_shape(x)
        y, log_det = self._scalars(self._conditioner(x)).forward_and_log_det(x)
        return jnp.asarray(y), jnp.sum(log_det, axis=-1)

    def inverse_and_log_det(
        self, y: Float[Array, "... D"]
    ) -> tuple[Float[Array, "... D"], Float[Array, "..."]]:
        """Sequential: each dimension of `x` needs the ones before it."""
        self._check_inverse_input_shape(y)
        if isinstance(self._conditioner, AutoregressiveConditioner):
            return self._inverse_by_steps(self._conditioner, y)
        return self._inverse_by_passes(y)

    def _scalars(self, params):
        return check_scalar("bijector", self._bijector(params))

    def _inverse_by_steps(self, conditioner, y):
        order = np.array(conditioner.order)

        def step(state, inputs):
            carry, params = state
            i, y_i = inputs
            x_i, log_det = self._scalars(params).inverse_and_log_det(y_i)
            return conditioner.step(carry, i, x_i), (x_i, log_det)

        steps = jnp.arange(order.size), jnp.moveaxis(jnp.take(y, order, axis=-1), -1, 0)
        _, (x, log_det) = jax.lax.scan(step, conditioner.start(y.shape[:-1]), steps)
        x = jnp.moveaxis(jnp.take(x, np.argsort(order), axis=0), 0, -1)
        return x, jnp.sum(log_det, axis=0)

    def _inverse_by_passes(self, y):
        # After k passes the first k dimensions are right, whatever the order. The first pass is
        # outside the loop: a Haiku network may create its parameters there, and not inside.
        def one_pass(_, x):
            return self._scalars(self._conditioner(x)).inverse(y)

        x = one_pass(0, jnp.zeros_like(y))
        x = jax.lax.fori_loop(0, max(y.shape[-1] - 2, 0), one_pass, x)
        x, log_det = self._scalars(self._conditioner(x)).inverse_and_log_det(y)
        return jnp.asarray(x), jnp.sum(log_det, axis=-1)
