"""Progress bar of a fit, on a terminal or in a notebook."""

import importlib.util
import sys
from typing import Any

__all__ = ["progress_bar"]


def progress_bar(total: int, done: int, progress: bool | None) -> Any:
    """Return a tqdm bar; None shows it only on a terminal or in a notebook."""
    # Imported here so that importing the library stays fast.
    import tqdm

    notebook = _in_notebook()
    if notebook and progress is not False and importlib.util.find_spec("ipywidgets"):
        from tqdm.notebook import tqdm as widget

        return widget(total=total, initial=done, unit="step")
    unless_on_a_terminal = None  # tqdm's meaning of None
    shown_by_default = False if notebook else unless_on_a_terminal
    hidden = shown_by_default if progress is None else not progress
    # leave=None removes this bar when done if it is nested under a bar of the caller.
    return tqdm.tqdm(total=total, initial=done, unit="step", leave=None, disable=hidden)


def _in_notebook() -> bool:
    """Return whether this process is a Jupyter kernel: only there, IPython's shell has a kernel."""
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return get_ipython is not None and getattr(get_ipython(), "kernel", None) is not None
