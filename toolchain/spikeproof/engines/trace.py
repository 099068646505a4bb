"""What an engine returns: the same form for every engine, so that results can be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from spikeproof.ir.chip import ChipNetwork

T = TypeVar("T")
Progress = Callable[[int, int], None]
"""Called with (items done, items in all)."""
Channel = Callable[[str, int, NDArray[np.bool_]], NDArray[np.bool_]]
"""Called with (layer, step, who fires (N, *neurons)), step by step; returns who sends a spike."""


@dataclass(frozen=True, eq=False)
class LayerTrace:
    """One layer on its own clock: arrays (N, T, *neurons).

    u and v are int32 in the chip's units, v before the reset; s is uint8 0/1, None for a readout.
    """

    u: NDArray[np.int32]
    v: NDArray[np.int32]
    s: NDArray[np.uint8] | None


@dataclass(frozen=True, eq=False)
class RunResult:
    """Predictions of a run, and the traces if they were asked for.

    logits: (N, classes): the readout's v at its last step, or spike counts for a network
    that ends in a spiking layer. predictions: (N,), argmax, first maximum wins.
    """

    logits: NDArray[np.int64]
    predictions: NDArray[np.int64]
    traces: dict[str, LayerTrace] | None = None


class Engine(Protocol):
    """Anything that runs a chip network: built in, or a target found through an entry point.

    Input x: uint8 (N, C, H, W) for coding "pixels", 0/1 uint8 (N, T, C, H, W) for "spikes".
    """

    name: str

    def problems(self, network: ChipNetwork) -> list[str]:
        """List every reason why this engine cannot run the network (empty: it can)."""
        ...

    def run(
        self,
        network: ChipNetwork,
        x: NDArray[np.uint8],
        *,
        trace: bool = False,
        progress: Progress | None = None,
    ) -> RunResult:
        """Run all samples; with ``trace`` keep u, v and s of every layer."""
        ...


@runtime_checkable
class SlowEngine(Protocol):
    """An engine that can tell beforehand how long it will take."""

    def expected_seconds(self, network: ChipNetwork, samples: int) -> float:
        """Return about how long a run of so many samples takes."""
        ...


@runtime_checkable
class BatchEngine(Protocol):
    """An engine whose start is expensive, so that it runs many networks in one."""

    def run_many(self, tasks: Sequence[tuple[ChipNetwork, NDArray[np.uint8]]]) -> list[RunResult]:
        """Run all networks with traces, in order."""
        ...


def result_from_logits(
    logits: NDArray[Any], traces: dict[str, LayerTrace] | None = None
) -> RunResult:
    """Build a result; the prediction is the first of the largest logits."""
    logits64 = np.asarray(logits, np.int64)
    return RunResult(logits64, logits64.argmax(axis=1), traces)


def join_traces(parts: list[dict[str, T]]) -> dict[str, T]:
    """Join the traces of consecutive samples: dataclasses of arrays, some of them None."""
    if len(parts) == 1:
        return parts[0]
    joined = {}
    for name, first in parts[0].items():
        arrays = {
            key: None if value is None else np.concatenate([vars(p[name])[key] for p in parts])
            for key, value in vars(first).items()
        }
        joined[name] = type(first)(**arrays)
    return joined
