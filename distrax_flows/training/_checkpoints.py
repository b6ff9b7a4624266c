"""Checkpoints of a fit, by Orbax: everything needed to continue it bit for bit."""

import contextlib
import functools
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from distrax_flows._core.checks import check_choice, check_positive_int
from distrax_flows._core.warn import warn
from distrax_flows.training._settings import compare_settings

__all__ = ["CheckpointError", "Checkpoints"]

T = TypeVar("T")

_DELETED = ".deleted"


class CheckpointError(Exception):
    """A checkpoint cannot be written, cannot be read, or belongs to another fit.

    Attributes:
        fit: the `Fit` reached, if a checkpoint could not be written; else None.
    """

    fit: Any = None


class Checkpoints:
    """Checkpoints in a folder, at most one per step, each of them complete.

    They are written while the fit continues, under another name until they are complete. Each holds
    checksums of its arrays, because a flipped bit on disk would otherwise go unnoticed.

    Args:
        directory: the folder; created if missing.
        settings: settings that a continued fit must share; JSON.
        seconds: minimum time between two checkpoints, in seconds.
        max_to_keep: number of checkpoints kept; older ones are deleted.
        on_error: action if a checkpoint cannot be written, "raise" or "warn".

    Raises:
        ImportError: Orbax is not installed.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, Any],
        *,
        seconds: float,
        max_to_keep: int,
        on_error: str,
    ):
        try:
            import orbax.checkpoint as ocp
        except ImportError:
            raise ImportError(
                "`checkpoint_dir` needs Orbax: `pip install orbax-checkpoint`, or "
                "`distrax_flows[checkpoints]`."
            ) from None
        check_choice("on_save_error", on_error, ("raise", "warn"))
        if not seconds >= 0:
            raise ValueError(f"`checkpoint_seconds` must be at least 0; got {seconds}.")
        self._directory = directory.absolute()
        self._settings = dict(settings)
        self._seconds = seconds
        self._on_error = on_error
        self._abandoned = False
        self._error: Exception | None = None
        self._last_save = time.monotonic()
        self._args = ocp.args
        # Deletion is not atomic, renaming is: so no crash leaves half a checkpoint.
        options = ocp.CheckpointManagerOptions(
            max_to_keep=check_positive_int("max_to_keep", max_to_keep),
            todelete_subdir=_DELETED,
            cleanup_tmp_directories=True,
        )
        self._manager = ocp.CheckpointManager(self._directory, options=options)
        self._empty_bin()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, error_type: Any, *error: Any) -> None:
        if self._abandoned:
            return
        with _alone(self):
            try:
                self.finish()
                self._attempt(self._manager.close)
            except CheckpointError:
                # An error already being raised takes precedence.
                if error_type is None:
                    raise
            finally:
                self._empty_bin()
                _writing.clear()

    def abandon(self) -> None:
        """Abandon what is being written, as finishing would wait for processes that may be dead."""
        self._abandoned = True

    def steps(self) -> list[int]:
        """Return the steps that have checkpoints."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, content: Callable[[], Any], *, at_once: bool = False) -> None:
        """Start writing a checkpoint of the pytree `content()`, if one is due or `at_once`.

        Raises:
            CheckpointError: this or the previous one cannot be written, and `on_error` is "raise".
        """
        due = at_once or _first_process(time.monotonic() - self._last_save >= self._seconds)
        if not due or step in self.steps():
            return
        # Orbax refuses empty arrays. NumPy arrays are copied, as they may change meanwhile.
        arrays = [
            leaf.copy() if isinstance(leaf, np.ndarray) else leaf
            for leaf in jax.tree.leaves(content())
            if leaf.size
        ]
        save = functools.partial(
            self._manager.save,
            step,
            args=self._args.Composite(
                content=self._args.StandardSave((arrays, _checksums(arrays))),
                settings=self._args.JsonSave(self._settings),
            ),
        )
        with _alone(self):
            self.finish()
            self._attempt(save)
            self._empty_bin()
        self._last_save = time.monotonic()

    def settings_of(self, step: int) -> dict[str, Any]:
        """Return the settings of the fit that wrote a checkpoint.

        Raises:
            CheckpointError: it cannot be read, or belongs to another fit.
        """
        args = self._args.Composite(settings=self._args.JsonRestore())
        saved = self._read(step, lambda: self._manager.restore(step, args=args)["settings"])
        difference = compare_settings(saved, self._settings)
        if difference:
            raise CheckpointError(f"The checkpoint of step {step} is of another fit: {difference}")
        return saved

    def restore(self, step: int, like: T) -> T:
        """Return the content of a checkpoint, with the devices and types of `like`.

        Later checkpoints are deleted, because the fit may now proceed differently.

        Raises:
            CheckpointError: it cannot be read, or does not hold the values that were written.
        """
        leaves, treedef = jax.tree.flatten(like)
        arrays = [leaf for leaf in leaves if leaf.size]
        args = self._args.Composite(
            content=self._args.StandardRestore((arrays, np.zeros(len(arrays), np.uint32)))
        )

        def read():
            restored, checksums = self._manager.restore(step, args=args)["content"]
            if not np.array_equal(checksums, _checksums(restored)):
                raise ValueError("the checksums of its arrays are wrong")
            filled = iter(restored)
            return jax.tree.unflatten(
                treedef, [next(filled) if leaf.size else leaf for leaf in leaves]
            )

        content = self._read(step, read)
        for later in self.steps():
            if later > step:
                self._manager.delete(later)
        return content

    def _read(self, step: int, read: Any) -> Any:
        # Orbax raises errors of all kinds, plain `Exception` included.
        try:
            with _alone(self):
                return read()
        except Exception as error:
            others = [other for other in self.steps() if other < step]
            remedy = "There is no earlier one: remove the folder to start again."
            if others:
                remedy = f"`resume={others[-1]}` continues from the previous one."
            raise CheckpointError(
                f"The checkpoint of step {step} in {self._directory} cannot be read: "
                f"{_reason(error)}. {remedy}"
            ) from error

    def finish(self) -> None:
        """Wait until everything being written is complete.

        Raises:
            CheckpointError: it could not be written, and `on_error` is "raise".
        """
        self._wait()
        error, self._error = self._error, None
        if error is not None:
            self._fail(error)

    def _wait(self) -> None:
        """Wait for what is being written; keep an error for the next call of `finish`."""
        # Orbax reports one failure several times, each time instead of doing what it is asked.
        for _ in range(3):
            try:
                return self._manager.wait_until_finished()
            except Exception as error:
                self._error = self._error or error

    def _attempt(self, write: Callable[[], Any]) -> None:
        try:
            write()
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        complete = self.steps()
        kept = f"that of step {complete[-1]} is whole" if complete else "there is none yet"
        message = (
            f"A checkpoint could not be written to {self._directory}, {kept}: "
            f"{_reason(error)}. Make room, or choose another `checkpoint_dir`."
        )
        if self._on_error == "raise":
            raise CheckpointError(message) from error
        warn(message, RuntimeWarning)

    def _empty_bin(self) -> None:
        if jax.process_index() == 0:
            shutil.rmtree(self._directory / _DELETED, ignore_errors=True)


