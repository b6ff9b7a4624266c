"""Observations and reference posteriors of sbibm, from its wheel."""

import bz2
import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

NUM_OBSERVATIONS = 10

_FOLDER = "sbibm/tasks/{task}/files/num_observation_{number}"


class Reference(NamedTuple):
    """An observation, and samples of its posterior."""

    observation: np.ndarray  # `[C]`
    posterior: np.ndarray  # `[10000, D]`
    parameters: np.ndarray  # `[D]`, those that the observation was simulated from


def read_reference(wheel: Path, task: str, number: int) -> Reference:
    """Reads an observation of a task, from 1 to 10.

    Raises:
        ValueError: the wheel is missing, or lacks the observation.
    """
    if not wheel.is_file():
        raise ValueError(
            f"`wheel` must be a file, that of sbibm 1.1.0; got {wheel}. Get it by "
            "`pip download --no-deps sbibm==1.1.0`."
        )
    folder = _FOLDER.format(task=task, number=number)
    names = ("observation.csv", "reference_posterior_samples.csv.bz2", "true_parameters.csv")
    with zipfile.ZipFile(wheel) as file:
        if f"{folder}/{names[0]}" not in file.namelist():
            raise ValueError(f"{wheel} must hold {folder}, as sbibm 1.1.0 does; it does not.")
        observation, posterior, parameters = (
            _read_csv(name, file.read(f"{folder}/{name}")) for name in names
        )
    return Reference(observation[0], posterior, parameters[0])


def _read_csv(name: str, content: bytes) -> np.ndarray:
    content = bz2.decompress(content) if name.endswith(".bz2") else content
    return np.loadtxt(io.BytesIO(content), np.float32, delimiter=",", skiprows=1, ndmin=2)
