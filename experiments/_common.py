"""Scores and costs of fits, and the compilation cache."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import distrax_flows as dxf
from experiments._table import Row

# Also the batch size of `plotting.density_grid`, so that both share compiled code.
_SCORE_BATCH = 10_000


def use_compilation_cache() -> None:
    """Caches what JAX compiles in a folder of the user, so that later runs start sooner.

    `JAX_COMPILATION_CACHE_DIR` names another folder; `JAX_ENABLE_COMPILATION_CACHE=0` turns it off.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(caches / "distrax_flows" / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


class Score(NamedTuple):
    """Scores of a fit, in nats, on samples of the density p that it was fitted to."""

    kl: float  # mean of `log p(x) - log q(x)`, an estimate of the divergence KL(p || q)
    kl_stderr: float  # its standard error
    nll: float  # mean of `-log q(x)`
    entropy: float  # mean of `-log p(x)`, so that `kl = nll - entropy`; or the exact entropy

    def cells(self) -> Row:
        """The score as cells of a table."""
        return {name: f"{value:.6f}" for name, value in self._asdict().items()}


def score(
    log_p: Callable[[jax.Array], jax.Array], log_q: Callable[[jax.Array], jax.Array], x: jax.Array
) -> Score:
    """Scores the fit of log-density `log_q` on fresh samples `x`, `[N, D]`, of `log_p`."""
    batches = batches_of(x)
    p = np.concatenate([log_p(batch) for batch in batches], dtype=float)
    q = np.concatenate([log_q(batch) for batch in batches], dtype=float)
    ratio = p - q
    return Score(ratio.mean(), ratio.std() / len(x) ** 0.5, -q.mean(), -p.mean())


def batches_of(x: jax.Array) -> list[jax.Array]:
    """The rows of `x` in batches of 10,000."""
    return [x[start : start + _SCORE_BATCH] for start in range(0, len(x), _SCORE_BATCH)]


def cost_cells(fit: dxf.Fit) -> Row:
    """Cells of a table: parameters and times of a fit."""
    return {
        "num_params": str(num_parameters(fit.params)),
        "train_seconds": f"{fit.history.train_seconds:.2f}",
        "compile_seconds": f"{fit.history.compile_seconds:.2f}",
    }


def machine_cells() -> Row:
    """Cells of a table: the version of JAX and its device, such as `cpu`."""
    return {"jax_version": jax.__version__, "device": jax.devices()[0].device_kind}


def num_parameters(params: Any) -> int:
    """The number of scalars in a pytree of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
