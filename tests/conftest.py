"""Test configuration: strict JAX, quiet imports, small hypothesis budgets."""

import gc
import os
import pathlib
import warnings
from importlib.metadata import version

# Two workers on two cores: one thread each is faster than both fighting for two. Compilation takes
# three quarters of the tests' time, and without fusion emitters a third less.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_cpu_multi_thread_eigen=false --xla_cpu_parallel_codegen_split_count=1"
    # JAX 0.12 does not know this flag, and aborts on it.
    + (" --xla_cpu_use_fusion_emitters=false" if version("jaxlib") < "0.12" else ""),
)
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# The rest of the time is tracing, of which locations of errors in compiled code take a tenth.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
# The tests compile hundreds of small functions and run each a few times.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# Workers share what they compile, and so do runs: a second one takes half the time of the first.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(pathlib.Path(__file__).parents[1] / ".pytest_cache" / "jax")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

with warnings.catch_warnings():
    # distrax and TFP warn of their own deprecations when imported.
    warnings.simplefilter("ignore")
    import distrax  # noqa: F401

import hypothesis
import jax
import jaxtyping
import pytest

# Tracing makes many objects and few cycles.
gc.set_threshold(200_000, 50, 50)

# Annotations are checked while tests run. `annotations.check` is in this folder.
jaxtyping.install_import_hook("distrax_flows", "annotations.check")

# Compiled code takes memory, and Linux maps no more than 65,530 pieces of it: beyond, XLA crashes.
TESTS_PER_CACHE = 500
_tests_run = 0


def pytest_runtest_teardown():
    global _tests_run
    _tests_run += 1
    if _tests_run % TESTS_PER_CACHE == 0:
        jax.clear_caches()


hypothesis.settings.register_profile(
    "tests", max_examples=25, deadline=None, derandomize=True, database=None
)
hypothesis.settings.load_profile("tests")


@pytest.fixture
def strict():
    """Broadcasting between ranks is an error: ours must be explicit."""
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def wrong_types():
    """Arguments may have any type: annotations are not checked, the library's own checks are."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def compilations():
    """One event for each program that XLA compiles, or finds in the cache of earlier runs."""
    events = []

    def listen(event: str, seconds: float, **_: str):
        if "backend_compile" in event:
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.fixture
def x64():
    """Double precision."""
    with jax.enable_x64(True):
        yield
