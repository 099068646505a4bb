"""Run any number of samples through the compiled kernels: cut into chunks, side by side."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import count, pairwise

import numpy as np
from numpy.typing import NDArray

from spikeproof.ir.check_chip import check_chip
from spikeproof.ir.check_input import check_input
from spikeproof.ir.chip import ChipNetwork
from spikeproof.simulate.compiled.network import Step, lay_out
from spikeproof.simulate.compiled.workspace import Workspace
from spikeproof.simulate.memory import check_memory
from spikeproof.simulate.trace import (
    LayerTrace,
    Progress,
    RunResult,
    join_traces,
    result_from_logits,
)

_CHUNK_BYTES = 1 << 20
"""Spikes of one chunk stay in a core's cache."""
_TRACE_BYTES = 1 << 25
_MOST_SAMPLES = 128


class Batches:
    """One network laid out for the kernels, with the memory its threads run in."""

    def __init__(self, network: ChipNetwork) -> None:
        """Check the network and lay it out.

        Raises:
            GraphError: it is not a legal chip network.
            InputError: one sample does not fit in memory.
        """
        check_chip(network)
        check_memory(network, 1)
        self.steps = lay_out(network)
        self._timesteps = network.timesteps
        pixels = network.coding == "pixels"
        self._form = network.input_shape if pixels else (network.timesteps, *network.input_shape)
        self._free: list[Workspace] = []
        self._lock = threading.Lock()

    def run(
        self,
        network: ChipNetwork,
        x: NDArray[np.uint8],
        workers: int = 1,
        trace: bool = False,
        progress: Progress | None = None,
    ) -> RunResult:
        """Run all samples on up to ``workers`` threads.

        The network is asked for again, because remembering it would keep it alive for ever.

        Raises:
            InputError: x is no legal input of the network.
        """
        if getattr(x, "dtype", None) != np.uint8 or x.shape[1:] != self._form or not len(x):
            check_input(network, x)
        if trace:
            check_memory(network, len(x), trace=True)
        size = self.chunk_size(len(x), workers, trace)
        if size == len(x):
            logits, traces = self._run_chunk(network, x, size, trace)
            if progress:
                progress(len(x), len(x))
            return result_from_logits(logits, traces)
        starts = range(0, len(x), size)
        found = []
        for done, part in enumerate(self._map(network, x, starts, size, workers, trace), 1):
            found.append(part)
            if progress:
                progress(min(done * size, len(x)), len(x))
        logits = np.concatenate([part[0] for part in found])
        return result_from_logits(
            logits, join_traces([p[1] or {} for p in found]) if trace else None
        )

    def prepare(self, progress: Progress | None = None) -> None:
        """Compile the kernels, or load them from numba's cache, by running a sample of zeros."""
        done = count(1)

        def after() -> None:
            if progress:
                progress(next(done), len(self.steps))

        self._once(np.zeros((1, *self._form), np.uint8), after)

    def layer_seconds(self, x: NDArray[np.uint8]) -> list[float]:
        """Run samples on this thread and return the time of each layer, input work in the first."""
        marks = [time.perf_counter()]
        self._once(x, lambda: marks.append(time.perf_counter()))
        return [after - before for before, after in pairwise(marks)]

    def _once(self, x: NDArray[np.uint8], after: Callable[[], None]) -> None:
        workspace = self._take(len(x), trace=False)
        workspace.run(x, after)
        with self._lock:
            self._free.append(workspace)

    def _map(
        self,
        network: ChipNetwork,
        x: NDArray[np.uint8],
        starts: range,
        size: int,
        workers: int,
        trace: bool,
    ) -> Iterable[tuple[NDArray[np.int64], dict[str, LayerTrace] | None]]:
        def work(start: int) -> tuple[NDArray[np.int64], dict[str, LayerTrace] | None]:
            return self._run_chunk(network, x[start : start + size], size, trace)

        return map(work, starts) if workers == 1 else _threads(workers).map(work, starts)

    def _run_chunk(
        self, network: ChipNetwork, x: NDArray[np.uint8], size: int, trace: bool
    ) -> tuple[NDArray[np.int64], dict[str, LayerTrace] | None]:
        workspace = self._take(size, trace)
        logits = workspace.run(x)
        if logits is None:
            check_input(network, x)
            raise AssertionError("unreachable: the packing found a spike that is not 0 or 1")
        traces = workspace.traces(len(x)) if trace else None
        with self._lock:
            self._free.append(workspace)
        return logits, traces

    def _take(self, size: int, trace: bool) -> Workspace:
        """Take a free workspace that is large enough, or make one; smaller ones are dropped."""
        with self._lock:
            for k, workspace in enumerate(self._free):
                if workspace.samples >= size and workspace.traced == trace:
                    return self._free.pop(k)
            self._free = [w for w in self._free if w.traced != trace]
        return Workspace(self._form, self._timesteps, self.steps, size, trace)

    def chunk_size(self, samples: int, workers: int, trace: bool) -> int:
        """Return how many samples to run at a time."""
        if samples == 1:
            return 1
        limit = _TRACE_BYTES if trace else _CHUNK_BYTES
        fitting = limit // max(1, _sample_bytes(self._timesteps, self.steps, trace))
        return max(1, min(fitting, _MOST_SAMPLES, -(-samples // workers)))


def _sample_bytes(timesteps: int, steps: list[Step], trace: bool) -> int:
    """Return the memory that one sample takes while it runs, tables not counted."""
    total = 0
    for step in steps:
        lanes = step.places * step.blocks.width
        source = step.source.stride if step.source else 8 * lanes
        total += timesteps * source
        total += 8 * lanes * timesteps if trace else 0
    return total


@lru_cache(maxsize=4)
def _pool(process: int, workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, "spikeproof")


def _threads(workers: int) -> ThreadPoolExecutor:
    """Return the threads all networks share; new ones in another process, which inherits none."""
    return _pool(os.getpid(), workers)
