"""The engine "lava": a chip network on Lava's CPU backend, in a supervised process.

Importing this module imports nothing of Lava.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spikeproof.engines.base import BaseEngine
from spikeproof.engines.trace import Progress, RunResult
from spikeproof.ir.chip import ChipNetwork
from spikeproof_lava import compat, hardware
from spikeproof_lava.estimate import memory_problem, run_seconds
from spikeproof_lava.run import Task, run_many

Backend = Literal["cpu", "loihi2"]


class LavaTarget(BaseEngine):
    """Run chip networks on Lava.

    Args:
        backend: "cpu" simulates with Lava's fixed-point models; "loihi2" compiles the same
            network for the chip, which needs Intel's extension and is untested.
    """

    name = "lava"
    most_samples = 256

    def __init__(self, backend: Backend = "cpu") -> None:
        """Remember the backend; nothing is checked or imported before it is used."""
        self.backend = backend

    def problems(self, network: ChipNetwork) -> list[str]:
        """List every reason why this backend cannot run the network."""
        if self.backend == "loihi2":
            return hardware.problems(network)
        problem = memory_problem(network)
        return [problem] if problem else []

    def check_installed(self) -> None:
        """Raise MissingExtraError if Lava is not here."""
        compat.check_installed()

    def expected_seconds(self, network: ChipNetwork, samples: int) -> float:
        """Return about how long :meth:`run` takes for so many samples."""
        return run_seconds(network, samples)

    def run(
        self,
        network: ChipNetwork,
        x: NDArray[np.uint8],
        *,
        trace: bool = False,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> RunResult:
        """Run all samples back to back; with ``trace`` keep u, v and s of every layer.

        Args:
            network: a checked chip network.
            x: uint8 (N, C, H, W), or 0/1 (N, T, C, H, W) for the coding "spikes".
            trace: keep u, v (before the reset) and s, each (N, T, *neurons).
            progress: called with (samples done, samples in all).
            timeout: seconds; None estimates generously from the work.

        Raises:
            MissingExtraError: Lava is not installed. TargetError: it failed, or took too long.
            UnsupportedError: the chip cannot run this network, with every reason.
        """
        if self.backend == "loihi2":
            return hardware.run(network, x, trace=trace, timeout=timeout)
        task = Task(network, x, trace)
        return run_many([task], timeout=timeout, progress=progress)[0]

    def run_many(self, tasks: Sequence[tuple[ChipNetwork, NDArray[np.uint8]]]) -> list[RunResult]:
        """Run many networks with traces, each with its input; Lava starts once."""
        return run_many([Task(network, x, True) for network, x in tasks])
