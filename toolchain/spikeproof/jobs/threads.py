"""Hold the threads inside NumPy's and torch's libraries to a number.

Sums of floats depend on how many threads share them, in the last bit. Where results are to be the
same whatever the number of workers, every item is done with one thread; workers make up for it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@contextlib.contextmanager
def inner_threads(count: int, *, load: str | None = None) -> Iterator[None]:
    """Hold the libraries of this process to ``count`` threads for a while.

    ``load`` names a library that is about to be used: the limit reaches only those in memory.
    """
    from threadpoolctl import threadpool_limits

    if load is not None and find_spec(load) is not None:
        import_module(load)
    torch: Any = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else None
    with threadpool_limits(count):
        if torch:
            torch.set_num_threads(count)
        try:
            yield
        finally:
            if torch and before is not None:
                torch.set_num_threads(before)


def limit_process(count: int) -> None:
    """Hold this process to ``count`` threads for good, also in libraries it loads later."""
    from threadpoolctl import threadpool_limits

    for name in _VARIABLES:
        os.environ[name] = str(count)
    threadpool_limits(count)
    torch: Any = sys.modules.get("torch")
    if torch:
        torch.set_num_threads(count)
