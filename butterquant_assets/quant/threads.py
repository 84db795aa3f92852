"""Linear algebra on one thread, for fits whose last bits must not depend on the machine.

What belongs here: only that. Two threads sum in another order than one, an optimiser carries the difference into its
result, and the same window would then have other bytes on another machine. The matrices of one time series are tiny
besides: more threads only wait for each other, on a busy machine for ten times as long.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any


def one_thread() -> AbstractContextManager[Any]:
    """Limit BLAS and LAPACK of numpy and scipy to one thread inside a ``with`` block; what was set before comes back.

    Returns
    -------
    context manager
        entering and leaving it takes a fifth of a millisecond
    """
    limits: AbstractContextManager[Any] = _controller().limit(limits=1, user_api="blas")
    return limits


@lru_cache(maxsize=1)
def _controller() -> Any:
    # Finding the libraries takes milliseconds, and only those loaded by now are found.
    import numpy.linalg
    import scipy.linalg
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    del numpy, scipy
    return ThreadpoolController()
