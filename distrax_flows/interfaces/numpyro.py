"""Flows in NumPyro: transforms, priors and guides.

| | |
|-|-|
| `FlowTransform` | a flow as a transform, from base to data |
| `FlowDistribution` | a flow as a distribution in a model |
| `AutoFlow` | a guide whose posterior is a flow |
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from distrax_flows._core.types import ArrayLike, Shape
from distrax_flows.functional._events import Events
from distrax_flows.functional._transform import transform
from distrax_flows.functional.flow import Flow, Params, events_of
from distrax_flows.modules import is_fixed
from distrax_flows.supports import Circle, Support, circle, real

try:
    import numpyro
    import numpyro.distributions as dist
    from numpyro.distributions import constraints
    from numpyro.distributions.util import validate_sample
    from numpyro.infer.autoguide import AutoContinuous
    from numpyro.infer.initialization import init_to_uniform
except ImportError as error:
    raise ImportError(
        "`distrax_flows.interfaces.numpyro` needs NumPyro: `pip install 'distrax_flows[numpyro]'`."
    ) from error

__all__ = ["AutoFlow", "FlowDistribution", "FlowTransform"]

_INIT_SAMPLES = 1024  # samples of the base for data-dependent initialisation


class FlowTransform(dist.transforms.Transform):
    """A flow f with its parameters bound, as a NumPyro transform from base to data.

        y = f(x),    log|det| = log|det df/dx|

    A pytree whose leaves are the parameters and the context. Each direction costs what it costs the
    flow; the log-det comes with the value where NumPyro hands intermediates on, and from the
    forward direction elsewhere. The codomain is that of the flow's `support=`. A base with bounds
    is not seen: the domain is the whole space.

    Args:
        flow: the flow, of continuous events and without random layers.
        params: its parameters.
        context: `[..., C]` or None.

    Raises:
        TypeError: `flow` has state, or is no flow.
        ValueError: events of the flow are integers.

    Example:
        >>> import distrax_flows as dxf, jax.numpy as jnp, numpyro.distributions as dist
        >>> flow = dxf.transform(lambda: dxf.flows.iaf(2))
        >>> transform = FlowTransform(flow, flow.init_without_data(0))
        >>> normal = dist.Normal(jnp.zeros(2), 1.0).to_event(1)
        >>> print(f"{dist.TransformedDistribution(normal, transform).log_prob(jnp.zeros(2)):.4f}")
        -1.8379
    """

    def __init__(
        self, flow: Flow, params: Params, context: Shaped[ArrayLike, "... C"] | None = None
    ):
        _events_of(flow, context)
        self.flow = flow
        self.params = params
        self.context = None if context is None else jnp.asarray(context)

    @property
    def domain(self) -> constraints.Constraint:
        """Where the base has density."""
        events = events_of(self.flow, self.context)
        # The base holds the dimensions on lines first, then those on circles.
        lines = [real() for support in events.supports if not isinstance(support, Circle)]
        circles = [circle() for support in events.supports if isinstance(support, Circle)]
        return _constraint(lines + circles, len(events.base_shape))

    @property
    def codomain(self) -> constraints.Constraint:
        """Where the flow has density."""
        events = events_of(self.flow, self.context)
        return _constraint(events.supports, len(events.shape))

    def __call__(self, x: Shaped[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Map from base to data."""
        return self.call_with_intermediates(x)[0]

    def call_with_intermediates(
        self, x: Shaped[ArrayLike, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Map from base to data; return the value and the log-det."""
        return self.flow.forward(self.params, x, self.context)

    def _inverse(self, y: Shaped[ArrayLike, "..."]) -> Float[Array, "..."]:
        return self.flow.inverse(self.params, y, self.context)[0]

    def log_abs_det_jacobian(
        self, x: Shaped[ArrayLike, "..."], y: Any, intermediates: Any = None
    ) -> Float[Array, "..."]:
        """Return the log-det at `x`, of the base, `[..., *event_shape]`."""
        return self.call_with_intermediates(x)[1] if intermediates is None else intermediates

    def forward_shape(self, shape: Shape) -> Shape:
        """Return the shape of data whose base values have that shape."""
        events = events_of(self.flow, self.context)
        return self._batch_shape(shape, events.base_shape) + events.shape

    def inverse_shape(self, shape: Shape) -> Shape:
        """Return the shape of base values whose data have that shape."""
        events = events_of(self.flow, self.context)
        return self._batch_shape(shape, events.shape) + events.base_shape

    def _batch_shape(self, shape: Shape, event_shape: Shape) -> Shape:
        context_shape = () if self.context is None else self.context.shape[:-1]
        return jnp.broadcast_shapes(shape[: len(shape) - len(event_shape)], context_shape)

    def tree_flatten(self):
        """Split into leaves and structure."""
        return (self.params, self.context), (("params", "context"), {"flow": self.flow})


class FlowDistribution(dist.Distribution):
    """A flow with its parameters bound, as a NumPyro distribution.

    A prior, a likelihood (`obs=`) or a guide. A pytree whose leaves are the parameters and the
    context, whose batch shape it takes. Outside the flow's `support=` its density is zero, and NUTS
    moves inside. A guide's samples come with their log-densities, from one run of the flow.

    NUTS runs in the coordinates of the base instead, where the prior is standard normal, if the
    model samples a `TransformedDistribution` of a normal base and a `FlowTransform`, under
    `numpyro.infer.reparam.TransformReparam`.

    Args:
        flow: the flow, of continuous events and without random layers. In NUTS and as a likelihood
            its density is evaluated, so choose one where that is fast, such as `flows.maf`.
        params: its parameters.
        context: `[..., C]` or None.
        validate_args: whether `log_prob` checks that values are in the support.

    Raises:
        TypeError: `flow` has state, or is no flow.
        ValueError: events of the flow are integers; or `context` is missing.

    Example:
        >>> import distrax_flows as dxf, jax, numpyro
        >>> flow = dxf.transform(lambda: dxf.flows.maf(2, support=dxf.supports.positive()))
        >>> prior = FlowDistribution(flow, flow.init_without_data(0))
        >>> def model(y):
        ...     scales = numpyro.sample("scales", prior)
        ...     numpyro.sample("y", numpyro.distributions.Normal(0.0, scales).to_event(1), obs=y)
        >>> nuts = numpyro.infer.NUTS(model)
        >>> mcmc = numpyro.infer.MCMC(nuts, num_warmup=50, num_samples=50, progress_bar=False)
        >>> mcmc.run(jax.random.key(0), jax.numpy.array([0.5, -2.0]))
        >>> bool((mcmc.get_samples()["scales"] > 0).all())
        True
    """

    pytree_data_fields = ("params", "context")
    pytree_aux_fields = ("flow",)

    def __init__(
        self,
        flow: Flow,
        params: Params,
        context: Shaped[ArrayLike, "... C"] | None = None,
        *,
        validate_args: bool | None = None,
    ):
        _events_of(flow, context)
        self.flow = flow
        self.params = params
        self.context = None if context is None else jnp.asarray(context)
        batch_shape = flow.distribution(params, context).batch_shape
        super().__init__(batch_shape, flow.event_shape, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """Where the flow has density."""
        return FlowTransform(self.flow, self.params, self.context).codomain

    def sample(self, key: jax.Array | None, sample_shape: Shape = ()) -> Float[Array, "..."]:
        """Return samples, `sample_shape + batch_shape + event_shape`."""
        return self.sample_with_intermediates(key, sample_shape)[0]

    def sample_with_intermediates(
        self, key: jax.Array | None, sample_shape: Shape = ()
    ) -> tuple[Float[Array, "..."], list[Float[Array, "..."]]]:
        """Return samples, and their log-densities in a list."""
        x, log_prob = self.flow.sample_and_log_prob(self.params, key, sample_shape, self.context)
        return x, [log_prob]

    @validate_sample
    def log_prob(
        self, value: Shaped[ArrayLike, "..."], intermediates: list[Any] | None = None
    ) -> Float[Array, "..."]:
        """Return the log-density of `value`, in nats; intermediates are those of its sampling."""
        if intermediates:
            return intermediates[0]
        return self.flow.log_prob(self.params, value, self.context)


class AutoFlow(AutoContinuous):
    """Guide whose posterior, over all latent variables in unconstrained space, is a flow.

    Its trained parameters are the site `<prefix>_flow`. Parameters that are fixed at initialisation
    (`modules.is_fixed`) belong to the guide, and no optimizer sees them. Trained by `SVI`, it
    gives `NeuTraReparam` the coordinates in which NUTS takes long steps.

    Args:
        model: the NumPyro model; its latent variables are continuous.
        make_flow: builds the flow of so many dimensions, such as `flows.iaf`, or
            `lambda size: flows.iaf(size, num_layers=4)`. Its samples should be fast; for
            `NeuTraReparam` its base should have density everywhere.
        prefix: prefix of the names of the guide's sites.
        init_loc_fn: how NumPyro finds first values of the latent variables, to inspect the model;
            the flow starts near its base.

    Raises:
        ValueError: when the guide first runs: events of the flow are not vectors of all latent
            variables, on the whole space.

    Reference:
        Rezende & Mohamed, "Variational Inference with Normalizing Flows", 2015; Hoffman et al.,
        "NeuTra-lizing Bad Geometry in Hamiltonian Monte Carlo Using Neural Transport", 2019.

    Example:
        >>> import distrax_flows as dxf, jax, numpyro, numpyro.distributions as dist, optax
        >>> def model(y):
        ...     loc = numpyro.sample("loc", dist.Normal(0.0, 10.0))
        ...     scale = numpyro.sample("scale", dist.HalfNormal(10.0))
        ...     numpyro.sample("y", dist.Normal(loc, scale), obs=y)
        >>> guide = AutoFlow(model, dxf.flows.iaf)
        >>> svi = numpyro.infer.SVI(model, guide, optax.adam(1e-3), numpyro.infer.Trace_ELBO())
        >>> y = 3 + jax.random.normal(jax.random.key(0), (50,))
        >>> result = svi.run(jax.random.key(1), 500, y, progress_bar=False)
        >>> posterior = guide.sample_posterior(jax.random.key(2), result.params, sample_shape=(9,))
        >>> posterior["scale"].shape
        (9,)
    """

    def __init__(
        self,
        model: Callable,
        make_flow: Callable[[int], distrax.Transformed],
        *,
        prefix: str = "auto",
        init_loc_fn: Callable = init_to_uniform,
    ):
        self._make_flow = make_flow
        super().__init__(model, prefix=prefix, init_loc_fn=init_loc_fn)

    def _setup_prototype(self, *args: Any, **kwargs: Any) -> None:
        super()._setup_prototype(*args, **kwargs)
        self._flow = transform(functools.partial(self._make_flow, self.latent_dim))
        events = _events_of(self._flow, None)
        if events.shape != (self.latent_dim,) or set(events.supports) - {real()}:
            raise ValueError(
                f"`make_flow` must build a flow of {self.latent_dim} real dimensions, those of the "
                f"latent variables; got events of shape {events.shape} with supports "
                f"{events.supports}. NumPyro itself maps them onto the support of each variable."
            )
        # NumPyro keeps nothing but parameters that it trains. Computed now, even inside a jit.
        with jax.ensure_compile_time_eval():
            self._fixed, _ = _init(self._flow, jax.random.key(0))

    def _get_posterior(self) -> FlowDistribution:
        trained = numpyro.param(f"{self.prefix}_flow", lambda key: _init(self._flow, key)[1])
        return FlowDistribution(self._flow, hk.data_structures.merge(self._fixed, trained))

    def get_base_dist(self) -> dist.Distribution:
        """Return the standard normal distribution."""
        return dist.Normal(jnp.zeros(self.latent_dim), 1.0).to_event(1)

    def get_transform(self, params: dict[str, Any]) -> FlowTransform:
        """Return the flow, from base to unconstrained space, with the guide's `params`."""
        posterior = self.get_posterior(params)
        return FlowTransform(posterior.flow, posterior.params)

    def get_posterior(self, params: dict[str, Any]) -> FlowDistribution:
        """Return the posterior in unconstrained space, with the guide's `params`."""
        return numpyro.handlers.substitute(self._get_posterior, params)()


def _init(flow: Flow, key: jax.Array) -> tuple[Params, Params]:
    """Return initial parameters: those that are fixed, and those to train."""
    params = flow.init_without_data(key, _INIT_SAMPLES)
    return hk.data_structures.partition(is_fixed, params)


def _events_of(flow: Flow, context: Any) -> Events:
    """Return what is known of a flow's events, or raise unless NumPyro can use it."""
    if not isinstance(flow, Flow):
        raise TypeError(
            "`flow` must be a flow without state, of `transform`, or the `evaluation` of one with "
            f"state; got {type(flow).__name__}."
        )
    events = events_of(flow, context)
    if events.is_discrete:
        raise ValueError(
            "`flow` must have continuous events; got a flow of integers. NumPyro would need its "
            "exact probabilities, which dequantisation only bounds."
        )
    return events


def _constraint(supports: Sequence[Support], event_ndims: int) -> constraints.Constraint:
    """Return the constraint of events with those supports; none stands for the whole space."""
    runs = [(key, len(list(run))) for key, run in itertools.groupby(supports or [real()])]
    parts = [_of_scalar(support) for support, _ in runs]
    scalar = constraints.cat(parts, -1, [n for _, n in runs]) if len(parts) > 1 else parts[0]
    return constraints.independent(scalar, event_ndims) if event_ndims else scalar


def _of_scalar(support: Support) -> constraints.Constraint:
    low, high = support.low, support.high
    if math.isfinite(low) and math.isfinite(high):
        return constraints.interval(low, high)
    if math.isfinite(low):
        return constraints.greater_than(low)
    return constraints.less_than(high) if math.isfinite(high) else constraints.real
