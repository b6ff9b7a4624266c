"""The bar that a fit shows on a terminal or in a notebook."""

import importlib.util
import sys
from typing import Any

__all__ = ["progress_bar"]


def progress_bar(total: int, done: int, progress: bool | None) -> Any:
    """A tqdm bar; None shows it on a terminal or in a notebook only, and needs no tqdm."""
    if progress is False:
        return _NoBar()
    try:
        import tqdm
    except ImportError:
        if progress:
            raise ImportError(
                "`progress=True` needs tqdm: `pip install tqdm`, or `distrax_flows[training]`."
            ) from None
        return _NoBar()
    notebook = _in_notebook()
    if notebook and importlib.util.find_spec("ipywidgets"):
        from tqdm.notebook import tqdm as widget

        return widget(total=total, initial=done, unit="step")
    # leave=None: under a bar of the caller's, this one goes when done.
    disable = False if progress or notebook else None
    return tqdm.tqdm(total=total, initial=done, unit="step", leave=None, disable=disable)


def _in_notebook() -> bool:
    """Whether this process is a Jupyter kernel: only there IPython's shell has one."""
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return get_ipython is not None and getattr(get_ipython(), "kernel", None) is not None


class _NoBar:
    def update(self, n):
        pass

    def set_postfix(self, **values):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass
