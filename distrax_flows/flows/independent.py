"""Flows that transform each dimension by itself, given covariates or not."""

from collections.abc import Sequence
from typing import TypedDict, Unpack

import distrax
import jax

from distrax_flows import families
from distrax_flows._types import Activation
from distrax_flows.families import Family
from distrax_flows.flows._assemble import FlowOptions, assemble, refuse
from distrax_flows.flows._layers import elementwise_layer
from distrax_flows.supports import Support

__all__ = ["bernstein", "conditional_bernstein", "independent"]


def independent(
    event_size: int, family: Family, **options: Unpack[FlowOptions]
) -> distrax.Transformed:
    """Independent dimensions: each is a scalar transformation of its base variable.

        y_d = f(x_d; theta_d),    theta free, or given by a network of the context

    One layer by default; both directions cost what the family costs. Networks are there for the
    context only. A dimension on a circle gets a circular spline in place of `family`. Splines alone
    never reach beyond their interval: `families.chain(families.affine(), families.spline())` does.
    See the package's docstring for the arguments; `family` is one of `distrax_flows.families`, and
    `between` does not apply.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.independent(3, dxf.families.spline()))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 3)))
        >>> flow.sample(params, jax.random.key(1), (10,)).shape
        (10, 3)
    """
    refuse("independent", options, "between")
    return assemble(
        event_size,
        lambda layers: layers.stack(elementwise_layer(family, layers)),
        family,
        coupled=False,
        **{"num_layers": 1, **options},
    )


class EndOptions(TypedDict, total=False):
    """The keyword arguments of `FlowOptions` that concern no network."""

    base: distrax.DistributionLike | None
    standardize: bool | str
    support: Support | Sequence[Support] | None


def bernstein(
    event_size: int = 1, *, degree: int = 16, **ends: Unpack[EndOptions]
) -> distrax.Transformed:
    """Bernstein-polynomial flow of each dimension by itself: one density per column.

    Seen from the data: scale and shift, a polynomial, scale and shift.

        z_d = a_2 B(a_1 y_d + b_1) + b_2

    The first pair places the data in the interval of the polynomial, [-3, 3], outside of which it
    continues as a line; the second moves the result over the base. All are learned; standardise the
    data, or bring them to about unit scale. `log_prob` is in closed form, `sample` takes a
    numerical root.
    There are no networks: only `base`, `standardize` and `support` of the package's docstring.

    Args:
        event_size: number of dimensions, D.
        degree: degree of the polynomials, M.
        **ends: `base`, `standardize`, `support`.

    Reference:
        Sick et al., "Deep transformation models", 2020, section 3; Ramasinghe et al., "Robust
        normalizing flows using Bernstein-type polynomials", 2021.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda: dxf.flows.bernstein(degree=12, standardize=True))
        >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 1)))
        >>> flow.sample(params, jax.random.key(1), (10,)).shape
        (10, 1)
    """
    return independent(event_size, _scaled_bernstein(degree), **ends)


def conditional_bernstein(
    context: jax.Array,
    event_size: int = 1,
    *,
    degree: int = 16,
    hidden_sizes: Sequence[int] = (64, 64),
    activation: Activation = jax.nn.relu,
    **ends: Unpack[EndOptions],
) -> distrax.Transformed:
    """Regression with a whole distribution: `bernstein`, its parameters given by covariates.

    A network of the covariates gives scales, shifts and coefficients. The density of a response may
    be skewed, heteroscedastic, or have several modes. Several responses are independent given the
    covariates; for dependent ones use `bernstein_autoregressive` with a context.

    Args:
        context: `[..., C]`, covariates; of about unit scale.
        event_size: number of responses, D.
        degree: degree of the polynomials, M.
        hidden_sizes: units of each hidden layer of the network.
        activation: of the network.
        **ends: `base`, `standardize`, `support`.

    Reference:
        Sick et al., "Deep transformation models: Tackling complex regression problems with neural
        network based transformation models", 2020.

    Example:
        >>> import distrax_flows as dxf, jax, jax.numpy as jnp
        >>> flow = dxf.transform(lambda context: dxf.flows.conditional_bernstein(context))
        >>> covariates = jnp.linspace(-1.0, 1.0, 20)[:, None]
        >>> params = flow.init(jax.random.key(0), jnp.zeros((20, 1)), covariates)
        >>> flow.sample(params, jax.random.key(1), (5,), covariates).shape
        (5, 20, 1)
    """
    return independent(
        event_size,
        _scaled_bernstein(degree),
        context=context,
        hidden_sizes=hidden_sizes,
        activation=activation,
        **ends,
    )


def _scaled_bernstein(degree: int) -> Family:
    scale_shift = families.affine()
    # Standardised data fill this interval from the start: all coefficients are of use.
    polynomial = families.bernstein(degree, range_min=-3.0, range_max=3.0)
    return families.inverse(families.chain(scale_shift, polynomial, scale_shift))
