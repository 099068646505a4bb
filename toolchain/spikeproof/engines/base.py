"""What engines do alike: check what they are given, cut it into batches, say how far they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import prod
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from spikeproof.engines.memory import check_memory
from spikeproof.engines.trace import Progress, RunResult, join_traces, result_from_logits
from spikeproof.errors import InputError
from spikeproof.ir.check_chip import check_chip
from spikeproof.ir.check_input import check_input
from spikeproof.ir.chip import ChipNetwork

Images = NDArray[np.uint8]
Part = TypeVar("Part")


class BaseEngine:
    """What callers may ask any engine of ours; a target need not inherit it."""

    name: str
    most_samples: ClassVar[int] = 8192
    """Samples of a batch of a long run, at most: few on slow engines, so that a killed run loses
    little."""
    threaded: ClassVar[bool] = False
    """Whether it takes ``workers`` and shares one network between them; others get processes."""
    compiles: ClassVar[bool] = False
    """Whether its first run compiles the fast engine's kernels, so that the wait is announced."""

    def problems(self, network: ChipNetwork) -> list[str]:
        """Return no problems: every legal network runs."""
        return []

    def check_installed(self) -> None:
        """Raise MissingExtraError if what it needs is not here, where that can be told early."""

    def check(self, network: ChipNetwork, x: Images, trace: bool) -> None:
        """Check the network, its input, and that both fit in memory.

        Raises:
            GraphError: the network is not legal. InputError: x is no input of it, or too large.
        """
        check_chip(network)
        check_input(network, x)
        check_memory(network, len(x), trace=trace)


class BatchedEngine(BaseEngine, ABC):
    """An engine that runs one batch after another, each from zero state."""

    batch_values: ClassVar[int]
    """Batches are cut so that one layer's states over all steps stay near this many values."""

    @abstractmethod
    def run_batch(self, network: ChipNetwork, x: Images, trace: bool) -> RunResult:
        """Run samples that fit in memory together; everything is checked."""

    def batch_size(self, network: ChipNetwork) -> int:
        """Return how many samples are run at a time."""
        widest = max(prod(layer.shape) for layer in network.layers)
        return max(1, self.batch_values // (widest * network.timesteps))

    def run(
        self,
        network: ChipNetwork,
        x: Images,
        *,
        trace: bool = False,
        progress: Progress | None = None,
    ) -> RunResult:
        """Run all samples in batches bounded by memory (see :meth:`check` for what is raised)."""
        self.check(network, x, trace)
        parts = in_batches(
            x, self.batch_size(network), lambda part: self.run_batch(network, part, trace), progress
        )
        logits = np.concatenate([part.logits for part in parts])
        traces = join_traces([part.traces or {} for part in parts]) if trace else None
        return result_from_logits(logits, traces)


def in_batches(
    x: NDArray[Any],
    size: int,
    run: Callable[[NDArray[Any]], Part],
    progress: Progress | None = None,
) -> list[Part]:
    """Run ``size`` samples at a time and return what each batch gave."""
    parts = []
    for start in range(0, len(x), size):
        parts.append(run(x[start : start + size]))
        if progress:
            progress(min(start + size, len(x)), len(x))
    return parts


def checked_workers(workers: int | None, usable: int) -> int:
    """Return how many threads to use: as wanted, else all that may be used.

    Raises:
        InputError: less than one.
    """
    if workers is not None and workers < 1:
        raise InputError(f"{workers} workers, expected 1 or more", where="--workers")
    return workers or usable
