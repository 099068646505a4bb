"""Files through which process models hand over what they saw: memory-mapped ``.npy`` arrays.

Reading a Lava variable costs about 20 microseconds per element; writing a row here costs a
memory copy. The worker creates the files at full size before the run; each process model opens
its own in its own process.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.errors import TargetError

FIELDS: dict[str, type[np.generic]] = {"u": np.int32, "v": np.int32, "s": np.uint8}
_REPORT_SECONDS = 0.1


@dataclass(frozen=True)
class TapeSpec:
    """Where one layer records, and when its clock runs.

    start: steps before its clock starts.
    steps: samples x timesteps, the rows of the file. neurons: columns. progress_fd: descriptor
    for progress lines (the last layer only), with ``timesteps`` per sample.
    """

    folder: Path
    layer: int
    start: int
    steps: int
    neurons: int
    timesteps: int
    progress_fd: int | None = None

    def path(self, field: str) -> Path:
        """Return the file of one field, ``u``, ``v`` or ``s``."""
        return self.folder / f"{self.layer}_{field}.npy"

    def create(self) -> None:
        """Create the files at full size, so that a full disk is an error here and not later.

        Raises:
            TargetError: the disk is full, with what is needed and where.
        """
        shape = (self.steps, self.neurons)
        try:
            for field, dtype in FIELDS.items():
                path = self.path(field)
                np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
                with path.open("r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
        except OSError as error:
            needed = self.steps * self.neurons * sum(np.dtype(d).itemsize for d in FIELDS.values())
            raise TargetError(
                f"no room for {needed / 1e6:,.1f} MB of recorded states: {error.strerror or error}",
                where=str(self.folder),
                hint="Run fewer samples, without a trace, or set TMPDIR to a larger disk.",
            ) from error


class Tape:
    """Record u, v (before the reset) and s of one layer, one row per step of its own clock."""

    def __init__(self, spec: TapeSpec) -> None:
        """Open the files that :meth:`TapeSpec.create` made."""
        self._spec = spec
        self._arrays = {f: np.load(spec.path(f), mmap_mode="r+") for f in FIELDS}
        self._reported = time.monotonic()

    def record(self, time_step: int, u: NDArray[Any], v: NDArray[Any], s: NDArray[Any]) -> None:
        """Store one step; steps outside the layer's clock are ignored (time_step from 1)."""
        row = time_step - 1 - self._spec.start
        if not 0 <= row < self._spec.steps:
            return
        for field, value in (("u", u), ("v", v), ("s", s)):
            self._arrays[field][row] = value
        if self._spec.progress_fd is not None and (row + 1) % self._spec.timesteps == 0:
            self._report((row + 1) // self._spec.timesteps)

    def _report(self, samples: int) -> None:
        now = time.monotonic()
        if now - self._reported >= _REPORT_SECONDS and self._spec.progress_fd is not None:
            self._reported = now
            send(self._spec.progress_fd, {"samples": samples})


def send(fd: int, message: dict[str, Any]) -> None:
    """Write one message line; short lines to a pipe are atomic, so processes may share it."""
    os.write(fd, (json.dumps(message) + "\n").encode())
