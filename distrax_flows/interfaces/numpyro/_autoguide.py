"""Flows as NumPyro guides."""

import functools
from collections.abc import Callable
from typing import Any

import distrax
import haiku as hk
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.infer.autoguide import AutoContinuous
from numpyro.infer.initialization import init_to_uniform

from distrax_flows.functional._transform import transform
from distrax_flows.functional.flow import Flow, Params
from distrax_flows.interfaces.numpyro._distribution import FlowDistribution
from distrax_flows.interfaces.numpyro._supports import continuous_events
from distrax_flows.interfaces.numpyro._transform import FlowTransform
from distrax_flows.modules import is_fixed
from distrax_flows.supports import real

__all__ = ["AutoFlow"]

_INIT_SAMPLES = 1024  # samples of the base for data-dependent initialisation


class AutoFlow(AutoContinuous):
    """Guide whose posterior, over all latent variables in unconstrained space, is a flow.

    Its trained parameters are the site `<prefix>_flow`. Parameters that are fixed at initialisation
    (`modules.is_fixed`) belong to the guide, and no optimizer sees them. Trained by `SVI`, it
    gives `NeuTraReparam` the coordinates in which NUTS takes long steps.

    Args:
        model: the NumPyro model; its latent variables are continuous.
        make_flow: function from the number of dimensions to a flow, such as `flows.iaf`, or
            `lambda size: flows.iaf(size, num_layers=4)`. Sampling should be fast; for
            `NeuTraReparam` its base should have density everywhere.
        prefix: prefix of the names of the guide's sites.
        init_loc_fn: NumPyro's strategy for initial values of the latent variables, to inspect the
            model; the flow starts near its base.

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
        events = continuous_events(self._flow, None)
        if events.shape != (self.latent_dim,) or set(events.supports) - {real()}:
            raise ValueError(
                f"`make_flow` must build a flow of {self.latent_dim} real dimensions, those of the "
                f"latent variables; got events of shape {events.shape} with supports "
                f"{events.supports}. NumPyro itself maps them onto the support of each variable."
            )
        # NumPyro keeps only parameters that it trains. These are computed now, even inside a jit.
        with jax.ensure_compile_time_eval():
            self._fixed, _ = _init(self._flow, jax.random.key(0))

    def _get_posterior(self) -> FlowDistribution:
        trained: Any = numpyro.param(f"{self.prefix}_flow", lambda key: _init(self._flow, key)[1])
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
        get_posterior: Any = numpyro.handlers.substitute(self._get_posterior, params)
        return get_posterior()


def _init(flow: Flow, key: jax.Array) -> tuple[Params, Params]:
    """Return initial parameters: those that are fixed, and those to train."""
    params = flow.init_without_data(key, _INIT_SAMPLES)
    return hk.data_structures.partition(is_fixed, params)
