"""MAF, RealNVP and neural spline flows fitted to toy densities in the plane.

    python -m experiments.toy_densities
    python -m experiments.toy_densities --flows maf nsf_coupling --densities moons 2spirals
    python -m experiments.toy_densities --quick --output /tmp/toy_densities

Each fit draws fresh batches from its density, and is scored by the divergence KL(p || q) from the
density p to the flow q on draws of its own. `results.csv` gets a row per fit, `<density>.png` the
fitted densities of the first seed, `overview.png` all of them, `training.gif` one fit as it goes.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from tqdm import tqdm

import distrax_flows as dxf
from distrax_flows import densities
from experiments import _toy_pictures as pictures
from experiments._common import device_name, format_table
from experiments._results import Results, Row

IDENTITY = (
    "flow density seed num_layers hidden_sizes num_steps batch_size means".split()
)
COLUMNS = (
    "flow density seed num_layers hidden_sizes num_params num_steps batch_size kl kl_stderr nll "
    "entropy train_seconds compile_seconds jax_version device means"
).split()