# Orbax names what it writes by one counter per process: two fits that write at the same time would
# wait for each other's files.
_LOCK = threading.RLock()
_writing: list[Checkpoints] = []


@contextlib.contextmanager
def _alone(keeper: Checkpoints) -> Iterator[None]:
    """Hold the lock on writing, after all others in this process have finished writing."""
    with _LOCK:
        for other in _writing:
            if other is not keeper:
                other._wait()
        _writing[:] = [keeper]
        yield


def _reason(error: Exception) -> str:
    """Return Orbax's message without the specification that follows; the reason is at its end."""
    text = str(error).partition("\n")[0].partition(" [")[0] or "no reason given"
    return f"{type(error).__name__}: {text if len(text) < 250 else f'... {text[-250:]}'}"


def _first_process(decision: bool) -> bool:
    """Return the decision of the first process: either all write a checkpoint, or none does."""
    if jax.process_count() == 1:
        return decision
    return bool(multihost_utils.broadcast_one_to_all(np.asarray(decision)))


def _checksums(arrays: Sequence[Any]) -> np.ndarray:
    """Return the sum of the bytes of each array, whatever its layout across devices."""
    sums = iter(np.asarray(_sums_of_bytes([a for a in arrays if isinstance(a, jax.Array)])))
    return np.array(
        [
            next(sums)
            if isinstance(array, jax.Array)
            else np.frombuffer(array.tobytes(), np.uint8).sum(dtype=np.uint32)
            for array in arrays
        ],
        np.uint32,
    )


@jax.jit
def _sums_of_bytes(arrays: Sequence[jax.Array]) -> jax.Array:
    def total(array):
        if array.dtype == bool:
            array = array.astype(jnp.uint8)
        return jax.lax.bitcast_convert_type(array, jnp.uint8).sum(dtype=jnp.uint32)

    return jnp.stack([total(array) for array in arrays])
