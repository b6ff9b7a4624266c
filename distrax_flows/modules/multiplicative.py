"""Multiplicative normalizing flows: Bayesian layers with correlated weights."""

from collections.abc import Sequence

import haiku as hk
from jaxtyping import Array, Float

from distrax_flows._core.checks import check_positive_int
from distrax_flows.modules._gaussian_weights import Product, Start, make_convolution
from distrax_flows.modules._multiplicative_noise import Flows, sample_multiplied
from distrax_flows.modules.learned import Layer

__all__ = ["MNFConv2D", "MNFLinear"]


class MNFLinear(hk.Module):
    """Linear layer whose weights share multiplicative noise, transformed by a flow.

    With one number z_i for each input i, outputs j, and flows NF and NF_r,

        y = x W + b,    q(W | z) = prod_ij N(w_ij; z_i m_ij, s_ij^2)
        z = NF(z_0),    z_0 ~ N(m_0, s_0^2),    log q(z) = log q(z_0) - log|det NF|
        p(W) = prod_ij N(w_ij; 0, p^2)

    The posterior `q(W) = int q(W | z) q(z) dz` has correlated weights, and several modes if z does.
    Its divergence from the prior has no closed form. It is bounded by an auxiliary distribution r,
    and kl is an unbiased estimate of the bound from one sample of z per row, averaged over rows:

        KL(q(W) || p(W)) <= E_q(z) [KL(q(W | z) || p(W)) + log q(z) - E_q(W | z) log r(z | W)]
        r(z | W) = N(NF_r(z); mu, exp(-nu)) |det NF_r|
        mu_i = b1_i mean_j a_j,    nu_i = b2_i mean_j a_j,    a = tanh(c^T W)

    The bound is exact if r is the posterior q(z | W). Biases have independent Gaussian posteriors,
    as in `MeanFieldLinear`, and outputs are sampled by local reparameterisation, given each row's
    z.

    Both flows run in `forward` only: couplings and inverse autoregressive flows take one pass,
    masked autoregressive flows D steps.

    Args:
        output_size: number of outputs.
        q_flow: the layer NF, called with z_0, `[..., D]`; `lambda z:
            flows.iaf(z.shape[-1]).bijector` uses a builder. Two affine couplings with 50 hidden
            units if None, or an elementwise affine map if D = 1; they start at the identity.
        r_flow: the layer NF_r, called with z; the same default if None.
        prior_scale: standard deviation p of the prior.
        learn_prior: whether p is learned (empirical Bayes); it starts at `prior_scale`.
        initial_scale: standard deviation s at the start of training. The means start like the
            weights of `MLP`; z starts near one.
        name: name of the module.

    Call:
        x: `[..., D]`. Returns y, `[..., output_size]`, and the scalar kl in nats. Needs a key.
        A loss is `mean(-log p(data | y)) + kl / num_rows`, with the kl of all layers.

    Raises:
        TypeError: a flow is not a function; or, when called, `x` is not a floating array, or a flow
            does not return a bijector.
        ValueError: `output_size` is not a positive integer, or a scale is not finite and positive.

    Reference:
        Louizos & Welling, "Multiplicative Normalizing Flows for Variational Bayesian Neural
        Networks", 2017, eq. 4, algorithm 1.

    Example:
        >>> import haiku as hk, jax, jax.numpy as jnp
        >>> network = hk.transform(lambda x: MNFLinear(3)(x))
        >>> params = network.init(jax.random.key(0), jnp.zeros((10, 2)))
        >>> y, kl = network.apply(params, jax.random.key(1), jnp.zeros((10, 2)))
        >>> y.shape, kl.shape
        ((10, 3), ())
    """

    def __init__(
        self,
        output_size: int,
        *,
        q_flow: Layer | None = None,
        r_flow: Layer | None = None,
        prior_scale: float = 1.0,
        learn_prior: bool = False,
        initial_scale: float = 0.01,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._product = Product(check_positive_int("output_size", output_size))
        self._flows = Flows(q_flow, r_flow).checked()
        self._start = Start(prior_scale, learn_prior, initial_scale).checked()

    def __call__(
        self, x: Float[Array, "... D"]
    ) -> tuple[Float[Array, "... output_size"], Float[Array, ""]]:
        """Sample the outputs; return them and an estimate of the divergence from the prior."""

        def multiplied(x, kernel, z):
            return self._product(x * z, kernel)

        return sample_multiplied(self._product, self._start, self._flows, x, 0, multiplied)


class MNFConv2D(hk.Module):
    """Convolution whose weights share multiplicative noise, transformed by a flow.

    As in the paper, z has one number for each filter, that is for each output channel k:

        q(W | z) = prod_hwck N(w_hwck; z_k m_hwck, s_hwck^2)

    Otherwise the formulas are those of `MNFLinear`: z scales the filters instead of the rows of W,
    and j runs over the other three axes. Local reparameterisation samples each pixel's outputs
    independently given z, as in `MeanFieldConv2D`.

    Args:
        output_channels: number of filters K.
        kernel_shape: height and width of the filters, or one number for both.
        stride: step of the filters, in pixels.
        padding: "SAME" or "VALID".
        q_flow: the layer NF of z_0, `[..., K]`, as for `MNFLinear`.
        r_flow: the layer NF_r of z.
        prior_scale: standard deviation p of the prior.
        learn_prior: whether p is learned; it starts at `prior_scale`.
        initial_scale: standard deviation s at the start of training.
        name: name of the module.

    Call:
        x: `[..., H, W, C]`. Returns y, `[..., H', W', output_channels]`, and the scalar kl in nats.
        Needs a key.

    Raises:
        TypeError: a flow is not a function; or, when called, `x` is not a floating array, or a flow
            does not return a bijector.
        ValueError: a size is not a positive integer, a scale is not finite and positive,
            `kernel_shape` does not have two sizes, or `padding` is unknown; or, when called, `x`
            has fewer than three axes.

    Reference:
        Louizos & Welling, "Multiplicative Normalizing Flows for Variational Bayesian Neural
        Networks", 2017, eq. 5, algorithm 2.

    Example:
        >>> import haiku as hk, jax, jax.numpy as jnp
        >>> network = hk.transform(lambda x: MNFConv2D(4, 3)(x))
        >>> params = network.init(jax.random.key(0), jnp.zeros((10, 8, 8, 1)))
        >>> y, kl = network.apply(params, jax.random.key(1), jnp.zeros((10, 8, 8, 1)))
        >>> y.shape, kl.shape
        ((10, 8, 8, 4), ())
    """

    def __init__(
        self,
        output_channels: int,
        kernel_shape: int | Sequence[int],
        *,
        stride: int = 1,
        padding: str = "SAME",
        q_flow: Layer | None = None,
        r_flow: Layer | None = None,
        prior_scale: float = 1.0,
        learn_prior: bool = False,
        initial_scale: float = 0.01,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._convolution = make_convolution(output_channels, kernel_shape, stride, padding)
        self._flows = Flows(q_flow, r_flow).checked()
        self._start = Start(prior_scale, learn_prior, initial_scale).checked()

    def __call__(
        self, x: Float[Array, "... H W C"]
    ) -> tuple[Float[Array, "... h w output_channels"], Float[Array, ""]]:
        """Sample the outputs; return them and an estimate of the divergence from the prior."""

        def multiplied(x, kernel, z):
            return self._convolution(x, kernel) * z[..., None, None, :]

        return sample_multiplied(self._convolution, self._start, self._flows, x, -1, multiplied)
