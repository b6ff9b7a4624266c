"""Mixtures of Gaussians, and flows with the layers between their own."""

import distrax
import jax
import jax.numpy as jnp
import optax

import distrax_flows as dxf
from distrax_flows import modules
from experiments.flow_zoo.zoo import FREE_LEARNING_RATE, ZOO
from experiments.gaussian_mixtures.settings import Settings

# Their layers mix the dimensions themselves, so that the builders' `between` does not apply.
_WITHOUT_BETWEEN = ("planar", "radial", "sylvester")


def make_mixture(event_size: int) -> distrax.Distribution:
    """Three Gaussians on the line, or four in the plane, all different."""
    if event_size == 1:
        weights = [0.3, 0.5, 0.2]
        means = jnp.array([[-3.0], [0.5], [3.0]])
        factors = jnp.array([0.5, 1.0, 0.25])[:, None, None]
    else:
        weights = [0.3, 0.3, 0.25, 0.15]
        means = jnp.array([[-2.0, -1.5], [2.0, -1.5], [0.0, 2.2], [0.3, 0.2]])
        factors = jnp.array(
            [
                [[0.5, 0.0], [0.5, 0.3]],
                [[0.4, 0.0], [0.0, 0.8]],
                [[1.2, 0.0], [-0.3, 0.3]],
                [[0.25, 0.0], [0.0, 0.25]],
            ]
        )
    components = distrax.MultivariateNormalTri(means, factors)
    return distrax.MixtureSameFamily(distrax.Categorical(probs=jnp.array(weights)), components)


def make_flow(name: str, event_size: int, settings: Settings) -> dxf.Flow:
    """The flow of that name, with the layers that the settings put between its own."""
    entry, num_layers = ZOO[name], ZOO[name].layers(settings.num_layers)
    sizes = {"hidden_sizes": settings.hidden_sizes, "standardize": True}

    def make() -> distrax.Transformed:
        if not (settings.actnorm or settings.lu):
            return entry.build(event_size, num_layers=num_layers, **sizes)
        mix = modules.LULinearLayer() if settings.lu else lambda x: dxf.Reverse()
        between = modules.compose(modules.ActNormLayer(), mix) if settings.actnorm else mix
        if event_size > 1 and name not in _WITHOUT_BETWEEN:
            return entry.build(event_size, num_layers=num_layers, between=between, **sizes)

        # The bijector of any flow of one layer is a layer that can be stacked.
        def layer(x: jax.Array) -> distrax.Bijector:
            flow = entry.build(event_size, num_layers=1, hidden_sizes=settings.hidden_sizes)
            return flow.bijector

        stack = modules.Stack(modules.compose(between, layer), num_layers)
        base = distrax.Independent(distrax.Normal(jnp.zeros(event_size), jnp.ones(event_size)), 1)
        layers = modules.compose(modules.Standardize(), stack)
        return distrax.Transformed(base, modules.Learned(layers))

    return dxf.transform(make)


def make_optimizer(name: str, event_size: int, num_steps: int) -> optax.GradientTransformation:
    """The flow's optimizer. On the line there are no networks."""
    rate = FREE_LEARNING_RATE if event_size == 1 else ZOO[name].learning_rate
    return dxf.training.cosine_adam(num_steps, rate)
