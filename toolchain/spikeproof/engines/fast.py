"""The engine to use: compiled kernels where numba is installed, NumPy elsewhere."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from spikeproof.engines.base import BaseEngine, checked_workers
from spikeproof.engines.numpy_engine import NumpyEngine
from spikeproof.engines.trace import Progress, RunResult
from spikeproof.ir.chip import ChipNetwork

if TYPE_CHECKING:
    from spikeproof.engines.compiled.batches import Batches

_laid_out: WeakKeyDictionary[ChipNetwork, Batches | None] = WeakKeyDictionary()
"""Networks that were run before; None: one that the kernels cannot run."""


class FastEngine(BaseEngine):
    """Run a chip network in batches; equal to the reference bit for bit.

    Graphs run here, too: sums of several connections are added up before the neurons move, and
    layers on a cycle go on step by step together. Without numba, and for the rare network that the
    kernels cannot run (a host current that needs sums of more than 32 bits, a synapse of another
    kind than ours), the plain :class:`NumpyEngine` does the work. A network is laid out when it is
    first run; its arrays must not change after that.

    Args:
        workers: threads, 1 or more; by default one per core this process may use.

    Raises:
        InputError: less than one worker.
    """

    name = "fast"
    threaded = True
    compiles = True

    def __init__(self, workers: int | None = None) -> None:
        """Choose the number of threads."""
        self._workers = checked_workers(workers, usable_cores())

    def prepare(self, network: ChipNetwork, progress: Progress | None = None) -> None:
        """Compile what this network needs: seconds the first time on a machine, then much less.

        :meth:`run` does it by itself; call this where the wait should be shown or not be measured.
        """
        batches = _find(network)
        if batches is not None:
            batches.prepare(progress)

    def run(
        self,
        network: ChipNetwork,
        x: NDArray[np.uint8],
        *,
        trace: bool = False,
        progress: Progress | None = None,
    ) -> RunResult:
        """Run all samples in batches bounded by memory."""
        batches = _find(network)
        if batches is None:
            return NumpyEngine().run(network, x, trace=trace, progress=progress)
        return batches.run(network, x, self._workers, trace, progress)


def compiled() -> bool:
    """Tell whether numba is installed, and not told to compile nothing."""
    return find_spec("numba") is not None and os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")


def usable_cores() -> int:
    """Return how many cores this process may use; a pool of processes may have set a limit."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    limit = os.environ.get("NUMBA_NUM_THREADS", "")
    return max(1, min(cores, int(limit))) if limit.isdigit() else cores


def _find(network: ChipNetwork) -> Batches | None:
    """Return a network laid out for the kernels, or None where they cannot run it."""
    try:
        return _laid_out[network]
    except KeyError:
        pass
    batches = None
    if compiled():
        from spikeproof.engines.compiled.batches import Batches
        from spikeproof.engines.compiled.network import fits

        batches = Batches(network) if fits(network) else None
    _laid_out[network] = batches
    return batches
