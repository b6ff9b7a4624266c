"""Settings of the experiment on variational autoencoders."""

import dataclasses
from pathlib import Path

from experiments._command import quick_means
from experiments.vae.models import FLOWS

POSTERIORS = ("gaussian", *FLOWS)


@quick_means(
    posteriors=("gaussian", "iaf"), seeds=(0,), hidden_sizes=(32,), num_layers=2,
    flow_hidden_sizes=(16,), num_steps=500, eval_every=100, num_samples=16,
)  # fmt: skip
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Variational autoencoders of digits with flow posteriors: bounds and a picture."""

    posteriors: tuple[str, ...] = POSTERIORS  # Families of posteriors.
    seeds: tuple[int, ...] = (0, 1, 2)  # A fit for each; the picture shows samples of the first.
    latent_size: int = 8  # Dimensions of the latent.
    hidden_sizes: tuple[int, ...] = (128, 128)  # Hidden units of the encoder and of the decoder.
    num_layers: int = 4  # Layers of each flow; planar flows have four times as many.
    flow_hidden_sizes: tuple[int, ...] = (64,)  # Hidden units of each network of the flows.
    num_steps: int = 3_000  # Training steps of each fit, at most.
    batch_size: int = 128  # Images of a step.
    learning_rate: float = 3e-3  # Of Adam at the start; it falls to zero by a cosine.
    weight_decay: float = 0.1  # How much a step shrinks matrices, times the learning rate.
    ema_decay: float = 0.99  # Of the average of parameters that is validated and kept.
    eval_every: int = 100  # Steps between validations.
    patience: int = 10  # Validations without improvement that end a fit.
    num_samples: int = 512  # Samples of the posterior of each image, for the bounds.
    output: Path = Path("figures/vae")  # Folder to write into.
    checkpoints: Path | None = None  # Folder for checkpoints, from which interrupted fits go on.
    resume: bool = False  # Keep the rows of `results.csv`, and do the fits that are missing.
    quick: bool = False  # Two posteriors, small networks, few steps and one seed.
