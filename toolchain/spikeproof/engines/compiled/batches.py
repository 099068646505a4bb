"""Run any number of samples through the compiled kernels: cut into chunks, side by side."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from functools import lru_cache
from itertools import count, pairwise
from threading import Event

import numpy as np
from numpy.typing import NDArray

from spikeproof.engines.compiled.network import Plan, lay_out
from spikeproof.engines.compiled.workspace import Workspace
from spikeproof.engines.memory import check_memory
from spikeproof.engines.trace import (
    LayerTrace,
    Progress,
    RunResult,
    join_traces,
    result_from_logits,
)
from spikeproof.ir.check_chip import check_chip
from spikeproof.ir.check_input import check_input
from spikeproof.ir.chip import ChipNetwork

Part = tuple[NDArray[np.int64], dict[str, LayerTrace] | None]
"""Logits and traces of a chunk."""
_CHUNK_BYTES = 1 << 21
"""Spikes of one chunk stay in a core's cache."""
_TRACE_BYTES = 1 << 25
_MOST_SAMPLES = 128
_KEPT_SIZES = 4
"""Chunk sizes whose memory is kept for the next run."""


class _Ended(Exception):
    """Ends a chunk between two layers when the run it belongs to is over."""


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
        self.plan = lay_out(network)
        self.layers = self.plan.layers
        self._timesteps = network.timesteps
        pixels = network.coding == "pixels"
        self._form = network.input_shape if pixels else (network.timesteps, *network.input_shape)
        self._free: dict[tuple[int, bool], list[Workspace]] = {}

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
            return RunResult(logits, logits.argmax(axis=1), traces)
        found = self._run_chunks(network, x, size, workers, trace, progress)
        logits = np.concatenate([part[0] for part in found])
        return result_from_logits(
            logits, join_traces([p[1] or {} for p in found]) if trace else None
        )

    def prepare(self, progress: Progress | None = None) -> None:
        """Compile the kernels, or load them from numba's cache, by running a sample of zeros."""
        done = count(1)

        def after() -> None:
            if progress:
                progress(next(done), len(self.layers))

        self._once(np.zeros((1, *self._form), np.uint8), after)

    def layer_seconds(self, x: NDArray[np.uint8]) -> list[float]:
        """Run samples on this thread and return the time of each layer, input work in the first."""
        marks = [time.perf_counter()]
        self._once(x, lambda: marks.append(time.perf_counter()))
        return [after - before for before, after in pairwise(marks)]

    def _once(self, x: NDArray[np.uint8], after: Callable[[], None]) -> None:
        workspace = self._take(len(x), trace=False)
        workspace.run(x, after)
        self._give_back(workspace)

    def _run_chunks(
        self,
        network: ChipNetwork,
        x: NDArray[np.uint8],
        size: int,
        workers: int,
        trace: bool,
        progress: Progress | None,
    ) -> list[Part]:
        """Run chunk after chunk on this thread, while others take what is left.

        This thread works, too: a system that wakes all workers where it runs would have them
        share its core for a while.
        """
        starts = range(0, len(x), size)
        left, found = iter(range(len(starts))), dict[int, Part]()

        over = Event()

        def still_wanted() -> None:
            if over.is_set():
                raise _Ended

        def drain(report: Progress | None = None) -> None:
            for k in left:  # next() on one iterator is atomic: each chunk is taken once
                part = x[starts[k] : starts[k] + size]
                found[k] = self._run_chunk(network, part, size, trace, still_wanted)
                if report:
                    report(min(len(found) * size, len(x)), len(x))

        helpers = [_threads(workers).submit(drain) for _ in range(min(workers, len(starts)) - 1)]
        try:
            drain(progress)
        except BaseException:  # Ctrl-C, too: nobody begins another chunk, or a layer of this one
            over.set()
            for _ in left:
                pass
            raise
        finally:
            wait(helpers)
        for helper in helpers:
            helper.result()
        if progress:
            progress(len(x), len(x))
        return [found[k] for k in range(len(starts))]

    def _run_chunk(
        self,
        network: ChipNetwork,
        x: NDArray[np.uint8],
        size: int,
        trace: bool,
        after_layer: Callable[[], None] | None = None,
    ) -> Part:
        workspace = self._take(size, trace)
        logits = workspace.run(x, after_layer)
        if logits is None:
            check_input(network, x)
            raise AssertionError("unreachable: the packing found a spike that is not 0 or 1")
        traces = workspace.traces(len(x)) if trace else None
        self._give_back(workspace)
        return logits, traces

    def _take(self, size: int, trace: bool) -> Workspace:
        """Take a free workspace of this size, or make one; pop() alone is atomic."""
        free = self._free.get((size, trace))
        if free:
            with suppress(IndexError):
                return free.pop()
        if len(self._free) >= _KEPT_SIZES:
            self._free = {}
        return Workspace(self._form, self._timesteps, self.plan, size, trace)

    def _give_back(self, workspace: Workspace) -> None:
        key = workspace.samples, workspace.traced
        free = self._free.get(key)
        if free is None:
            free = self._free.setdefault(key, [])
        free.append(workspace)

    def chunk_size(self, samples: int, workers: int, trace: bool) -> int:
        """Return how many samples to run at a time."""
        if samples == 1:
            return 1
        limit = _TRACE_BYTES if trace else _CHUNK_BYTES
        fitting = limit // max(1, _sample_bytes(self._timesteps, self.plan, trace))
        return max(1, min(fitting, _MOST_SAMPLES, -(-samples // workers)))


def _sample_bytes(timesteps: int, plan: Plan, trace: bool) -> int:
    """Return the memory that one sample takes while it runs, tables not counted."""
    feeds = [(laid, feed) for laid in plan.layers for feed in laid.feeds]
    # Pixels leave their sums and biases, once; spikes a bit array for each step.
    read = {feed.origin: feed.source.stride for _, feed in feeds if feed.source}
    total = timesteps * sum(read.values())
    total += sum(8 * laid.lanes for laid, feed in feeds if not feed.source)
    added = {laid.stepwise: 0 for laid in plan.layers}
    for laid in plan.layers:
        if laid.added:  # layers use one room for their sums in turn, those of a cycle their own
            own = 4 * timesteps * laid.lanes
            before = added[laid.stepwise]
            added[laid.stepwise] = before + own if laid.stepwise else max(before, own)
        total += 8 * laid.lanes * timesteps if trace else 0
    return total + sum(added.values())


@lru_cache(maxsize=4)
def _pool(process: int, workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, "spikeproof")


def _threads(workers: int) -> ThreadPoolExecutor:
    """Return the threads all networks share; new ones in another process, which inherits none."""
    return _pool(os.getpid(), workers)
