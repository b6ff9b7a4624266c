"""The bar that a fit shows on a terminal."""

from typing import Any

__all__ = ["progress_bar"]


def progress_bar(total: int, done: int, progress: bool | None) -> Any:
    """A tqdm bar; None shows it on a terminal only, and needs no tqdm."""
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
    # leave=None: under a bar of the caller's, this one goes when done.
    disable = None if progress is None else False
    return tqdm.tqdm(total=total, initial=done, unit="step", leave=None, disable=disable)


class _NoBar:
    def update(self, n):
        pass

    def set_postfix(self, **values):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass
