"""Threads of the linear algebra that XLA calls on CPUs."""

from contextlib import AbstractContextManager

__all__ = ["one_blas_thread"]


def one_blas_thread() -> AbstractContextManager:
    """Return a context in which BLAS has one thread; it needs scikit-learn's threadpoolctl.

    On CPUs, XLA solves triangular systems, those of learned linear maps, by SciPy's BLAS. Its
    threads wait for each other at each of these small systems, which takes longer than to solve
    them.
    """
    import threadpoolctl

    return threadpoolctl.threadpool_limits(1, user_api="blas")
