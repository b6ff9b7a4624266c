"""Cost and accuracy of flows of images.

python -m experiments.benchmarks.images

Times training steps of Glow, the same convolutions without any flow, and normflows' Glow of equal
size if it is installed (`pip install normflows`, with PyTorch); compiles Glow at several depths;
trains it for a few steps on pieces of scikit-learn's photographs and measures its round trip; and
times sampling of the flow of patches over its density. All in one run, on one machine.
"""

import dataclasses
import functools
import importlib.util
import time
from collections.abc import Callable, Sequence
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import sklearn.datasets

import distrax_flows as dxf
from distrax_flows import flows, modules
from experiments._command import check, quick_means, run
from experiments._summary import format_table
from experiments.benchmarks._timing import milliseconds

Shape = tuple[int, int, int]


@quick_means(
    size=8, batch_size=4, num_scales=2, hidden_channels=4, depths=(1, 2), num_steps=4, repeats=3
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Costs and round trips of flows of images."""

    size: int = 32  # Height and width of images with three channels.
    batch_size: int = 16  # Images of a step.
    num_scales: int = 3  # Scales of Glow.
    hidden_channels: int = 64  # Channels of its networks, and features of transformers.
    depths: tuple[int, ...] = (8, 4, 32)  # Steps a scale: the first is timed, all are compiled.
    num_steps: int = 300  # Training steps before the round trip.
    repeats: int = 11  # Rounds.
    quick: bool = False  # Small images and flows.

    @property
    def shape(self) -> Shape:
        """Shape of an image."""
        return (self.size, self.size, 3)


def main(settings: Settings) -> None:
    """Prints the tables."""
    check(settings)
    print(
        steps(settings), compilation(settings), round_trip(settings), patches(settings), sep="\n\n"
    )


def steps(settings: Settings) -> str:
    """Times of training steps in turn."""
    x = _pieces(settings, settings.batch_size)
    functions = {"glow": _glow_step(settings, x), "its convolutions": _bare_step(settings, x)}
    if importlib.util.find_spec("normflows") is not None:
        functions["normflows"] = _normflows_step(settings, x)
    times = milliseconds(functions, settings.repeats)
    rows = []
    for name, values in times.items():
        ratio = np.median(values / times["its convolutions"])
        rows.append([name, f"{np.median(values):.1f}", f"{ratio:.2f}"])
    return format_table(["training step", "ms", "over its convolutions"], rows)


def compilation(settings: Settings) -> str:
    """Seconds to compile a training step at each depth."""
    rows = []
    for depth in sorted(settings.depths):
        flow = _glow(settings, depth)
        x = jax.ShapeDtypeStruct((settings.batch_size, *settings.shape), jnp.float32)
        params = jax.eval_shape(flow.init, jax.random.key(0), x)
        start = time.perf_counter()
        jax.jit(_loss_and_gradient(flow)).lower(params, x).compile()
        rows.append([str(depth), f"{time.perf_counter() - start:.1f}"])
    return format_table(["steps a scale", "seconds to compile"], rows)


def round_trip(settings: Settings) -> str:
    """Worst errors of the round trip of Glow, after some training."""
    flow = _glow(settings, settings.depths[0])
    images = _pieces(settings, 64 * settings.batch_size)
    fitted = dxf.fit(
        flow,
        images,
        key=0,
        num_steps=settings.num_steps,
        batch_size=settings.batch_size,
        optimizer=dxf.training.cosine_adam(
            settings.num_steps, 1e-3, warmup_steps=settings.num_steps // 3
        ),
    )
    x = images[: settings.batch_size]
    z, log_det = flow.inverse(fitted.params, x)
    back, log_det_back = flow.forward(fitted.params, z)
    rows = [
        ["pixels, of unit standard deviation", f"{jnp.abs(back - x).max():.1e}"],
        ["log-det, nats", f"{jnp.abs(log_det + log_det_back).max():.1e}"],
        ["the log-det itself", f"{jnp.abs(log_det).max():.1f}"],
    ]
    return format_table([f"round trip after {settings.num_steps} steps", "worst error"], rows)


def patches(settings: Settings) -> str:
    """Time of sampling the flow of patches over that of its density."""
    flow = dxf.transform(
        lambda: flows.image_autoregressive(
            settings.shape,
            patch_size=settings.size // 8,
            hidden_size=settings.hidden_channels,
            num_layers=4,
        )
    )
    x = _pieces(settings, settings.batch_size)
    params = flow.init(0, x)
    times = milliseconds(
        {
            "log_prob": lambda: flow.log_prob(params, x),
            "sample": lambda: flow.sample(params, 0, (settings.batch_size,)),
        },
        settings.repeats,
    )
    ratio = np.median(times["sample"] / times["log_prob"])
    medians = [f"{np.median(times[name]):.1f}" for name in ("log_prob", "sample")]
    return format_table(
        ["64 patches", "log_prob, ms", "sample, ms", "ratio"], [["", *medians, f"{ratio:.2f}"]]
    )


def _pieces(settings: Settings, num: int) -> jax.Array:
    """Pieces of photographs, dequantised and standardised."""
    photographs = sklearn.datasets.load_sample_images().images
    rng, size = np.random.default_rng(0), settings.size
    pieces = []
    for i in range(num):
        photograph = photographs[i % len(photographs)]
        top, left = (rng.integers(0, n - size) for n in photograph.shape[:2])
        pieces.append(photograph[top : top + size, left : left + size])
    x = np.stack(pieces) + rng.random((num, *settings.shape))
    return jnp.asarray((x - x.mean()) / x.std(), jnp.float32)


def _glow(settings: Settings, depth: int) -> dxf.Flow:
    return dxf.transform(
        functools.partial(
            flows.image_glow,
            settings.shape,
            num_layers=depth,
            num_scales=settings.num_scales,
            hidden_channels=settings.hidden_channels,
            learned_prior=False,
        )
    )


def _loss_and_gradient(flow: dxf.Flow) -> Callable[..., Any]:
    return jax.value_and_grad(lambda params, x: -jnp.mean(flow.log_prob(params, x)))


def _glow_step(settings: Settings, x: jax.Array) -> Callable[[], Any]:
    flow = _glow(settings, settings.depths[0])
    params = flow.init(0, x)
    step = jax.jit(_loss_and_gradient(flow))
    return lambda: step(params, x)


def _bare_step(settings: Settings, x: jax.Array) -> Callable[[], Any]:
    """The networks of Glow, each on the half of the channels that it sees, and nothing else."""
    depth = settings.depths[0]
    networks, params, inputs = [], [], []
    for channels, image in _scales(settings, x):
        changed = channels - channels // 2
        make = functools.partial(modules.ConvNet, (changed, 2), settings.hidden_channels)
        network = hk.without_apply_rng(hk.transform(lambda x, make=make: make()(x)))
        kept = image[..., : channels // 2]
        keys = jax.random.split(jax.random.key(0), depth)
        networks.append(network)
        params.append(jax.vmap(network.init, (0, None))(keys, kept))
        inputs.append(kept)

    def loss(params):
        total = jnp.zeros(())
        for network, of_scale, kept in zip(networks, params, inputs, strict=True):

            def layer(x, of_layer, network=network):
                y = network.apply(of_layer, x)
                # The input of the next one depends on this one, as in a flow.
                return x + y[..., : x.shape[-1], 0], jnp.sum(y)

            _, sums = jax.lax.scan(layer, kept, of_scale)
            total += jnp.sum(sums)
        return total

    step = jax.jit(jax.value_and_grad(loss))
    return lambda: step(params)


def _scales(settings: Settings, x: jax.Array) -> Sequence[tuple[int, jax.Array]]:
    """Channels and images of each scale."""
    scales = []
    for _ in range(settings.num_scales):
        x = jnp.asarray(dxf.Squeeze().forward(x))
        scales.append((x.shape[-1], x))
        x = x[..., : (x.shape[-1] + 1) // 2]
    return scales


def _normflows_step(settings: Settings, x: jax.Array) -> Callable[[], Any]:
    """A step of the Glow of normflows' example: same scales, depth and channels."""
    import normflows  # pyright: ignore[reportMissingImports]
    import torch  # pyright: ignore[reportMissingImports]

    torch.manual_seed(0)
    height, width, channels = settings.shape
    bases, layers, merges = [], [], []
    for i in range(settings.num_scales):
        left = settings.num_scales - i
        size = channels * 2 ** (left + 1)
        layers.append(
            [
                *(
                    normflows.flows.GlowBlock(
                        size, settings.hidden_channels, split_mode="channel", scale=True
                    )
                    for _ in range(settings.depths[0])
                ),
                normflows.flows.Squeeze(),
            ]
        )
        latent = size if i == 0 else size // 2
        if i > 0:
            merges.append(normflows.flows.Merge())
        shape = (latent, height // 2**left, width // 2**left)
        bases.append(normflows.distributions.DiagGaussian(shape))
    model = normflows.MultiscaleFlow(bases, layers, merges, class_cond=False)
    images = torch.from_numpy(np.asarray(x).transpose(0, 3, 1, 2).copy())
    model.forward_kld(images)  # its normalisation initialises itself

    def step():
        model.zero_grad()
        loss = model.forward_kld(images)
        loss.backward()
        return float(loss)

    return step


if __name__ == "__main__":
    run("experiments.benchmarks.images", main, Settings)
