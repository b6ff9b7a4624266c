"""Bijectors inside `jax.shard_map`, whose loops carry values that vary over devices."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "on_shards.py"
# One for each loop there is: roots, steps of a network, of Sylvester, of a stack.
COMPARED = ["spline_identity", "logistic_mixture", "autoregressive_affine", "scan_chain"]
COMPARED += ["sylvester_permuted"]


@pytest.mark.slow
def test_every_bijector_passes_shard_map():
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *COMPARED],
        env=os.environ | {"XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
