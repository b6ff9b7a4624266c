"""Layers with a learned or random linear map of vector events."""

import distrax
import haiku as hk
import jax.numpy as jnp
from jaxtyping import Array, Float

from distrax_flows._core.checks import check_positive_int
from distrax_flows.bijectors.elementwise import Scale
from distrax_flows.bijectors.linear import LULinear
from distrax_flows.bijectors.orthogonal import Householder, Orthogonal
from distrax_flows.modules.fixed import get_fixed

__all__ = ["HouseholderLayer", "LULinearLayer", "OrthogonalLayer", "ScaleLayer"]


class ScaleLayer(hk.Module):
    """Learned scale of each dimension: `y_d = x_d exp(log_scale_d)`; starts at the identity.

    Args:
        name: name of the module.

    Call:
        x: `[..., D]`. Returns a `Scale`.

    Reference:
        Dinh et al., "NICE: Non-linear Independent Components Estimation", 2014, section 3.3.

    Example:
        >>> import haiku as hk, jax, jax.numpy as jnp
        >>> from distrax_flows.modules import Learned
        >>> forward = hk.transform(lambda x: Learned(ScaleLayer()).forward(x))
        >>> params = forward.init(jax.random.key(0), jnp.ones(2))
        >>> print(forward.apply(params, None, jnp.ones(2)))
        [1. 1.]
    """

    def __call__(self, x: Float[Array, "... D"]) -> Scale:
        """Return the bijector with this layer's parameters."""
        return Scale(hk.get_parameter("log_scale", x.shape[-1:], x.dtype, init=jnp.zeros))


class HouseholderLayer(hk.Module):
    """Learned product of reflections, `log|det| = 0`; starts at random reflections.

    Args:
        num_reflections: number of reflections, K; more than D add nothing.
        name: name of the module.

    Call:
        x: `[..., D]`. Returns a `Householder`; see its docstring for formula and reference.

    Raises:
        ValueError: `num_reflections` is not a positive integer.

    Example:
        >>> import haiku as hk, jax, jax.numpy as jnp
        >>> from distrax_flows.modules import Learned
        >>> forward = hk.transform(lambda x: Learned(HouseholderLayer(2)).forward(x))
        >>> params = forward.init(jax.random.key(0), jnp.zeros(3))
        >>> y = forward.apply(params, None, jnp.array([3.0, 0.0, 4.0]))
        >>> print(f"{jnp.linalg.norm(y):.4f}")
        5.0000
    """

    def __init__(self, num_reflections: int, name: str | None = None):
        super().__init__(name=name)
        self._num_reflections = check_positive_int("num_reflections", num_reflections)

    def __call__(self, x: Float[Array, "... D"]) -> Householder:
        """Return the bijector with this layer's parameters."""
        return Householder(_normal_vectors(hk.get_parameter, self._num_reflections, x))


class OrthogonalLayer(hk.Module):
    """Fixed random orthogonal matrix, sampled at initialisation.

    The matrix is the product of D reflections in random directions. Their vectors are kept as fixed
    parameters (`is_fixed`). The length of a vector does not matter to its reflection, so the matrix
    stays orthogonal even if weight decay reaches it. Each repetition of a `Stack` samples its own.

    Args:
        name: name of the module.

    Call:
        x: `[..., D]`. Returns an `Orthogonal`.

    Reference:
        Used between the blocks of Kruse et al., "HINT: Hierarchical Invertible Neural Transport for
        Density Estimation and Bayesian Inference", 2021.

    Example:
        >>> import haiku as hk, jax, jax.numpy as jnp
        >>> from distrax_flows.modules import Learned
        >>> forward = hk.transform(lambda x: Learned(OrthogonalLayer()).forward(x))
        >>> params = forward.init(jax.random.key(0), jnp.zeros(3))
        >>> y = forward.apply(params, None, jnp.array([3.0, 0.0, 4.0]))
        >>> print(f"{jnp.linalg.norm(y):.4f}")
        5.0000
    """

    def __call__(self, x: Float[Array, "... D"]) -> Orthogonal:
        """Return the bijector with this layer's matrix."""
        size = x.shape[-1]
        reflections = Householder(_normal_vectors(get_fixed, size, x))
        matrix, _ = reflections.forward_and_log_det(jnp.eye(size, dtype=x.dtype))
        return Orthogonal(matrix)


class LULinearLayer(hk.Module):
    """Learned invertible matrix in LU form; starts at a random orthogonal matrix.

        y = L (U + diag(exp(log_scale))) Q x,    log|det| = sum_d log_scale_d

    Q is the fixed matrix of an `OrthogonalLayer`; the factors start at the identity. Glow factors
    the random matrix itself, `P L (U + diag(s))`, and keeps its permutation P and the signs of s.
    These are integers, not parameters, and differ between the repetitions of a `Stack`. The pivots
    can also be small. Here all parameters are real and start at zero, and a penalty on their
    squares pulls the layer towards Q.

    `inverse` solves two triangular systems; both directions cost 3 D^2 per event, after D^3 once.
    `Learned(LULinearLayer(), event_ndims=3)` is the invertible 1x1 convolution of images
    `[H, W, D]`.

    Args:
        name: name of the module.

    Call:
        x: `[..., D]`. Returns a chain of `LULinear` and `Orthogonal`.

    Reference:
        Kingma & Dhariwal, "Glow: Generative Flow with Invertible 1x1 Convolutions", 2018,
        section 3.2.

    Example:
        >>> import haiku as hk, jax, jax.numpy as jnp
        >>> from distrax_flows.modules import Learned
        >>> forward = hk.transform(lambda x: Learned(LULinearLayer()).forward_and_log_det(x))
        >>> params = forward.init(jax.random.key(0), jnp.zeros(3))
        >>> y, log_det = forward.apply(params, None, jnp.array([3.0, 0.0, 4.0]))
        >>> print(f"{jnp.linalg.norm(y):.4f} {log_det:.4f}")
        5.0000 0.0000
    """

    def __call__(self, x: Float[Array, "... D"]) -> distrax.Bijector:
        """Return the bijector with this layer's parameters."""
        size = x.shape[-1]
        lu = hk.get_parameter("lu", (size, size), x.dtype, init=jnp.zeros)
        return distrax.Chain([LULinear(lu), OrthogonalLayer()(x)])


def _normal_vectors(get, num_vectors, x):
    shape = (num_vectors, x.shape[-1])
    return get("vectors", shape, x.dtype, init=hk.initializers.RandomNormal())
